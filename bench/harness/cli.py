"""The options that every suite has, and the tables that every suite prints."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import common

from .figures import Figure, Panel, band
from .optimizers import OPTIMIZERS, settings_lines
from .runs import Run, grid


def parser(name: str, doc: str | None, optimizers: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser with the common options; a suite adds its own."""
    found = argparse.ArgumentParser(prog=f"python -m bench run {name}", description=(doc or "").splitlines()[0])
    add = found.add_argument
    add("--quick", action="store_true", help="a small version that ends within minutes")
    add("--seeds", type=int, help="runs per cell")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes (%(default)s)")
    add("--fresh", action="store_true", help="do not take finished runs from an earlier call")
    add("--output", type=Path, help="folder for CSV, PNG and finished runs (bench/results)")
    if optimizers:
        add("--optimizers", nargs="+", choices=list(OPTIMIZERS), default=list(optimizers), metavar="NAME")
    return found


def parse(command: argparse.ArgumentParser, arguments: Sequence[str] | None, **quick_full: Any) -> argparse.Namespace:
    """Parse; fill options that were not given from ``name=(quick, full)``; set the results folder."""
    options = command.parse_args(arguments)
    for name, (quick, full) in quick_full.items():
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    if options.output is not None:
        common.RESULTS = options.output
    return options


def select(runs: Sequence[Run], **fields: Any) -> list[Run]:
    """Return the runs whose task has these values."""
    return [r for r in runs if all(getattr(r.task, name) == value for name, value in fields.items())]


def median_evaluations(runs: Sequence[Run]) -> float | None:
    """Return the median of the evaluations to the target over the successful runs; None if there is none."""
    reached = [r.evaluations for r in runs if r.evaluations is not None]
    return float(np.median(reached)) if reached else None


def expected_evaluations(runs: Sequence[Run]) -> float | None:
    """Return COCO's expected running time: all evaluations of all runs over the number of successes."""
    reached = sum(r.evaluations is not None for r in runs)
    return sum(r.spent for r in runs) / reached if reached else None


def save_runs(runs: Sequence[Run], name: str) -> None:
    """Write every single run as CSV."""
    measures = list(dict.fromkeys(measure for r in runs for measure in r.measures))
    columns = ["problem", "d", "N", "optimizer", "seed", "budget", "evaluations to target", "spent", *measures, "end"]
    table = common.Table(name, [*columns, "seconds"])
    for r in runs:
        t = r.task
        size = "" if t.popsize is None else t.popsize
        reached = "" if r.evaluations is None else r.evaluations
        values = [r.measures.get(measure, "") for measure in measures]
        label = OPTIMIZERS[t.optimizer].label
        table.add(t.problem, t.d, size, label, t.seed, t.budget, reached, r.spent, *values, r.end, r.seconds)
    table.save()


def trace_figure(
    name: str, title: str, y: str, runs: Sequence[Run], panel: Callable[[Run], str], **options: Any
) -> Figure:
    """Return a figure of the first measure over the evaluations: median and quartiles over the seeds."""
    figure = Figure(name, title, "evaluations", y, **options)
    for label in dict.fromkeys(map(panel, runs)):
        inside = [r for r in runs if panel(r) == label]
        axes = Panel(label)
        for optimizer in dict.fromkeys(r.task.optimizer for r in inside):
            cell = select(inside, optimizer=optimizer)
            for budget in dict.fromkeys(r.task.budget for r in cell):
                traces = [r.trace for r in cell if r.task.budget == budget]
                axes.series.append(band(OPTIMIZERS[optimizer].label, grid(budget), traces))
        figure.panels.append(axes)
    return figure


def show_settings(optimizers: Sequence[str]) -> None:
    """Print one line per optimizer: its settings and where it comes from."""
    print("settings:")
    for line in settings_lines(optimizers):
        print(f"  {line}")
