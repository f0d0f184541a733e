"""pymoo's problems: what is measured is right, and the command writes what it promises."""

import csv

import numpy as np
import pytest

from bench.harness import optimizers
from bench.suites import pymoo as suite

pytest.importorskip("pymoo")
pytest.importorskip("moocore")


def test_measures_of_a_point_and_of_a_front():
    problem = suite.make_problem("zdt1", 30)
    end = np.zeros((1, 30))  # F = (0, 1): the front's end
    assert problem.measures(end)["distance"] == pytest.approx(0, abs=1e-3)
    # reference 1.1: the end dominates 1.1 x 0.1, the whole front 1.21 - 1/3
    whole = 1.21 - 1 / 3
    assert problem.measures(end)["hypervolume"] == pytest.approx(0.11 / whole, rel=1e-2)
    front = np.zeros((200, 30))
    front[:, 0] = np.linspace(0, 1, 200)
    assert problem.measures(front)["hypervolume"] == pytest.approx(1, rel=1e-2)
    far = np.ones((1, 30))
    assert problem.measures(far)["hypervolume"] == 0
    assert problem.measures(np.concatenate([far, end]))["distance"] == problem.measures(end)["distance"]
    assert problem.bounds[0].tolist() == [0.0] * 30
    np.testing.assert_allclose(problem.reference, 1.1, rtol=1e-12)


@pytest.mark.parametrize("name", suite.NAMES)
def test_every_problem_is_there_in_its_size(name):
    problem = suite.make_problem(name, 30)
    x0 = problem.start(0)
    F = problem.evaluate(x0[None])
    assert F.shape == (1, 3 if name.startswith("dtlz") else 2)
    assert np.isfinite(F).all()
    assert problem.measures(x0[None])["distance"] > 1e-3


def test_slow_methods_are_left_out_where_it_says_so():
    full = suite.make_tasks(suite.METHODS, 5, False)
    assert {t.d for t in full} == {30, 100, 1000}
    assert {t.d for t in full if t.optimizer == "como"} == {30}
    assert not any(t.problem.startswith("dtlz") for t in full if t.optimizer == "como")
    assert {t.d for t in full if t.optimizer == "cma-full"} == {30, 100}
    assert {t.problem for t in full} == set(suite.NAMES)


def test_the_command(results, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(suite, "QUICK", {30: (600, ("zdt1", "dtlz2"))})
    suite.main(["--quick", "--jobs", "1", "--optimizers", "asmg", "nsga2", "random"])
    out = capsys.readouterr().out
    assert "ASMG against the best peer with one point, 2 cells:" in out
    rows = list(csv.DictReader((results / "pymoo_distance.csv").read_text().splitlines()[2:]))
    assert [r["problem"] for r in rows] == ["zdt1", "dtlz2"]
    for r in rows:
        assert r["best peer"] == "random"
        assert float(r["peer / ASMG"]) == pytest.approx(float(r["random"]) / max(float(r["ASMG"]), 1e-4))
    shares = list(csv.DictReader((results / "pymoo_hypervolume.csv").read_text().splitlines()[2:]))
    assert all(0 <= float(r["NSGA-II"]) <= 1 for r in shares)
    assert (results / "pymoo_30.figure.json").exists()


def test_without_pymoo_a_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(optimizers, "find_spec", lambda name: None)
    suite.main(["--quick"])
    assert "suite pymoo skipped: pymoo is not installed" in capsys.readouterr().out
