"""pymoo's problems (ZDT, DTLZ, WFG; d up to 1,000): one Pareto point against CMA-ES, and against whole fronts.

Every problem's box is mapped to [0, 1]^d; searches start at a uniform point of it, drawn from the run's seed, with
sigma0 = 0.3, and end at the budget. ZDT and WFG with two objectives, DTLZ with three (DTLZ5 to 7 are left out: pymoo
fetches their fronts from its site; ZDT5 has bits for variables).

Judged is what a method recommends. ``distance``: how far F is behind the true front (``from_pymoo(...).distance``: 0 on
the front, in units of its extent); of a front, its best member. ``hypervolume``: share of the true front's hypervolume
that the recommendation dominates, reference point 1.1 in the same units. One point can only dominate a part of it: this
column tells what a front gives that a point does not.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench import common

common.one_thread()

import numpy as np  # noqa: E402

from bench.harness import (  # noqa: E402
    OPTIMIZERS,
    Problem,
    Run,
    Task,
    available,
    missing,
    parse,
    parser,
    run_all,
    save_runs,
    select,
    show_settings,
    trace_figure,
)

METHODS = ("asmg", "asmg-ew", "cma-diagonal", "cma-full", "nsga2", "como", "random")
FRONTS = ("nsga2", "como")
NAMES = (
    *(f"zdt{i}" for i in (1, 2, 3, 4, 6)),
    *(f"dtlz{i}" for i in (1, 2, 3, 4)),
    *(f"wfg{i}" for i in range(1, 10)),
)
BUDGETS = {30: 20_000, 100: 30_000, 1000: 100_000}
QUICK = {
    30: (5_000, ("zdt1", "zdt2", "zdt3", "zdt4", "zdt6", "dtlz1", "dtlz2", "wfg1", "wfg4", "wfg9")),
    1000: (10_000, ("zdt1", "dtlz2", "wfg4")),
}
QUICK_SLOW = ("zdt1", "wfg4")  # --quick: the only problems for COMO-CMA-ES and the full covariance matrix
MARGIN = 0.1
ON_FRONT = 1e-4  # a finer distance than the front's points are apart


def make_problem(name: str, d: int) -> Problem:
    """Return one of pymoo's problems on [0, 1]^d."""
    import moocore
    from pymoo.problems import get_problem

    from pyasmg.problems import from_pymoo

    m = 3 if name.startswith("dtlz") else 2
    sizes = {"n_var": d} if name.startswith("zdt") else {"n_var": d, "n_obj": m}
    problem = from_pymoo(get_problem(name, **sizes), unit_box=True)
    ideal, nadir = problem.front.min(axis=0), problem.front.max(axis=0)
    extent = np.where(nadir > ideal, nadir - ideal, 1.0)
    reference = np.full(m, 1.0 + MARGIN)
    whole = moocore.hypervolume((problem.front - ideal) / extent, ref=reference)

    def measures(points: np.ndarray) -> dict[str, float]:
        values = problem(points)
        distances = np.asarray(problem.distance_of_values(values))
        dominated = moocore.hypervolume((values - ideal) / extent, ref=reference)
        return {"distance": float(distances.min()), "hypervolume": float(dominated) / whole}

    return Problem(
        name=name,
        d=d,
        n_objectives=m,
        evaluate=problem,
        start=lambda seed: np.random.default_rng([seed, d]).random(d),
        measures=measures,
        sigma0=0.3,
        bounds=problem.bounds,
        reference=ideal + (1.0 + MARGIN) * extent,
    )


def make_tasks(methods: Sequence[str], seeds: int, quick: bool) -> list[Task]:
    """Return the runs; a method that is too slow, or does not know three objectives, is left out of a cell."""
    tasks = []
    plan = QUICK if quick else {d: (budget, NAMES) for d, budget in BUDGETS.items()}
    for d, (budget, names) in plan.items():
        for name in names:
            for method in methods:
                if method in ("como", "cma-full") and (d > 100 or (quick and name not in QUICK_SLOW)):
                    continue  # 0.5 to 1 s per 1,000 evaluations at d = 30
                if method == "como" and (d > 30 or name.startswith("dtlz")):
                    continue  # knows two objectives
                size = seeds if d <= 100 else min(seeds, 3)
                tasks += [Task(__name__, name, d, method, None, seed, budget) for seed in range(size)]
    return tasks


