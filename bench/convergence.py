"""Evaluations needed to reach the Pareto set of the thesis's synthetic problems (Eqs. 4.21-4.23).

A run succeeds when the mean of the search distribution (``opt.mean``, pycma's ``es.mean``) is within 1e-4
of the Pareto set (``problem.distance``; looking at the mean costs no evaluation) before the budget is
spent. All methods start at the same point, uniform in [0, 1]^d and drawn from the run's seed, with sigma0 =
1, the same population size and the same budget:

- ``paper``: Algorithm 3 with the thesis's settings; it evaluates the mean too: N + 1 evaluations per
  generation;
- ``auto``: pyasmg's defaults with its stopping criteria: a run that stops itself before the target has
  failed;
- ``pycma full``, ``pycma diagonal``: CMA-ES (the second with ``CMA_diagonal=True``) on the sum of the
  objectives. Its stopping criteria for slow progress are off; those for a finished search (``tolx``,
  ``tolfun``, ...) hold.

How to read the table: per method the median number of evaluations over the successful runs (lower is
better) and how many runs succeeded; ``paper / auto`` is the ratio of the two medians, and the last row its
geometric mean (over the cells where both succeeded at all; the summary says in how many). The figure shows
the distance over the evaluations: median and quartiles over the seeds, a finished run keeping its last
distance. ``convergence_runs.csv`` holds every single run.

``--invariance`` instead multiplies one objective by 1e-6 and by 1e6, each in turn, and prints by how much
that changes the path of the default mode: means relative to the largest coordinate, stds each relative to
itself. Multiplying by 1e6 rounds the values, and a search amplifies rounding errors (near the cusps of 4.22
and 4.23 without limit): so it also multiplies by powers of two, which round nothing and must change
nothing, and shows as a control what moving every value by one bit does, without any change of units.

    python -m bench.convergence [--quick] [--seeds 10] [--dimensions 100 10 1000] [--jobs 2] [--invariance]
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import common

common.one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

import pyasmg  # noqa: E402
from pyasmg.problems import MixedEllipsoidRastrigin, ShiftedL1Ellipsoid, ShiftedLHalfEllipsoid  # noqa: E402

FloatArray = npt.NDArray[np.float64]

PROBLEMS: dict[str, Any] = {
    "l1 (4.21)": ShiftedL1Ellipsoid,
    "l1/2 (4.22)": ShiftedLHalfEllipsoid,
    "mixed (4.23)": MixedEllipsoidRastrigin,
}
PAPER: dict[str, Any] = {
    "step_size": 0.1,
    "std_step_size": 0.1,
    "scale_objectives": False,
    "baseline": "center",
    "weight_momentum": "harmonic",
    "stagnation": 0,  # the thesis knows no stopping criterion
}
METHODS = ("paper", "auto", "pycma full", "pycma diagonal")
TARGET = 1e-4
FULL_DIMENSION = 100  # the budget is meant for this d; it grows in proportion above
GRID_POINTS = 150
FACTORS = {"1e-6": 1e-6, "1e6": 1e6, "2^-20": 2.0**-20, "2^20": 2.0**20}
ROUNDING = "one bit up"


@dataclass(frozen=True)
class Task:
    """One run."""

    method: str
    problem: str
    d: int
    popsize: int
    seed: int
    budget: int


@dataclass(frozen=True)
class Run:
    """What came of it; ``evaluations`` is None for a failure, ``trace`` the distance on ``grid(budget)``."""

    task: Task
    evaluations: int | None
    spent: int
    distance: float
    end: str
    trace: FloatArray


def grid(budget: int) -> FloatArray:
    """Return the evaluation counts at which a run's distance is recorded."""
    return np.geomspace(10, budget, GRID_POINTS)


def start(d: int, seed: int) -> FloatArray:
    """Return x0 of a run: the same for every method, problem and population size."""
    return np.random.default_rng([seed, d]).uniform(0.0, 1.0, d)


