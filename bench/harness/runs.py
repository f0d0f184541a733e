"""One run, many runs in processes, and the file in which finished runs are kept."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from bench import common

from .optimizers import OPTIMIZERS, FloatArray, make, say
from .problem import Problem

GRID_POINTS = 120


@dataclass(frozen=True)
class Task:
    """One run: an optimizer on a problem.

    ``suite`` is the module that has ``make_problem(name, d) -> Problem``; it is imported in the worker process.
    ``popsize`` None is the method's own default.
    """

    suite: str
    problem: str
    d: int
    optimizer: str
    popsize: int | None
    seed: int
    budget: int
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def key(self) -> str:
        """What a finished run is found again by."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True)
class Run:
    """What came of a task.

    ``evaluations`` is None where the target was not reached (or there is none), ``spent`` what was evaluated in all,
    ``measures`` of the last recommendation, ``end`` why it ended ("target", "budget", or the method's own reasons),
    ``trace`` the first measure on ``grid(budget)``.
    """

    task: Task
    evaluations: int | None
    spent: int
    measures: dict[str, float]
    end: str
    seconds: float
    trace: list[float] = field(default_factory=list)
    reused: bool = False

    @property
    def value(self) -> float:
        """The first measure."""
        return next(iter(self.measures.values()))


def grid(budget: int) -> FloatArray:
    """Return the evaluation counts at which the first measure is recorded."""
    return np.geomspace(10, max(budget, 11), GRID_POINTS)


@lru_cache(maxsize=4)
def problem_of(suite: str, name: str, d: int) -> Problem:
    """Return the problem of a task, made once per process."""
    problem: Problem = import_module(suite).make_problem(name, d)
    return problem


def run(task: Task) -> Run:
    """Search until the target, the budget or the method's own end; never more evaluations than the budget."""
    problem = problem_of(task.suite, task.problem, task.d)
    x0 = problem.start(task.seed)
    clip = problem.bounds is not None and not OPTIMIZERS[task.optimizer].bounded
    points = grid(task.budget)
    trace, spent, end = [], 0, ""
    began = time.perf_counter()
    with warnings.catch_warnings(), np.errstate(all="ignore"):  # peers warn, and some diverge
        warnings.simplefilter("ignore")
        measures = _finite(problem.measures(x0[None]))
        optimizer = make(
            task.optimizer,
            x0,
            problem.sigma0,
            task.popsize,
            task.seed,
            bounds=problem.bounds,
            reference=problem.reference,
            **dict(task.options),
        )
        while not end:
            if problem.target is not None and next(iter(measures.values())) <= problem.target:
                end = "target"
                break
            try:
                X = optimizer.ask()
                if spent + len(X) > task.budget:
                    end = "budget"
                    break
                candidates = np.clip(X, *problem.bounds) if clip else X
                optimizer.tell(X, problem.evaluate(candidates))
            except Exception as error:  # peers raise on some numerical breakdowns: a failed run
                if OPTIMIZERS[task.optimizer].package is None:
                    raise
                end = f"{type(error).__name__}: {error}"
                break
            while len(trace) < len(points) and points[len(trace)] < spent + len(X):
                trace.append(next(iter(measures.values())))
            spent += len(X)
            measures = _finite(problem.measures(_inside(optimizer.recommend(), problem)))
            end = ", ".join(optimizer.stop())
            if end and problem.target is not None and next(iter(measures.values())) <= problem.target:
                end = "target"
    trace += [next(iter(measures.values()))] * (len(points) - len(trace))
    reached = spent if end == "target" else None
    return Run(task, reached, spent, measures, end, time.perf_counter() - began, trace)


def _inside(points: FloatArray, problem: Problem) -> FloatArray:
    return points if problem.bounds is None else np.clip(points, *problem.bounds)


def _finite(measures: dict[str, float]) -> dict[str, float]:
    return {name: float(value) if math.isfinite(value) else math.inf for name, value in measures.items()}