def _median(runs: Sequence[Run], measure: str) -> float | None:
    return float(np.median([r.measures[measure] for r in runs])) if runs else None


def make_table(runs: Sequence[Run], methods: Sequence[str], measure: str, title: str) -> common.Table:
    """Return one row per (problem, d), one column per method; for the distance also who is how far ahead."""
    labels = [OPTIMIZERS[m].label for m in methods]
    extra = ["best peer", "peer / ASMG"] if measure == "distance" else []
    table = common.Table(f"pymoo_{measure}", ["problem", "d", "evaluations", *labels, *extra], title)
    for name, d in dict.fromkeys((r.task.problem, r.task.d) for r in runs):
        inside = select(runs, problem=name, d=d)
        medians = {m: _median(select(inside, optimizer=m), measure) for m in methods}
        cells = ["-" if value is None else value for value in medians.values()]
        if extra:
            peers = {m: v for m, v in medians.items() if v is not None and not m.startswith("asmg") and m not in FRONTS}
            ours, best = medians.get("asmg"), min(peers, key=peers.__getitem__, default=None)
            known = ours is not None and best is not None
            cells += [OPTIMIZERS[best].label, _ratio(peers[best], ours)] if known else ["-", "-"]
        table.add(name, d, inside[0].task.budget, *cells)
    return table


def _ratio(theirs: float, ours: float) -> float:
    """Return a quotient of distances; what is below 1e-4 counts as 1e-4: on the front."""
    return max(theirs, ON_FRONT) / max(ours, ON_FRONT)


def summarise(table: common.Table) -> None:
    """Print in how many cells ASMG is ahead of the methods that give one point, and where it is far behind."""
    ratios = [(row[-1], row) for row in table.rows if isinstance(row[-1], float)]
    ahead, behind = [x for x in ratios if x[0] > 1.2], [x for x in ratios if x[0] < 1 / 1.2]
    print(f"distance after the same evaluations, ASMG against the best peer with one point, {len(ratios)} cells:")
    print(f"  ahead by more than 20 % in {len(ahead)}, behind by more than 20 % in {len(behind)}")
    for ratio, row in behind:
        print(f"  behind {row[-2]} on {row[0]}, d = {row[1]}: {1 / ratio:.3g} times its distance")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suite, print the tables, write CSV and PNG."""
    command = parser("pymoo", __doc__, METHODS)
    options = parse(command, arguments, seeds=(1, 5))
    for package in ("pymoo", "moocore"):
        line = missing(package)
        if line:
            print(f"suite pymoo skipped: {line}.")
            return
    methods = available(options.optimizers)
    runs = run_all(make_tasks(methods, options.seeds, options.quick), options.jobs, fresh=options.fresh)
    single = [m for m in methods if m not in FRONTS]
    distance = make_table(runs, methods, "distance", "Distance to the front at the end, median over the seeds")
    tables = [distance, make_table(runs, methods, "hypervolume", "Share of the front's hypervolume, median")]
    for table in tables:
        table.show()
        table.save()
    show_settings(methods)
    save_runs(runs, "pymoo_runs")
    for d in dict.fromkeys(r.task.d for r in runs):
        inside = [r for r in runs if r.task.d == d and r.task.optimizer in single]
        note = "Methods that give one point. Median and quartiles over the seeds."
        title, y = f"pymoo's problems, d = {d}", "distance to the front"
        trace_figure(f"pymoo_{d}", title, y, inside, lambda r: r.task.problem, note=note, columns=5).save()
    summarise(distance)
    print(f"{sum(r.seconds for r in runs):,.0f} s of searching in all")
