"""The thesis's figures: the claims are judged as they are worded, and the command writes what it promises."""

import csv

import numpy as np
import pytest

from bench.harness import Run, Task
from bench.suites import _paper_claims, paper
from bench.suites._paper_claims import L1, L_HALF, MIXED, Cell


def fabricated(optimizer, problem, d, popsize, distances, evaluations=None, budget=1000):
    return [
        Run(
            Task("bench.suites.paper", problem, d, optimizer, popsize, seed, budget),
            evaluations if distance <= 1e-4 else None,
            evaluations if distance <= 1e-4 else budget,
            {"distance": distance},
            "target" if distance <= 1e-4 else "budget",
            0.1,
            [10.0, distance],
        )
        for seed, distance in enumerate(distances)
    ]


def test_every_cell_of_the_figures_has_its_claims():
    found = list(_paper_claims.claims())
    asmg = {(c.cell.problem, c.cell.d, c.cell.popsize) for c in found if c.optimizer == "asmg-paper"}
    main = {(problem, 100, popsize) for problem in (L1, L_HALF, MIXED) for popsize in (10, 50, 100)}
    assert asmg == main | {(problem, d, 100) for problem in (L1, L_HALF) for d in (200, 500, 1000)}
    assert {c.figure for c in found} == {"4.1", "4.2", "4.3", "4.4"}
    assert {c.optimizer for c in found} == {"asmg-paper", "mmes", "es", "bes", "cma-full"}
    covered = {(t.problem, t.d, t.popsize, t.optimizer) for t in paper.make_tasks(paper.METHODS, 10, False)}
    assert all((c.cell.problem, c.cell.d, c.cell.popsize, c.optimizer) in covered for c in found)


def test_claims_are_judged_by_the_median():
    runs = [
        *fabricated("asmg-paper", L1, 100, 10, [1e-5, 0.0, 3.0], 500),
        *fabricated("asmg-paper", MIXED, 100, 10, [1e-5, 3.0, 3.0], 500),
        *fabricated("cma-full", L_HALF, 100, 50, [0.05, 0.1, 0.2]),
        *fabricated("cma-full", L_HALF, 100, 10, [1.0, 2.0, 2.0]),
        *fabricated("es", L1, 100, 10, [1e-5], 700),
    ]
    verdicts = {(row[1], row[2], row[4]): row[-1] for row in _paper_claims.rows(runs)}
    assert verdicts == {
        ("ASMG arrives at 1e-4", L1, 10): "holds",
        ("ASMG arrives at 1e-4", MIXED, 10): "does not hold",
        ("CMA-ES only achieves 1e-1", L_HALF, 50): "holds",
        ("CMA-ES only achieves 1e1", L_HALF, 10): "does not hold",
        ("ES fails", L1, 10): "does not hold",
    }
    ours = {row[1]: row[5] for row in _paper_claims.rows(runs)}
    assert ours["ES fails"] == "distance 1e-05 after 700, 1e-4 after 700 (1 of 1 runs)"


def test_who_is_ahead_counts_failures(capsys):
    runs = [
        *fabricated("asmg", L1, 100, 10, [0.0, 0.0], 400),
        *fabricated("asmg-ew", L1, 100, 10, [0.0, 0.0], 300),
        *fabricated("cma-full", L1, 100, 10, [0.0, 9.0], 200),  # (200 + 1000) / 1
        *fabricated("es", L1, 100, 10, [9.0, 9.0]),
        *fabricated("asmg", MIXED, 100, 10, [0.0], 400),
        *fabricated("es", MIXED, 100, 10, [9.0]),
    ]
    methods = ["asmg", "asmg-ew", "cma-full", "es"]
    table = paper.make_table(runs, methods)
    assert table.rows[0][-2:] == ["pycma full", "3.00"]
    assert table.rows[1][-2:] == ["none reached it", "> 2.5"]
    assert table.rows[0][3:7] == ["400 (2/2)", "300 (2/2)", "200 (1/2)", "9 (0/2)"]
    paper.summarise(runs, table, paper.common.Table("claims", ["holds"]))
    out = capsys.readouterr().out
    assert "ASMG reaches 0.0001 in 3 of 3 runs" in out
    assert "ASMG is ahead of every peer in 2 of 2 cells" in out
    assert "ASMG is ahead of the ablation in 1 of 2 cells" in out
    assert f"behind ASMG-EW on {Cell(L1, 100, 10)}: 1.33 times its evaluations" in out


def test_the_start_and_the_measure_are_the_thesiss():
    problem = paper.make_problem(L_HALF, 6)
    x0 = problem.start(3)
    np.testing.assert_array_equal(x0, paper.make_problem(MIXED, 6).start(3))
    assert ((x0 >= 0) & (x0 <= 1)).all()
    assert problem.measures(np.array([[0.1, -0.1, 0.1, 0.1, -0.1, 0.4]])) == {"distance": pytest.approx(0.3)}
    assert (problem.target, problem.sigma0, problem.bounds) == (1e-4, 1.0, None)


def test_the_command(results, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(paper, "QUICK_BUDGETS", {(100, 50): 2000, (200, 100): 1000})
    paper.main(["--quick", "--jobs", "1", "--seeds", "1", "--optimizers", "asmg", "es", "bes"])
    out = capsys.readouterr().out
    assert "ES: mirrored, centred ranks, Adam 0.01, sigma fixed at sigma0, on the sum of the objectives" in out
    assert "the thesis's claims: " in out
    lines = (results / "paper_runs.csv").read_text().splitlines()[2:]
    rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * (3 + 2)
    assert all(int(r["spent"]) <= int(r["budget"]) for r in rows)
    for name in ("paper.csv", "paper_claims.csv", "paper_figure_4_2.png", "paper_figure_4_4.figure.json"):
        assert (results / name).exists(), name
