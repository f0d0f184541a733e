"""The thesis's figures 4.1-4.4: distance to the Pareto set over evaluations, and its claims cell by cell.

Problems 4.21-4.23 at d = 100 with populations of N = 10, 50 and 100 (figures 4.1-4.3), and with N = 100 the shift
l1-ellipsoid (the caption of figure 4.4) and the shift l1/2-ellipsoid (its text) at d = 200, 500 and 1000. All methods
start at the same point, uniform in [0, 1]^d and drawn from the run's seed, with sigma0 = 1. A run succeeds when what
the method recommends (the mean of its search distribution) is within 1e-4 of the Pareto set.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from bench import common

common.one_thread()

import numpy as np  # noqa: E402

from bench.harness import (  # noqa: E402
    OPTIMIZERS,
    Problem,
    Run,
    Task,
    available,
    expected_evaluations,
    median_evaluations,
    parse,
    parser,
    run_all,
    save_runs,
    select,
    show_settings,
    trace_figure,
)

from . import _paper_claims  # noqa: E402
from ._paper_claims import L1, L_HALF, MIXED, TARGET, Cell  # noqa: E402

PROBLEMS = (L1, L_HALF, MIXED)
METHODS = (
    "asmg", "asmg-paper", "asmg-ew", "cma-full", "cma-diagonal", "sep-cma", "es", "bes", "mmes", "random",
)  # fmt: skip
OURS = ("asmg", "asmg-paper", "asmg-ew")

#: Evaluations by (d, N): what the source's settings need on the slowest problem, and somewhat more.
BUDGETS = {
    (100, 10): 60_000,
    (100, 50): 160_000,
    (100, 100): 300_000,
    (200, 100): 400_000,
    (500, 100): 600_000,
    (1000, 100): 1_000_000,
}
QUICK_BUDGETS = {(100, 10): 40_000, (100, 50): 60_000}
#: What the peers get at most above d = 100; pycma's full covariance matrix takes 0.13, 0.6 and 1.3 s per 1,000
#: evaluations at d = 200, 500 and 1000.
PEER_BUDGET = 400_000
FULL_BUDGETS = {200: 300_000, 500: 100_000, 1000: 60_000}


def make_problem(name: str, d: int) -> Problem:
    """Return problem 4.21, 4.22 or 4.23 with the thesis's start and measure."""
    from pyasmg.problems import MixedEllipsoidRastrigin, ShiftedL1Ellipsoid, ShiftedLHalfEllipsoid

    kinds: tuple[Any, ...] = (ShiftedL1Ellipsoid, ShiftedLHalfEllipsoid, MixedEllipsoidRastrigin)
    problem = kinds[PROBLEMS.index(name)](d)
    return Problem(
        name=name,
        d=d,
        n_objectives=2,
        evaluate=problem,
        start=lambda seed: np.random.default_rng([seed, d]).uniform(0.0, 1.0, d),
        measures=lambda points: {"distance": float(np.min(problem.distance(points)))},
        sigma0=1.0,
        target=TARGET,
    )


def make_tasks(methods: Sequence[str], seeds: int, quick: bool) -> list[Task]:
    """Return the runs of the figures; the peers' number of seeds and budgets shrink where they are slow."""
    tasks = []
    for (d, popsize), budget in (QUICK_BUDGETS if quick else BUDGETS).items():
        for problem in PROBLEMS if d == 100 else (L1, L_HALF):
            for method in methods:
                size, limit = seeds, budget
                if not quick and method not in OURS and d > 100:
                    size, limit = min(seeds, 3), min(budget, PEER_BUDGET)
                if not quick and method == "cma-full":
                    size = min(seeds, 5 if d == 100 else 3 if d == 200 else 1)
                    limit = min(limit, FULL_BUDGETS.get(d, limit))
                tasks += [Task(__name__, problem, d, method, popsize, seed, limit) for seed in range(size)]
    return tasks


def cells(runs: Sequence[Run]) -> list[Cell]:
    """Return the cells that were run."""
    return list(dict.fromkeys(Cell(r.task.problem, r.task.d, r.task.popsize or 0) for r in runs))


def make_table(runs: Sequence[Run], methods: Sequence[str]) -> common.Table:
    """Return one row per cell: evaluations to the target (successes), or the distance reached, per method.

    The last two columns compare expected evaluations: those of all runs, failures included, over the number of
    successes (COCO's ERT). Where no peer reached the target: the largest budget that a peer spent.
    """
    title = f"Evaluations to distance {TARGET:g}: median of the successes (successes / runs), else the last distance"
    labels = [OPTIMIZERS[m].label for m in methods]
    table = common.Table("paper", ["problem", "d", "N", *labels, "best peer", "peer / ASMG"], title)
    for cell in cells(runs):
        texts = [_cell_text(cell.runs(runs, method)) for method in methods]
        table.add(cell.problem, cell.d, cell.popsize, *texts, *_peer(runs, cell, methods))
    return table


