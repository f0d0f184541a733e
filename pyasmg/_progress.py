"""The progress bar of a run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ._run import Run

Show = Callable[["Run", npt.NDArray[np.float64]], None]


@contextlib.contextmanager
def progress_bar(wanted: bool | None, budget: int) -> Iterator[Show]:
    """Yield a function that is called once per generation; it draws only if ``wanted`` or on a terminal."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda run, F: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("generation {task.fields[generation]}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.completed}/{task.total} evaluations"),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=budget, generation=0, figures="")

        def show(run: Run, F: npt.NDArray[np.float64]) -> None:
            opt = run.opt
            progress.update(task, completed=opt.n_evaluations, generation=opt.n_iterations, figures=figures(run, F))

        yield show


def figures(run: Run, F: npt.NDArray[np.float64]) -> str:
    """Best weighted value of the generation, weights, largest std, failures, retries, cost: one short line."""
    opt = run.opt
    weights = opt.weights
    if weights is None:
        return ""
    best = np.nanmin(F @ weights)
    shown = " ".join(f"{weight:.2f}" for weight in weights[:6]) + (" ..." if weights.size > 6 else "")
    text = f"best {best:.4g}  weights [{shown}]  std {opt.stds.max():.2g}"
    if opt.n_failed:
        text += f"  failed {opt.n_failed}"
    if run.driver.source.counters.retries:
        text += f"  retried {run.driver.source.counters.retries}"
    if run.budget.cost:
        most = "" if run.budget.max_cost is None else f"/{run.budget.max_cost:.6g}"
        text += f"  cost {run.budget.cost:.4g}{most}"
    return text
