"""The COCO suite against what COCO itself says: optima, ideal and nadir, and the logged hypervolume."""

import numpy as np
import pytest

pytest.importorskip("cocoex")

from bench import common
from bench.baselines.asmg_starts import AsmgStarts
from bench.harness import Run, Task, grid
from bench.suites import _coco_front, coco
from bench.suites._coco_archive import Archive
from bench.suites._coco_front import non_dominated, reference_front, regret
from bench.suites._coco_problem import log_indicator, single_objective, two_objectives


@pytest.fixture(autouse=True)
def _results(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)


@pytest.mark.parametrize("function", [1, 6, 24])
def test_the_optimum_of_largescale_has_error_zero_and_nothing_less(function):
    problem = single_objective(function, 20)
    assert problem.error(problem.optimum[None]) == 0
    near = problem.optimum + np.random.default_rng(function).normal(0, 1e-3, (50, 20))
    assert (problem.error(near) > 0).all()


@pytest.mark.parametrize("function", [1, 17, 55])
def test_ideal_and_nadir_of_biobj(function):
    problem = two_objectives(function, 10)
    np.testing.assert_allclose(problem.nadir, problem.problem.largest_fvalues_of_interest, rtol=1e-12)
    np.testing.assert_allclose(problem(problem.optima), [[0, 1], [1, 0]], atol=1e-12)
    assert (problem(np.random.default_rng(0).uniform(-5, 5, (20, 10))) >= 0).all()


@pytest.mark.parametrize("function", [1, 5, 55])
@pytest.mark.parametrize("near", [True, False])
def test_the_indicator_is_the_one_that_coco_logs(function, near):
    problem, rng = two_objectives(function, 10), np.random.default_rng(function)
    share = rng.uniform(0, 1, (500, 1))
    X = (1 - share) * problem.optima[0] + share * problem.optima[1] + rng.normal(0, 0.1, (500, 10))
    if not near:
        X = rng.uniform(-90, 90, (5, 10))
    archive = Archive()
    for start in range(0, len(X), 7):
        archive.add(problem(X[start : start + 7]))
    reference, logged = log_indicator(function, 10, X)
    assert reference == problem.reference
    assert archive.gap(reference) == pytest.approx(logged, abs=1e-8)
    assert (len(archive) > 5) == near


def test_archive_against_the_whole_set_at_once():
    rng = np.random.default_rng(3)
    values = np.round(rng.random((400, 2)) * 1.2, 2)  # with ties and vectors beyond the nadir point
    archive = Archive()
    for row in values:
        archive.add(row[None])
    inside = values[(values <= 1).all(axis=1)]
    front = non_dominated(inside)
    right = np.append(front[1:, 0], 1.0)
    assert archive.hypervolume == pytest.approx(((right - front[:, 0]) * (1 - front[:, 1])).sum(), abs=1e-12)
    assert len(archive) == len(front)


def test_the_segment_is_the_front_of_two_spheres(monkeypatch):
    monkeypatch.setattr(_coco_front, "WEIGHTS", ())
    problem = two_objectives(1, 10)
    front = reference_front(problem)
    assert np.sqrt(front[:, 0]) + np.sqrt(front[:, 1]) == pytest.approx(1, abs=2e-3)
    assert regret(front[::50], front) == 0
    behind = front[400] + 0.1
    assert regret(behind[None], front) == pytest.approx(0.1, abs=1e-3)
    assert regret(np.array([behind, behind + 1]), front) == regret(behind[None], front)
    assert regret(np.array([[0.2, 0.2]]), front) == pytest.approx(-0.05, abs=1e-3)
    assert regret(np.empty((0, 2)), front) == np.inf


def test_a_reference_front_is_kept_and_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(_coco_front, "WEIGHTS", (0.5,))
    problem, path = two_objectives(17, 10), tmp_path / "fronts" / "f.npy"
    front = reference_front(problem, path)
    assert [p.name for p in path.parent.iterdir()] == ["f.npy"]
    np.testing.assert_array_equal(np.load(path), front)
    np.testing.assert_array_equal(reference_front(problem), front)
    assert (np.diff(front[:, 0]) > 0).all()
    assert (np.diff(front[:, 1]) < 0).all()


def test_a_run_starts_with_an_empty_archive():
    problem = coco.make_problem("biobj f01", 10)
    x0 = problem.start(0)
    problem.evaluate(x0[None])
    first = problem.measures(x0[None])
    problem.evaluate(np.zeros((1, 10)))
    assert problem.measures(x0[None]) != first
    np.testing.assert_array_equal(problem.start(0), x0)
    problem.evaluate(x0[None])
    assert problem.measures(x0[None]) == first


def test_restarts_share_the_budget_and_spread_the_weights():
    search, weights, sizes = AsmgStarts(np.zeros(4), 1.0, 8, 2, share=40, spread=5, growth=2.0), [], []
    for _ in range(11):
        X = search.ask()
        sizes.append(len(X))
        search.tell(X, np.stack(((X**2).sum(axis=1), ((X - 1) ** 2).sum(axis=1)), axis=1))
        weights.append(search.optimizer.weights)
    assert sizes[:8] == [8] * 5 + [16, 16, 32]
    assert search.n_starts == 7  # from N = 32 on one generation is all that the share allows
    assert search.recommend().shape == (6, 4)
    np.testing.assert_allclose(weights[0], (0.1, 0.9))


def test_evaluations_to_targets_are_read_off_the_trace():
    budget = 1000
    task = Task("bench.suites.coco", "largescale f01", 20, "asmg", None, 0, budget)
    trace = [1e3 if n < 100 else 1.0 for n in grid(budget)]
    logs = coco.log_evaluations(Run(task, None, 900, {"error": 1e-3}, "budget", 0.0, trace))
    reached = grid(budget)[np.argmax(grid(budget) >= 100)]
    np.testing.assert_allclose(10 ** logs[coco.TARGETS > 0.99], reached)
    np.testing.assert_allclose(10 ** logs[(coco.TARGETS < 0.99) & (coco.TARGETS > 1.01e-3)], 900)
    np.testing.assert_allclose(10 ** logs[coco.TARGETS < 0.99e-3], 10 * budget)


def test_the_suite_writes_its_tables(tmp_path, capsys):
    few = ["--functions-two", "1", "--functions-one", "1", "--dimensions-two", "10", "--dimensions-one", "20"]
    coco.main(["--quick", "--jobs", "1", "--budget", "60", *few, "--optimizers", "asmg-restarts", "asmg-starts"])
    printed = capsys.readouterr().out
    assert "ASMG starts: pyasmg's defaults, 5 starts" in printed
    for name in ("coco_regret", "coco_hypervolume", "coco_largescale", "coco_largescale_groups", "coco_runs"):
        lines = (tmp_path / f"{name}.csv").read_text().splitlines()
        assert len(lines) >= 4, name
    assert {p.name for p in tmp_path.glob("*.png")} == {"coco_biobj.png", "coco_largescale.png"}