def run_all(tasks: Sequence[Task], jobs: int = 1, *, fresh: bool = False) -> list[Run]:
    """Return all runs, in the order of the tasks.

    Finished runs are kept in ``bench/results/SUITE_runs.jsonl`` as they end, and a later call takes them from there,
    unless the code they depend on has changed since, or `fresh` is set. A line on stderr per finished cell (all seeds
    of an optimizer on a problem).
    """
    kept = {} if fresh else _read_kept(tasks)
    results: dict[str, Run] = {task.key: kept[task.key] for task in tasks if task.key in kept}
    if results:
        say(f"{len(results)} of {len(tasks)} runs taken from an earlier call (--fresh runs them again).")
    left = [task for task in tasks if task.key not in results]
    cells: dict[tuple[Any, ...], int] = {}
    for task in left:
        cells[_cell(task)] = cells.get(_cell(task), 0) + 1
    for done, result in enumerate(_each(left, jobs), 1):
        results[result.task.key] = result
        _keep(result)
        cell = _cell(result.task)
        cells[cell] -= 1
        if cells[cell] == 0:
            say(_announce(result, [r for r in results.values() if _cell(r.task) == cell], done, len(left)))
    return [results[task.key] for task in tasks]


def _each(tasks: Sequence[Task], jobs: int) -> Iterable[Run]:
    if jobs == 1 or len(tasks) < 2:
        yield from map(run, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(run, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _cell(task: Task) -> tuple[Any, ...]:
    return (task.problem, task.d, task.optimizer, task.popsize, task.budget, task.options)


def _announce(last: Run, runs: Sequence[Run], done: int, total: int) -> str:
    task = last.task
    size = "" if task.popsize is None else f", N = {task.popsize}"
    reached = sum(r.evaluations is not None for r in runs)
    middle = float(np.median([r.value for r in runs]))
    what = f"{OPTIMIZERS[task.optimizer].label} on {task.problem}, d = {task.d}{size}"
    seconds = sum(r.seconds for r in runs)
    name = next(iter(last.measures))
    return f"[{done}/{total}] {what}: {reached} of {len(runs)} at the target, {name} {middle:.3g}, {seconds:.1f} s"


# ---------------------------------------------------------------- the file of finished runs


def runs_file(suite: str) -> Path:
    """Return where a suite's finished runs are kept."""
    return common.RESULTS / f"{suite.rpartition('.')[2]}_runs.jsonl"


@lru_cache(maxsize=64)
def fingerprint(suite: str, optimizer: str) -> str:
    """Return a hash of what a run depends on: the optimizer's code, its package's version, the suite's RUNS_VERSION.

    ``RUNS_VERSION`` is a number in the suite's module, raised when its problems or measures change.
    """
    root = Path(__file__).parents[2]
    entry = OPTIMIZERS[optimizer]
    module = import_module(entry.where.partition(":")[0])
    own = import_module(getattr(module, entry.where.rpartition(":")[2]).__module__)
    files = [Path(own.__file__ or ""), Path(own.__file__ or "").with_name("_base.py")]
    if own.__name__.startswith("bench.baselines.asmg"):
        parts = ("pyasmg/*.py", "pyasmg/weighting/*.py", "csrc/*.?pp")
        files += [file for pattern in parts for file in root.glob(pattern)]
    digest = hashlib.sha256(json.dumps(entry.options, sort_keys=True).encode())
    for file in sorted(files):
        digest.update(file.read_bytes())
    try:
        digest.update(version(entry.package or "numpy").encode())
    except PackageNotFoundError:
        digest.update(b"unknown")
    digest.update(str(getattr(import_module(suite), "RUNS_VERSION", 1)).encode())
    return digest.hexdigest()[:16]


def _keep(result: Run) -> None:
    path = runs_file(result.task.suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = asdict(result)
    del content["reused"]
    content["fingerprint"] = fingerprint(result.task.suite, result.task.optimizer)
    with path.open("a") as file:
        file.write(json.dumps(content) + "\n")


def _read_kept(tasks: Sequence[Task]) -> dict[str, Run]:
    kept: dict[str, Run] = {}
    for suite in dict.fromkeys(task.suite for task in tasks):
        path = runs_file(suite)
        if not path.exists():
            continue
        for line in path.read_text().splitlines():
            try:
                content = json.loads(line)
                mark = content.pop("fingerprint")
                options = tuple((name, value) for name, value in content["task"].pop("options"))
                task = Task(**content.pop("task"), options=options)
                result = Run(task, **content, reused=True)
            except (ValueError, KeyError, TypeError):  # a line cut short by a kill, or of another version
                continue
            if task.optimizer in OPTIMIZERS and mark == fingerprint(suite, task.optimizer):
                kept[task.key] = result
    return kept