class AsmgSearch:
    """pyasmg, one generation per ``step``."""

    def __init__(self, problem: Any, task: Task, **options: Any) -> None:
        self._problem = problem
        self._optimizer = pyasmg.ASMG(start(task.d, task.seed), 1.0, popsize=task.popsize, seed=task.seed, **options)
        self.cost = self._optimizer.n_candidates

    def step(self) -> tuple[FloatArray, dict[str, Any]]:
        """Make one generation; return the mean and the reasons to stop."""
        X = self._optimizer.ask()
        self._optimizer.tell(X, self._problem(X))
        return self._optimizer.mean, self._optimizer.stop()


class CmaSearch:
    """pycma on the sum of the objectives, one generation per ``step``; numpy's global state is left alone."""

    def __init__(self, problem: Any, task: Task, *, diagonal: bool) -> None:
        import cma

        self._problem = problem
        rng = np.random.default_rng([task.seed, 1])
        options = {
            "popsize": task.popsize,
            "CMA_diagonal": diagonal,
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": math.nan,  # "do nothing"
            "verbose": -10,
            "verb_log": 0,
            "maxiter": math.inf,
            "tolstagnation": math.inf,
            "tolxstagnation": False,
        }
        self._es = cma.CMAEvolutionStrategy(start(task.d, task.seed), 1.0, options)
        self.cost = task.popsize

    def step(self) -> tuple[FloatArray, dict[str, Any]]:
        """Make one generation; return the mean and the reasons to stop."""
        X = np.asarray(self._es.ask())
        self._es.tell(list(X), self._problem(X).sum(axis=1).tolist())
        return np.asarray(self._es.mean), dict(self._es.stop())


def make_search(task: Task, problem: Any) -> AsmgSearch | CmaSearch:
    if task.method == "paper":
        return AsmgSearch(problem, task, **PAPER)
    if task.method == "auto":
        return AsmgSearch(problem, task)
    return CmaSearch(problem, task, diagonal=task.method == "pycma diagonal")


def run(task: Task) -> Run:
    """Search until the target, the budget or the method's own end."""
    problem = PROBLEMS[task.problem](task.d)
    points = grid(task.budget)
    trace = np.empty(len(points))
    filled, spent, end = 0, 0, ""
    distance = problem.distance(start(task.d, task.seed))
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # pycma warns, the paper's step may diverge
        warnings.simplefilter("ignore")
        search = make_search(task, problem)
        while distance > TARGET and not end:
            if spent + search.cost > task.budget:
                end = "budget"
                break
            try:
                mean, reasons = search.step()
            except Exception as error:  # pycma raises on some numerical breakdowns: a failed run
                if task.method in ("paper", "auto"):
                    raise
                end = f"{type(error).__name__}: {error}"
                break
            spent += search.cost
            before, distance = distance, problem.distance(mean)
            distance = distance if math.isfinite(distance) else math.inf
            while filled < len(points) and points[filled] < spent:
                trace[filled] = before
                filled += 1
            end = ", ".join(reasons)
    trace[filled:] = distance
    reached = distance <= TARGET
    return Run(task, spent if reached else None, spent, distance, "target" if reached else end, trace)


def run_all(tasks: Sequence[Task], jobs: int) -> list[Run]:
    """Return all runs, in order; a line on stderr whenever the seeds of a cell are done."""
    if jobs == 1:
        return list(_announced(map(run, tasks), tasks))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        return list(_announced(pool.map(run, tasks), tasks))


def _announced(results: Iterator[Run], tasks: Sequence[Task]) -> Iterator[Run]:
    successes = 0
    for i, result in enumerate(results):
        successes += result.evaluations is not None
        task = result.task
        if i + 1 == len(tasks) or tasks[i + 1].seed <= task.seed:
            cell = f"d = {task.d}, {task.problem}, N = {task.popsize}, {task.method}"
            print(f"[{i + 1}/{len(tasks)}] {cell}: {successes} succeeded", file=sys.stderr, flush=True)
            successes = 0
        yield result


