"""COCO: ``bbob-biobj`` (55 functions of two objectives) and ``bbob-largescale`` (24 functions of one).

All searches start at a uniform point of [-4, 4]^d, drawn from the run's seed, with sigma0 = 2 and without bounds. ASMG
is run as a solver with several starts: on ``bbob-biobj`` five with an equal share of the budget each, once with its own
weights and once with five fixed ones that spread over the front; on ``bbob-largescale`` it restarts with twice the
population whenever its own criteria end a search.

``bbob-biobj``, objectives normalised to ideal (0, 0) and nadir (1, 1):

- ``regret``: of the best point that a method recommends, by how much both objectives can be lowered at once
  (:func:`bench.suites._coco_front.regret`); the target that suits a method of one Pareto point per run;
- ``hypervolume gap``: the indicator that COCO logs, of everything evaluated: best known hypervolume minus the
  archive's. It asks for the whole front.

``bbob-largescale``: ``factor`` tells how many times the evaluations of the fastest method a method needs, as geometric
mean over 51 targets from 1e2 to 1e-8 in f - f_opt; a target that was missed counts as ten times the budget.
"""

from __future__ import annotations

import argparse
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
    grid,
    missing,
    parse,
    parser,
    run_all,
    save_runs,
    select,
    show_settings,
    trace_figure,
)
from bench.harness.optimizers import Entry  # noqa: E402

OPTIMIZERS["asmg-restarts"] = Entry(
    "ASMG", "bench.baselines.asmg_starts:AsmgStarts", None, "vector", "pyasmg's defaults, restarts with twice the N",
    options={"growth": 2.0},
)  # fmt: skip
OPTIMIZERS["asmg-starts"] = Entry(
    "ASMG starts", "bench.baselines.asmg_starts:AsmgStarts", None, "vector", "pyasmg's defaults, 5 starts"
)
OPTIMIZERS["asmg-spread"] = Entry(
    "ASMG spread", "bench.baselines.asmg_starts:AsmgStarts", None, "vector", "5 starts, fixed weights .1, .3, ... .9",
    options={"spread": 5},
)  # fmt: skip

ONE = ("asmg-restarts", "cma-diagonal", "sep-cma", "cma-full")
TWO = ("asmg", "asmg-starts", "asmg-spread", "cma-diagonal", "nsga2", "como", "random")
METHODS = tuple(dict.fromkeys(ONE + TWO))
STARTS = 5
TARGETS = 10.0 ** np.linspace(2, -8, 51)
LARGESCALE, BIOBJ = "largescale", "biobj"
QUICK_TWO, QUICK_ONE = (1, 3, 8, 17, 35, 50), (1, 2, 6, 8, 12, 14, 16, 21)
GROUPS = {"separable": range(1, 6), "moderate": range(6, 10), "ill-conditioned": range(10, 15),
          "multimodal": range(15, 20), "weak structure": range(20, 25)}  # fmt: skip


def make_problem(name: str, d: int) -> Problem:
    """Return ``"biobj fNN"`` or ``"largescale fNN"``, instance 1."""
    suite, function = name.split(" f")
    return _biobj(name, int(function), d) if suite == BIOBJ else _largescale(name, int(function), d)


def start(d: int, seed: int) -> np.ndarray:
    """Return x0, the same for every method."""
    return np.random.default_rng([seed, d]).uniform(-4.0, 4.0, d)


def _largescale(name: str, function: int, d: int) -> Problem:
    from ._coco_problem import single_objective

    problem = single_objective(function, d)
    return Problem(
        name=name,
        d=d,
        n_objectives=1,
        evaluate=lambda X: problem.error(X)[:, None],
        start=lambda seed: start(d, seed),
        measures=lambda points: {"error": float(np.nanmin(problem.error(points), initial=np.inf))},
        sigma0=2.0,
        target=float(TARGETS[-1]),
    )


def _biobj(name: str, function: int, d: int) -> Problem:
    from ._coco_archive import Archive
    from ._coco_front import reference_front, regret
    from ._coco_problem import two_objectives

    problem = two_objectives(function, d)
    front = reference_front(problem, common.RESULTS / "coco_fronts" / f"f{function:02d}_d{d}.npy")
    archives = [Archive()]

    def begin(seed: int) -> np.ndarray:
        archives[0] = Archive()
        return start(d, seed)

    def evaluate(X: np.ndarray) -> np.ndarray:
        values = problem(X)
        archives[0].add(values)
        return values

    def measures(points: np.ndarray) -> dict[str, float]:
        gap = archives[0].gap(problem.reference)
        return {"regret": regret(problem(points), front), "hypervolume gap": gap}

    return Problem(
        name=name,
        d=d,
        n_objectives=2,
        evaluate=evaluate,
        start=begin,
        measures=measures,
        sigma0=2.0,
        reference=np.array([1.1, 1.1]),
    )


