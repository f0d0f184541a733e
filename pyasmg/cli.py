"""The command line: ``pyasmg minimize`` and ``pyasmg demo``.

Exit status: 0 done, 1 the run failed, 2 an option makes no sense, 128 + n stopped by signal n (130 for
Ctrl-C). What was found is written in each case but 2; that it can be is checked before the run starts.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from ._cli_input import (
    DEFAULT_OUTPUT,
    OptionError,
    RemoteObjective,
    in_options,
    load_objective,
    number_option,
    numbers,
    output_path,
    step,
)
from ._cli_input import weighting as parse_weighting
from ._cli_output import complain, show_result, write_result
from ._version import __version__
from .asmg import ASMG
from .minimize import EvaluationError, minimize
from .result import Result

# The parser's own errors. Newer releases of typer carry their own click; BadParameter is common to all.
_ParserError = cast(
    type[Exception], next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")
)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    try:
        status = app(None if arguments is None else [*arguments], prog_name="pyasmg", standalone_mode=False)
    except OptionError as error:
        complain(str(error))
        return 2
    except _ParserError as error:
        message = str(cast(Any, error).format_message())
        complain(re.sub(r"^Invalid value for '([^']+)': must", r"\1 must", message))
        return 2
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted")
        return 130
    except MemoryError as error:
        complain(f"not enough memory: {error}")
        return 1
    return status if isinstance(status, int) else 0


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Black-box multi-objective optimization by stochastic multi-objective gradients."""
    if version:
        print(f"pyasmg {__version__}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


_Text = typer.Option


@app.command("minimize")
def _minimize(
    objective: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION",
            help="What to minimise, found in the current folder too: function(x) -> m numbers.",
        ),
    ],
    max_evaluations: Annotated[int, number_option(int, "Hard budget of evaluations.")],
    sigma0: Annotated[str, _Text(help="Start of the standard deviations: a number, numbers or @FILE.")],
    x0: Annotated[
        str | None,
        _Text(help="Start: 1,2,3 or @FILE (.json, .npy, .csv; a result of this command as well)."),
    ] = None,
    dimension: Annotated[int | None, number_option(int, "Instead of --x0: so many times --x0-value.")] = None,
    x0_value: Annotated[float, number_option(float, "With --dimension: start of each parameter.", "--x0-value")] = 0.0,
    popsize: Annotated[int | None, number_option(int, "Candidates per generation; default 4 + 3 ln d.")] = None,
    seed: Annotated[int | None, number_option(int, "Same seed, same search.")] = None,
    bounds_low: Annotated[str | None, _Text(help="Lower bounds: a number, numbers or @FILE.")] = None,
    bounds_high: Annotated[str | None, _Text(help="Upper bounds: a number, numbers or @FILE.")] = None,
    vectorized: Annotated[
        bool, _Text("--vectorized", help="The function takes whole populations: (k, d) -> (k, m).")
    ] = False,
    workers: Annotated[int | None, number_option(int, "Evaluate in so many processes.")] = None,
    weighting: Annotated[str, _Text(help="pareto, equal, level, chebyshev, or weights: 1,2,1.")] = "pareto",
    step_size: Annotated[str, _Text(help="Step of the mean: auto or a number.")] = "auto",
    std_step_size: Annotated[str, _Text(help="Step of the standard deviations: auto or a number.")] = "auto",
    dtype: Annotated[str, _Text(help="float64 or float32.")] = "float64",
    memory: Annotated[str, _Text(help="store, or regenerate: never store the population.")] = "store",
    threads: Annotated[int, number_option(int, "Threads of the core; the result is the same.")] = 1,
    max_iterations: Annotated[int | None, number_option(int, "Stop after so many generations.")] = None,
    tolx: Annotated[float | None, number_option(float, "Stop when no standard deviation is larger.")] = None,
    tolfun: Annotated[str, _Text(help="Stop when the values vary by no more: 1 or m numbers.")] = "0",
    target: Annotated[str | None, _Text(help="Stop when the medians are at or below: 1 or m numbers.")] = None,
    tolstationarity: Annotated[float | None, number_option(float, "Stop when the stationarity is no larger.")] = None,
    progress: Annotated[
        bool | None, _Text("--progress/--no-progress", help="Progress bar; default: on a terminal.")
    ] = None,
    output: Annotated[
        str | None,
        _Text(metavar="FILE", help=f"Result as JSON; default {DEFAULT_OUTPUT}, or -2, -3 where it exists."),
    ] = None,
) -> int:
    """Minimise a Python function, and write the result as JSON."""
    settings = {key: value for key, value in locals().items() if key not in ("progress", "output")}
    if (x0 is None) == (dimension is None):
        raise OptionError(f"give one of --x0 and --dimension; got {'neither' if x0 is None else 'both'}.")
    for name, value in (("--dimension", dimension), ("--workers", workers)):
        if value is not None and value < 1:
            raise OptionError(f"{name} must be an integer >= 1; got {value}.")
    bounds = None
    if bounds_low is not None or bounds_high is not None:
        bounds = (
            None if bounds_low is None else numbers("--bounds-low", bounds_low),
            None if bounds_high is None else numbers("--bounds-high", bounds_high),
        )
    start = np.full(dimension or 0, x0_value) if x0 is None else np.atleast_1d(numbers("--x0", x0, "x"))
    options = {
        "x0": start,
        "sigma0": numbers("--sigma0", sigma0, "stds"),
        "max_evaluations": max_evaluations,
        "popsize": popsize,
        "bounds": bounds,
        "seed": seed,
        "vectorized": vectorized,
        "progress": progress,
        "weighting": parse_weighting(weighting),
        "step_size": step("--step-size", step_size),
        "std_step_size": step("--std-step-size", std_step_size),
        "dtype": dtype,
        "memory": memory,
        "n_threads": threads,
        "max_iterations": max_iterations,
        "tolx": tolx,
        "tolfun": numbers("--tolfun", tolfun),
        "target": None if target is None else numbers("--target", target),
        "tolstationarity": tolstationarity,
    }
    path = output_path(output)
    fun = load_objective(objective)
    with _signals() as received, _pool(workers) as executor:
        if executor is not None:
            fun, options["executor"] = RemoteObjective(objective), executor
        result, failure = _run(fun, options)
        _ignore_signals()  # a second Ctrl-C must not cost the result
        written = write_result(path, result, settings)
        show_result(f"pyasmg minimize {objective}", result, str(path) if written else "standard output")
        if "interrupted" in result.stop:
            status = 128 + (received[0] if received else signal.SIGINT)
            if executor is not None:
                _leave_workers(status)
            return status
    if failure:
        again = f"; to go on from it: --x0 @{path} --sigma0 @{path}" if written else ""
        complain(f"{failure} (the last good state was saved{again})")
    return 0 if written and not failure else 1