def select(runs: Sequence[Run], **fields: Any) -> list[Run]:
    """Return the runs whose task has these values."""
    return [r for r in runs if all(getattr(r.task, name) == value for name, value in fields.items())]


def median_evaluations(runs: Sequence[Run]) -> float | None:
    """Return the median over the successful runs; None if there is none."""
    reached = [r.evaluations for r in runs if r.evaluations is not None]
    return float(np.median(reached)) if reached else None


def make_table(name: str, title: str, runs: Sequence[Run], methods: Sequence[str]) -> common.Table:
    """Return one row per (d, problem, N), and the geometric mean of paper / auto as the last one."""
    columns = ["d", "problem", "N"]
    for method in methods:
        columns += [method, f"{method} ok"]
    table = common.Table(name, [*columns, "paper / auto"], title)
    ratios = []
    for d, problem, popsize in dict.fromkeys((r.task.d, r.task.problem, r.task.popsize) for r in runs):
        cells: list[Any] = [d, problem, popsize]
        medians = {}
        for method in methods:
            cell = select(runs, d=d, problem=problem, popsize=popsize, method=method)
            median = medians[method] = median_evaluations(cell)
            cells.append("-" if median is None else round(median))
            cells.append(f"{sum(r.evaluations is not None for r in cell)}/{len(cell)}" if cell else "-")
        paper, auto = medians.get("paper"), medians.get("auto")
        ratio = paper / auto if paper and auto else None
        ratios += [ratio] if ratio else []
        table.add(*cells, "-" if ratio is None else ratio)
    mean = geometric_mean(ratios)
    table.add("all", "geometric mean", "", *[""] * (2 * len(methods)), "-" if mean is None else mean)
    return table


def geometric_mean(values: Sequence[float]) -> float | None:
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def summarise(table: common.Table, runs: Sequence[Run]) -> None:
    """Print the three acceptance lines, then where runs of the default mode failed and why."""
    paper = select(runs, method="paper")
    cells = {(r.task.problem, r.task.popsize): False for r in paper}
    complete = dict.fromkeys(cells, True)
    for r in paper:
        key = (r.task.problem, r.task.popsize)
        cells[key] |= r.evaluations is not None
        complete[key] &= r.evaluations is not None
    auto = select(runs, method="auto")
    reached = sum(r.evaluations is not None for r in auto)
    mean = table.rows[-1][-1]
    if paper:
        some, every = sum(cells.values()), sum(complete.values())
        verdict = _verdict(some == len(cells))
        print(f"paper mode succeeds in {some} of {len(cells)} cells (in {every} with every seed): {verdict}")
    if auto:
        print(f"auto succeeds in {reached} of {len(auto)} runs: {_verdict(reached == len(auto))}")
    if isinstance(mean, float):
        counted = sum(isinstance(row[-1], float) for row in table.rows[:-1])
        of = f"over {counted} of {len(table.rows) - 1} cells"
        passed = mean >= 3 and counted == len(table.rows) - 1
        print(f"geometric mean of paper / auto {of}, at least 3: {mean:.2f}: {_verdict(passed)}")
    for d, problem, popsize in dict.fromkeys((r.task.d, r.task.problem, r.task.popsize) for r in auto):
        cell = select(auto, d=d, problem=problem, popsize=popsize)
        failed = [r for r in cell if r.evaluations is None]
        if failed:
            ends = ", ".join(f"{count} {end}" for end, count in Counter(r.end for r in failed).items())
            distances = f"{min(r.distance for r in failed):.2g} to {max(r.distance for r in failed):.2g}"
            print(f"auto failed at d = {d}, {problem}, N = {popsize}: {ends}; at distance {distances}")


def _verdict(passed: bool) -> str:
    return "yes" if passed else "NO"