# ---------------------------------------------------------------- what is run


def make_tasks(methods: Sequence[str], seeds: int, options: argparse.Namespace) -> list[Task]:
    """Return the runs; a method that is too slow is left out of a cell (see the README)."""
    tasks = []
    for d in options.dimensions_two:
        budget = options.budget * d
        for function in options.functions_two:
            for method in (m for m in TWO if m in methods and not (m == "como" and d > 10)):
                starts = (("share", budget // STARTS),) if method in ("asmg-starts", "asmg-spread") else ()
                tasks += [
                    Task(__name__, f"{BIOBJ} f{function:02d}", d, method, None, seed, budget, starts)
                    for seed in range(seeds)
                ]
    for d in options.dimensions_one:
        for function in options.functions_one:
            for method in (m for m in ONE if m in methods and not (m == "cma-full" and d > 40)):
                tasks += [
                    Task(__name__, f"{LARGESCALE} f{function:02d}", d, method, None, seed, options.budget * d)
                    for seed in range(seeds)
                ]
    return tasks


# ---------------------------------------------------------------- bbob-largescale


def log_evaluations(run: Run) -> np.ndarray:
    """Return log10 of the evaluations to each target, (51,), from the trace; a missed one is ten times the budget."""
    reached = np.minimum.accumulate([*run.trace, run.value])
    points = np.append(grid(run.task.budget), run.spent)
    first = np.array([np.argmax(reached <= t) if (reached <= t).any() else -1 for t in TARGETS])
    return np.log10(np.where(first >= 0, points[first], 10.0 * run.task.budget))


def largescale_tables(runs: Sequence[Run], methods: Sequence[str]) -> list[common.Table]:
    """Return one row per (function, d), and one per group of functions."""
    labels = [OPTIMIZERS[m].label for m in methods]
    title = "bbob-largescale: evaluations over those of the fastest method (median error at the end)"
    table = common.Table("coco_largescale", ["function", "d", *labels, "fastest", "fastest peer / ASMG"], title)
    hit = common.Table(
        "coco_largescale_groups", ["functions", "d", *labels], "bbob-largescale: share of the 51 targets reached"
    )
    shares: dict[tuple[str, int], dict[str, list[float]]] = {}
    for name, d in dict.fromkeys((r.task.problem, r.task.d) for r in runs):
        inside = select(runs, problem=name, d=d)
        cells = {m: select(inside, optimizer=m) for m in methods}
        logs = {m: float(np.mean([log_evaluations(r) for r in cell])) for m, cell in cells.items() if cell}
        best = min(logs, key=logs.__getitem__)
        row = [
            f"{10 ** (logs[m] - logs[best]):.2f} ({np.median([r.value for r in cells[m]]):.1e})" if m in logs else "-"
            for m in methods
        ]
        peers = [value for m, value in logs.items() if not m.startswith("asmg")]
        ratio = 10 ** (min(peers) - logs["asmg-restarts"]) if peers and "asmg-restarts" in logs else "-"
        table.add(name.split()[1], d, *row, OPTIMIZERS[best].label, ratio)
        group = next(g for g, numbers in GROUPS.items() if int(name[-2:]) in numbers)
        for key in ((group, d), ("all", d)):
            for m, cell in cells.items():
                share = [float(np.mean(min([*r.trace, r.value]) <= TARGETS)) for r in cell]
                shares.setdefault(key, {}).setdefault(m, []).extend(share)
    for (group, d), by in sorted(shares.items(), key=lambda item: (item[0][1], item[0][0] == "all")):
        hit.add(group, d, *(float(np.mean(by[m])) if by.get(m) else "-" for m in methods))
    return [table, hit]


def summarise_largescale(table: common.Table) -> None:
    """Print where ASMG is ahead, and every cell in which a peer is ahead by more than 20 %."""
    ratios = [(row[-1], row) for row in table.rows if isinstance(row[-1], float)]
    if not ratios:
        return
    mean = float(np.exp(np.mean([np.log(r) for r, _ in ratios])))
    ahead, behind = sum(r > 1.2 for r, _ in ratios), [x for x in ratios if x[0] < 1 / 1.2]
    print(f"bbob-largescale, ASMG against the fastest peer in {len(ratios)} cells: geometric mean {mean:.2f},")
    print(f"  ahead by more than 20 % in {ahead}, behind by more than 20 % in {len(behind)}:")
    for ratio, row in behind:
        print(f"  {row[0]}, d = {row[1]}: {1 / ratio:.2f} times the evaluations of {row[-2]}")


# ---------------------------------------------------------------- bbob-biobj


def biobj_table(runs: Sequence[Run], methods: Sequence[str], measure: str) -> common.Table:
    """Return one row per (function, d), medians over the seeds, and who is best."""
    labels = [OPTIMIZERS[m].label for m in methods]
    name = measure.split()[0]
    table = common.Table(f"coco_{name}", ["function", "d", *labels, "best"], f"bbob-biobj: {measure}, lower is better")
    for problem, d in dict.fromkeys((r.task.problem, r.task.d) for r in runs):
        cells = {m: select(runs, problem=problem, d=d, optimizer=m) for m in methods}
        medians = {m: float(np.median([r.measures[measure] for r in cell])) for m, cell in cells.items() if cell}
        best = min(medians, key=medians.__getitem__)
        table.add(problem.split()[1], d, *(medians.get(m, "-") for m in methods), OPTIMIZERS[best].label)
    return table


def summarise_biobj(table: common.Table, measure: str) -> None:
    """Print how often each method is the best, and the median over the problems."""
    labels = table.columns[2:-1]
    print(f"bbob-biobj, {measure}, {len(table.rows)} problems: times best (median over the problems)")
    for k, label in enumerate(labels, 2):
        values = [row[k] for row in table.rows if isinstance(row[k], float)]
        best = sum(row[-1] == label for row in table.rows)
        print(f"  {label}: {best} ({np.median(values):.3g} in {len(values)})" if values else f"  {label}: not run")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the suite, print the tables, write CSV and PNG."""
    command = parser("coco", __doc__, METHODS)
    add = command.add_argument
    add("--budget", type=int, help="evaluations per parameter")
    add("--dimensions-two", type=int, nargs="*", help="of bbob-biobj: 10 20 40")
    add("--dimensions-one", type=int, nargs="*", help="of bbob-largescale: 20 40 80 160 320 (640)")
    add("--functions-two", type=int, nargs="*", help="of bbob-biobj: 1 to 55")
    add("--functions-one", type=int, nargs="*", help="of bbob-largescale: 1 to 24")
    options = parse(
        command,
        arguments,
        seeds=(3, 3),
        budget=(300, 300),
        dimensions_two=([10], [10, 20, 40]),
        dimensions_one=([20, 40], [20, 40, 80, 160, 320]),
        functions_two=(list(QUICK_TWO), list(range(1, 56))),
        functions_one=(list(QUICK_ONE), list(range(1, 25))),
    )
    line = missing("cocoex")
    if line:
        print(f"suite coco skipped: {line}.")
        return
    methods = available(options.optimizers)
    runs = run_all(make_tasks(methods, options.seeds, options), options.jobs, fresh=options.fresh)
    two = [r for r in runs if r.task.problem.startswith(BIOBJ)]
    one = [r for r in runs if r.task.problem.startswith(LARGESCALE)]
    if two:
        inside = [m for m in TWO if m in methods]
        for measure in ("regret", "hypervolume gap"):
            table = biobj_table(two, inside, measure)
            _show(table, options.quick)
            summarise_biobj(table, measure)
    if one:
        inside = [m for m in ONE if m in methods]
        table, groups = largescale_tables(one, inside)
        _show(table, options.quick)
        groups.show()
        groups.save()
        summarise_largescale(table)
        figure = [r for r in one if r.task.d == min(options.dimensions_one)]
        title = f"bbob-largescale, d = {min(options.dimensions_one)}"
        trace_figure(
            "coco_largescale", title, "f - f_opt", figure, lambda r: r.task.problem.split()[1],
            columns=6, note="Of the recommended point. Median and quartiles over the seeds.",
        ).save()  # fmt: skip
    if two:
        figure = [r for r in two if r.task.d == min(options.dimensions_two)]
        title = f"bbob-biobj, d = {min(options.dimensions_two)}"
        trace_figure(
            "coco_biobj", title, "scalarised regret", figure, lambda r: r.task.problem.split()[1],
            columns=6, note="Of the best recommended point; what is below 0 is beyond the reference front.",
        ).save()  # fmt: skip
    show_settings([m for m in methods if select(runs, optimizer=m)])
    save_runs(runs, "coco_runs")
    print(f"{sum(r.seconds for r in runs):,.0f} s of searching in all")


def _show(table: common.Table, whole: bool) -> None:
    """Save the table; print it where it is short."""
    table.save()
    if whole or len(table.rows) <= 40:
        table.show()
    else:
        print(f"{table.title}: {len(table.rows)} rows, in {table.name}.csv")