def _run(fun: Callable[[Any], Any], options: dict[str, Any]) -> tuple[Result, str]:
    """Return what was found, whatever ended the search, and in words what went wrong."""
    last: list[ASMG] = []

    def remember(opt: ASMG) -> None:
        last[:] = [opt]

    try:
        result = minimize(fun, callback=remember, **options)
    except EvaluationError as error:
        return error.result, str(error)
    except (KeyboardInterrupt, Exception) as error:  # not in the loop, which keeps its own result
        if not last:
            raise in_options(error) if isinstance(error, (ValueError, TypeError)) else error from error
        if isinstance(error, KeyboardInterrupt):
            stop, message, failure = {"interrupted": True}, "interrupted by the user", ""
        else:
            stop, message = {}, f"{type(error).__name__}: {error}"
            failure = message
        return dataclasses.replace(last[0].result, stop=stop, message=message, success=False), failure
    return result, "" if result.success or "interrupted" in result.stop else result.message


@contextlib.contextmanager
def _pool(workers: int | None) -> Iterator[concurrent.futures.Executor | None]:
    """Yield fresh worker processes (no fork: the progress bar has a thread), or None."""
    if workers is None:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        # A terminal's Ctrl-C reaches the workers too, but it is this process that ends them. They are started now and
        # inherit that it is ignored; a worker that is started later ignores it from its first task on.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for _ in range(workers):
            pool.submit(_start_worker)
        signal.signal(signal.SIGINT, before)
        yield pool


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _leave_workers(status: int) -> None:
    """End the workers and this process at once: the pool would wait for the evaluations that are running."""
    for process in multiprocessing.active_children():
        process.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Let SIGTERM end the run as Ctrl-C does; the list says whether it came."""
    received: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@app.command("demo")
def _demo(
    seeds: Annotated[int, number_option(int, "Paired seeds, one run of each method for each.")] = 3,
    max_evaluations: Annotated[int, number_option(int, "Queries per run.")] = 12_000,
    popsize: Annotated[int, number_option(int, "Candidates per generation, for every method.")] = 24,
    sigma0: Annotated[float, number_option(float, "Initial standard deviation, for every method.")] = 0.05,
    seed: Annotated[int, number_option(int, "The first seed.")] = 0,
    output_dir: Annotated[Path, _Text(help="Where pyasmg-demo.png and pyasmg-demo.json go.")] = Path(),
) -> int:
    """Tune one classifier for four image domains by queries only, beside CMA-ES."""
    if not output_dir.is_dir():
        raise OptionError(f"--output-dir must be a folder that exists; got {str(output_dir)!r}.")
    from .demo import run_demo

    try:
        run_demo(
            n_seeds=seeds,
            max_evaluations=max_evaluations,
            popsize=popsize,
            sigma0=sigma0,
            seed=seed,
            png_path=output_dir / "pyasmg-demo.png",
            json_path=output_dir / "pyasmg-demo.json",
        )
    except (ValueError, TypeError) as error:
        raise in_options(error) from error
    except ImportError as error:
        complain(str(error))
        return 1
    return 0