def save_runs(runs: Sequence[Run], name: str) -> None:
    columns = ["d", "problem", "N", "method", "seed", "evaluations to target", "spent", "distance", "end"]
    table = common.Table(name, columns)
    for r in runs:
        t = r.task
        reached = "" if r.evaluations is None else r.evaluations
        table.add(t.d, t.problem, t.popsize, t.method, t.seed, reached, r.spent, r.distance, r.end)
    table.save()


def plot(runs: Sequence[Run], methods: Sequence[str]) -> Path:
    """Draw distance over evaluations, one panel per (problem, N)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    problems = list(dict.fromkeys(r.task.problem for r in runs))
    popsizes = list(dict.fromkeys(r.task.popsize for r in runs))
    top = 10 * max(float(r.trace[0]) for r in runs)
    figure, axes = plt.subplots(
        len(problems),
        len(popsizes),
        figsize=(4 * len(popsizes), 3 * len(problems)),
        sharex=True,
        squeeze=False,
    )
    for i, problem in enumerate(problems):
        for j, popsize in enumerate(popsizes):
            axis = axes[i, j]
            for k, method in enumerate(methods):
                cell = select(runs, problem=problem, popsize=popsize, method=method)
                if not cell:
                    continue
                points = grid(cell[0].task.budget)
                low, middle, high = np.percentile([r.trace for r in cell], [25, 50, 75], axis=0)
                axis.plot(points, middle, color=f"C{k}", label=method, lw=1.5)
                axis.fill_between(points, low, high, color=f"C{k}", alpha=0.2, lw=0)
            axis.axhline(TARGET, color="0.6", lw=0.8, ls="--")
            axis.set(xscale="log", yscale="log", ylim=(TARGET / 3, top), title=f"{problem}, N = {popsize}")
    for axis in axes[-1]:
        axis.set_xlabel("evaluations")
    for axis in axes[:, 0]:
        axis.set_ylabel("distance to the Pareto set")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    path = common.save_figure(figure, "convergence")
    plt.close(figure)
    return path


def default_path(
    problem: Any, popsize: int, iterations: int, change: Callable[[FloatArray], FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return means and stds of the default mode, (iterations, d) each, when it is told ``change(F)``."""
    opt = pyasmg.ASMG(start(problem.d, 0), 1.0, popsize=popsize, seed=0)
    means, stds = [], []
    for _ in range(iterations):
        X = opt.ask()
        opt.tell(X, change(problem(X)))
        means.append(opt.mean)
        stds.append(opt.stds)
    return np.array(means), np.array(stds)


def invariance(d: int, popsizes: Sequence[int], iterations: int) -> common.Table:
    """Measure how far the path of the default mode moves when one objective changes its units."""
    columns = ["problem", "N", "objective", "times", "mean", "stds", "iterations within 1e-6"]
    title = f"Largest relative difference of the path over {iterations} iterations, d = {d}"
    table = common.Table("convergence_invariance", columns, title)
    for label, kind in PROBLEMS.items():
        problem = kind(d)
        for popsize in popsizes:
            means, stds = default_path(problem, popsize, iterations, lambda F: F)
            for objective in range(problem.n_objectives):
                for name, factor in FACTORS.items():
                    factors = np.where(np.arange(problem.n_objectives) == objective, factor, 1.0)
                    m, s = default_path(problem, popsize, iterations, factors.__mul__)
                    table.add(label, popsize, objective + 1, name, *_differences(m, s, means, stds))
            m, s = default_path(problem, popsize, iterations, lambda F: np.nextafter(F, np.inf))
            table.add(label, popsize, "both", ROUNDING, *_differences(m, s, means, stds))
    return table


def _differences(m: FloatArray, s: FloatArray, means: FloatArray, stds: FloatArray) -> tuple[float, float, int]:
    mean = np.abs(m - means).max(axis=1) / np.abs(means).max(axis=1)
    std = np.abs(s / stds - 1).max(axis=1)
    far = np.flatnonzero(np.maximum(mean, std) > 1e-6)
    return float(mean.max()), float(std.max()), int(far[0]) if far.size else len(m)


