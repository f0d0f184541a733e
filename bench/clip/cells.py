"""Runs in parallel processes, each kept in a CSV file as soon as it is there, so that a table can be resumed."""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from pyasmg.clip import PromptTask

from .methods import METHODS
from .run import Outcome, Setting, run

MakeTask = Callable[[], PromptTask]


class Cell(NamedTuple):
    """One run of a table."""

    data: str  # name of the task
    method: str
    settings: str
    d: int
    stress: str
    seed: int
    popsize: int
    generations: int


_task: PromptTask | None = None


def compute(make_task: MakeTask, cells: Iterable[Cell], path: Path, jobs: int) -> dict[Cell, Outcome]:
    """Return all outcomes; those in the file are taken from there, the others are run and added to it."""
    wanted = list(dict.fromkeys(cells))
    known = read(path)
    missing = [cell for cell in wanted if cell not in known]
    if missing:
        print(f"{len(wanted) - len(missing)} of {len(wanted)} runs are in {path}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        for done, (cell, outcome) in enumerate(_run_all(make_task, missing, jobs), start=1):
            known[cell] = outcome
            append(path, cell, outcome)
            print(
                f"{done}/{len(missing)} {cell.method}, d = {cell.d}, {cell.stress}, seed {cell.seed}: "
                f"{sum(outcome.accuracies) / len(outcome.accuracies):.1f} / {min(outcome.accuracies):.1f} "
                f"in {outcome.seconds:.1f} s",
                flush=True,
            )
    return {cell: known[cell] for cell in wanted}


def _run_all(make_task: MakeTask, cells: list[Cell], jobs: int) -> Iterator[tuple[Cell, Outcome]]:
    if jobs == 1:
        _start(make_task)
        for cell in cells:
            yield cell, _run(cell)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(make_task,)) as pool:
        futures = {pool.submit(_run, cell): cell for cell in cells}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _start(make_task: MakeTask) -> None:
    global _task
    _task = make_task()


def _run(cell: Cell) -> Outcome:
    if _task is None:
        raise RuntimeError("the process has no task.")
    setting = Setting(cell.popsize, cell.generations)
    return run(_task, METHODS[cell.method], cell.d, cell.seed, cell.stress, setting)


_INTEGERS = frozenset({"d", "seed", "popsize", "generations"})
_OUTCOME = ("losses", "accuracies", "n_queries", "seconds")


def read(path: Path) -> dict[Cell, Outcome]:
    """Return the runs of a file; a last line that was cut off is passed over."""
    if not path.exists():
        return {}
    known = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if None in row.values() or None in row:
                continue
            cell = Cell(**{name: int(row[name]) if name in _INTEGERS else row[name] for name in Cell._fields})
            losses, accuracies = (tuple(map(float, row[name].split())) for name in ("losses", "accuracies"))
            known[cell] = Outcome(losses, accuracies, int(row["n_queries"]), float(row["seconds"]))
    return known


def append(path: Path, cell: Cell, outcome: Outcome) -> None:
    """Add a run to the file."""
    new = not path.exists()
    cut_off = not new and not path.read_bytes().endswith(b"\n")  # killed while writing
    with path.open("a", newline="") as file:
        if cut_off:
            file.write("\r\n")
        writer = csv.writer(file)
        if new:
            writer.writerow([*Cell._fields, *_OUTCOME])
        values = [" ".join(map(repr, outcome.losses)), " ".join(map(repr, outcome.accuracies))]
        writer.writerow([*cell, *values, outcome.n_queries, outcome.seconds])
