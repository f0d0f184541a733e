"""The command line that all benchmarks on data sets have."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence

import numpy as np
import torch

from bench.common import Table
from bench.mtl.data.layout import LayoutError

from . import methods
from .baselines import REPORTED, Baselines, read_baselines
from .benchmark import Benchmark
from .run import Row, Run

DELTAS = ("delta_m", "delta_p", "variance")
WIDE = 12


def parser(benchmark: Benchmark, run_type: type[Run] = Run) -> argparse.ArgumentParser:
    """Return the options; the defaults are the papers' settings."""
    doc = inspect.getdoc(type(benchmark)) or ""
    found = argparse.ArgumentParser(
        prog=f"python -m {benchmark.command}",
        description=f"{benchmark.title}: {doc}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, settings = found.add_argument, benchmark.settings
    add("--root", required=True, help="the data folder; nothing is downloaded")
    add("--check", action="store_true", help="only say what the folder lacks")
    add("--method", default=run_type.default, choices=run_type.choices())
    add("--option", action="append", default=[], metavar="NAME=VALUE", help="of the method, such as alpha=2; JSON")
    add("--features", action="store_true", help="gradients on the representation, one pass through the trunk")
    add("--pi", action="store_true", help="performance-informed weights; always with PIVRG")
    add("--pi-bounds", type=float, nargs=2, default=[0.5, 2.0], metavar=("LOW", "HIGH"))
    add("--baselines", nargs="+", metavar="CSV", help="tables of --method STL, in place of the papers' figures")
    add("--task", help=f"with --method {methods.SINGLE_TASK}: the one task that is trained")
    add("--seeds", type=int, nargs="+", default=[0])
    add("--epochs", type=int, default=settings.epochs, help="default: %(default)s")
    add("--batch-size", type=int, default=settings.batch_size, help="default: %(default)s")
    add("--learning-rate", type=float, default=settings.learning_rate, help="default: %(default)s")
    add("--method-learning-rate", type=float, help="of the method's own parameters, if it has any; as the network's")
    add("--weight-decay", type=float, default=settings.weight_decay, help="default: %(default)s")
    add("--device", default="cpu")
    add("--workers", type=int, default=0, help="processes that read data")
    add("--threads", type=int, help="of PyTorch")
    add("--checkpoint", metavar="FILE", help="written after each epoch, and resumed from; {seed} stands for the seed")
    add("--stop-after", type=int, metavar="EPOCHS", help="leave the rest to the next call with the same checkpoint")
    benchmark.add_arguments(found)
    return found


def main(benchmark: Benchmark, arguments: Sequence[str] | None = None, *, run_type: type[Run] = Run) -> int:
    """Run a benchmark, print and write its table; return the exit status."""
    command = parser(benchmark, run_type)
    options = command.parse_args(arguments)
    _validate(command, benchmark, options, run_type)
    findings = benchmark.check(options)
    if options.check or findings.problems:
        print(findings.text(), file=sys.stdout if options.check else sys.stderr)
        return 1 if findings.problems else 0
    for note in findings.notes:
        print(f"note: {note}")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    try:
        baselines = Baselines(
            benchmark, read_baselines(options.baselines) if options.baselines else benchmark.single_task
        )
        if options.pi and baselines.values is None:
            command.error(_no_baselines(options.method, baselines))
        parts = benchmark.load(options)
    except LayoutError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        command.error(str(error))
    rows, reported = [], []
    for seed in options.seeds:
        try:
            run = run_type(benchmark, parts, baselines, options, seed)
            resumed = run.resume()
        except (OSError, ValueError, TypeError) as error:
            command.error(str(error))
        if resumed:
            print(f"seed {seed}: resumed after {run.epoch} epochs")
        until = options.epochs if options.stop_after is None else min(options.epochs, run.epoch + options.stop_after)
        run.epochs(until)
        rows += run.rows
        if run.epoch >= options.epochs:
            reported.append(run.reported())
    if len(reported) > 1:
        reported.append(_mean(benchmark, baselines, reported))
    _write(benchmark, options, rows + reported)
    return 0


def _validate(
    command: argparse.ArgumentParser, benchmark: Benchmark, options: argparse.Namespace, run_type: type[Run] = Run
) -> None:
    single = options.method == methods.SINGLE_TASK
    if single != (options.task is not None):
        command.error(f"--task belongs to --method {methods.SINGLE_TASK}, which needs it.")
    if single and options.task not in benchmark.tasks:
        command.error(f"--task must be one of {', '.join(benchmark.tasks)}; got {options.task!r}.")
    for name in ("epochs", "batch_size", "threads", "stop_after"):
        value = getattr(options, name)
        if value is not None and value < 1:
            command.error(f"--{name.replace('_', '-')} must be at least 1; got {value}.")
    if options.checkpoint and len(options.seeds) > 1 and "{seed}" not in options.checkpoint:
        command.error("--checkpoint must contain {seed} where there are several seeds.")
    if options.method_learning_rate is None:
        options.method_learning_rate = options.learning_rate
    if single:
        options.pi = False
        return
    options.pi = options.pi or options.method == "PIVRG"
    try:
        run_type.check_method(benchmark, options)
    except (ValueError, TypeError) as error:
        command.error(str(error))


def _no_baselines(method: str, baselines: Baselines) -> str:
    missing = ", ".join(baselines.missing[:4]) + (" .." if len(baselines.missing) > 4 else "")
    return (
        f"{method} needs single-task baselines for its weights, and there are none for {missing}: "
        "train each task with --method STL --task NAME and give the tables with --baselines."
    )


def _mean(benchmark: Benchmark, baselines: Baselines, rows: list[Row]) -> Row:
    names = [metric.name for metric in benchmark.metrics if metric.name in rows[0]]
    found = {name: float(np.mean([row[name] for row in rows])) for name in names}
    return {"seed": "mean", "epoch": REPORTED, "part": "test", **found, **baselines.deltas(found)}


def _write(benchmark: Benchmark, options: argparse.Namespace, rows: list[Row]) -> None:
    """Write all rows; print those that are reported, or the last, and at most so many metrics."""
    pi = "PI-" if options.pi and options.method != "PIVRG" else ""
    name = "_".join(
        filter(None, ["mtl", benchmark.name, f"{pi}{options.method}", (options.task or "").replace(" ", "-")])
    )
    metrics = [metric.name for metric in benchmark.metrics]
    first = ["seed", "epoch", "part"]
    losses = [f"loss {task}" for task in benchmark.tasks]
    known = [*first, *losses, *metrics, *DELTAS]
    others = [column for column in dict.fromkeys(key for row in rows for key in row) if column not in known]
    table = Table(name, [*first, *losses, *others, *metrics, *DELTAS], title=benchmark.title)
    for row in rows:
        table.add(*(row.get(column, "") for column in table.columns))
    kinds = [] if len(metrics) <= WIDE else list(dict.fromkeys(metric.split()[0] for metric in metrics))
    means = [f"mean {kind}" for kind in kinds]
    shown = Table(name, [*first, *(means or metrics), *DELTAS], title=table.title)
    for row in [row for row in rows if row["epoch"] == REPORTED] or rows[-1:]:
        values = [[row[metric] for metric in metrics if metric in row and metric.split()[0] == kind] for kind in kinds]
        filled = row | {mean: float(np.mean(found)) for mean, found in zip(means, values, strict=True) if found}
        shown.add(*(filled.get(column, "") for column in shown.columns))
    shown.show()
    print(f"written: {table.save()}")