def summarise_invariance(table: common.Table) -> None:
    """Print the largest difference for the factors, for the powers of two and for the control."""
    for what, names in (
        ("factors 1e-6 and 1e6", ("1e-6", "1e6")),
        ("factors 2^-20 and 2^20 (no rounding: 0 if the search is exactly invariant)", ("2^-20", "2^20")),
        ("control, every value one bit up", (ROUNDING,)),
    ):
        rows = [row for row in table.rows if row[3] in names]
        worst = ", ".join(f"{label} {max(max(row[4:6]) for row in rows if row[0] == label):.2g}" for label in PROBLEMS)
        print(f"largest relative difference, {what}: {worst}")


def make_tasks(methods: Sequence[str], d: int, popsizes: Sequence[int], seeds: int, budget: int) -> list[Task]:
    budget = budget * max(d, FULL_DIMENSION) // FULL_DIMENSION
    return [
        Task(method, problem, d, popsize, seed, budget)
        for problem in PROBLEMS
        for popsize in popsizes
        for method in methods
        for seed in range(seeds)
    ]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.convergence", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 seeds, 20,000 evaluations, N = 10, 50")
    parser.add_argument("--seeds", type=int, help="runs per cell (10)")
    parser.add_argument("--other-seeds", type=int, help="runs per cell for the further dimensions (3)")
    parser.add_argument(
        "--dimensions", type=int, nargs="+", help="first: all methods; others: paper and auto (100 10 1000)"
    )
    parser.add_argument("--popsizes", type=int, nargs="+", help="N (10 50 100)")
    parser.add_argument("--budget", type=int, help="evaluations per run (300,000; times d / 100 above d = 100)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--invariance", action="store_true", help="only the check of invariance to units")
    parser.add_argument("--iterations", type=int, default=200, help="of --invariance (200)")
    parser.add_argument("--output", type=Path, help="folder for CSV and PNG (bench/results)")
    options = parser.parse_args(arguments)
    for name, full, quick in (
        ("seeds", 10, 2),
        ("other_seeds", 3, 1),
        ("dimensions", [100, 10, 1000], [100]),
        ("popsizes", [10, 50, 100], [10, 50]),
        ("budget", 300_000, 20_000),
    ):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.output is not None:
        common.RESULTS = options.output
    first, *others = options.dimensions
    if options.invariance:
        table = invariance(first, options.popsizes, options.iterations)
        table.show()
        table.save()
        summarise_invariance(table)
        return

    methods = list(options.methods)
    if find_spec("cma") is None and any(m.startswith("pycma") for m in methods):
        print('pycma skipped: not installed (pip install "pyasmg[bench]").')
        methods = [m for m in methods if not m.startswith("pycma")]
    runs = run_all(make_tasks(methods, first, options.popsizes, options.seeds, options.budget), options.jobs)
    title = f"Evaluations to distance {TARGET:g}, d = {first}: median of the successes in {options.seeds} runs"
    table = make_table("convergence", title, runs, methods)
    table.show()
    table.save()
    save_runs(runs, "convergence_runs")
    summarise(table, runs)
    if find_spec("matplotlib") is None:
        print('no figure: matplotlib is not installed (pip install "pyasmg[plot]").')
    else:
        plot(runs, methods)

    ours = [m for m in methods if m in ("paper", "auto")]
    if others and ours:
        tasks = [
            task for d in others for task in make_tasks(ours, d, options.popsizes, options.other_seeds, options.budget)
        ]
        more = run_all(tasks, options.jobs)
        title = f"Other dimensions, {options.other_seeds} runs, budget in proportion to d above 100"
        table = make_table("convergence_dimensions", title, more, ours)
        table.show()
        table.save()
        save_runs(more, "convergence_dimensions_runs")
        summarise(table, more)


if __name__ == "__main__":
    main()