def expected(runs: Sequence[Run], cell: Cell, methods: Iterable[str]) -> dict[str, float]:
    """Return the expected evaluations to the target of the methods that reached it in a cell."""
    found = {method: expected_evaluations(cell.runs(runs, method)) for method in methods}
    return {method: value for method, value in found.items() if value is not None}


def _peer(runs: Sequence[Run], cell: Cell, methods: Sequence[str]) -> tuple[str, str]:
    """Return the best method that is not pyasmg, and its expected evaluations over ASMG's."""
    ours = expected(runs, cell, ["asmg"]).get("asmg")
    if ours is None:
        return "-", "-"
    peers = [method for method in methods if method not in OURS]
    others = expected(runs, cell, peers)
    if not others:
        spent = [r.task.budget for method in peers for r in cell.runs(runs, method)]
        return "none reached it", f"> {max(spent) / ours:.1f}" if spent else "-"
    best = min(others, key=others.__getitem__)
    return OPTIMIZERS[best].label, f"{others[best] / ours:.2f}"


def _cell_text(runs: Sequence[Run]) -> str:
    if not runs:
        return "-"
    median = median_evaluations(runs)
    reached = f"({sum(r.evaluations is not None for r in runs)}/{len(runs)})"
    if median is None:
        return f"{np.median([r.value for r in runs]):.1g} {reached}"
    return f"{median:,.0f} {reached}"


def summarise(runs: Sequence[Run], table: common.Table, claims: common.Table) -> None:
    """Print what the tables come to."""
    auto = select(runs, optimizer="asmg")
    reached = sum(r.evaluations is not None for r in auto)
    print(f"ASMG reaches {TARGET:g} in {reached} of {len(auto)} runs")
    for group, members in (("every peer", [m for m in METHODS if m not in OURS]), ("the ablation", ["asmg-ew"])):
        ahead, behind = 0, []
        for cell in cells(runs):
            ours, others = expected(runs, cell, ["asmg"]).get("asmg", math.inf), expected(runs, cell, members)
            best = min(others, key=others.__getitem__, default=None)
            if best and others[best] < ours:
                ratio = ours / others[best]
                behind.append(f"  behind {OPTIMIZERS[best].label} on {cell}: {ratio:.2f} times its evaluations")
            ahead += math.isfinite(ours) and (best is None or others[best] >= ours)
        print(f"ASMG is ahead of {group} in {ahead} of {len(table.rows)} cells")
        print(*behind, sep="\n", end="\n" if behind else "")
    holds = sum(row[-1] == "holds" for row in claims.rows)
    print(f"the thesis's claims: {holds} of {len(claims.rows)} hold")
    for row in claims.rows:
        if row[-1] != "holds":
            print(f"  figure {row[0]}, {row[2]}, d = {row[3]}, N = {row[4]}: {row[1]!r}; here {row[5]}")


def save_figures(runs: Sequence[Run]) -> None:
    """Write figures 4.1-4.4."""
    note = "Median and quartiles over the seeds; a run that ended keeps its last distance. Dashed: 1e-4."
    options: dict[str, Any] = {"target": TARGET, "note": note}
    for number, popsize in enumerate((10, 50, 100), 1):
        inside = [r for r in runs if r.task.d == 100 and r.task.popsize == popsize]
        if inside:
            title = f"Figure 4.{number}: d = 100, N = {popsize}"
            name = f"paper_figure_4_{number}"
            trace_figure(name, title, "distance to the Pareto set", inside, lambda r: r.task.problem, **options).save()
    inside = [r for r in runs if r.task.d > 100]
    if inside:
        inside.sort(key=lambda r: (PROBLEMS.index(r.task.problem), r.task.d))
        trace_figure(
            "paper_figure_4_4",
            "Figure 4.4: N = 100, d = 200 to 1000",
            "distance to the Pareto set",
            inside,
            lambda r: f"{r.task.problem}, d = {r.task.d}",
            **options,
        ).save()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the figures, print the tables, write CSV and PNG."""
    command = parser("paper", __doc__, METHODS)
    options = parse(command, arguments, seeds=(1, 10))
    methods = available(options.optimizers)
    runs = run_all(make_tasks(methods, options.seeds, options.quick), options.jobs, fresh=options.fresh)
    table = make_table(runs, methods)
    table.show()
    table.save()
    show_settings(methods)
    columns = ["figure", "claim", "problem", "d", "N", "ours", "holds"]
    claims = common.Table("paper_claims", columns, "The thesis's claims, cell by cell")
    for row in _paper_claims.rows(runs):
        claims.add(*row)
    claims.show()
    claims.save()
    save_runs(runs, "paper_runs")
    save_figures(runs)
    summarise(runs, table, claims)
    print(f"{sum(r.seconds for r in runs):,.0f} s of searching in all")
    if options.quick:
        print("--quick: smaller budgets and fewer cells; the claims are about the full run.")
