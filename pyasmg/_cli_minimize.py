"""The command ``pyasmg minimize``."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any

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
from ._store_lock import StoreError
from .asmg import ASMG
from .evaluation import Retry, Source
from .minimize import EvaluationError, minimize
from .result import Result

_Text = typer.Option
_FROM, _HTTP, _KEPT, _FAILED = "Where values come from", "HTTP", "Keeping the run", "Failures and budgets"


def minimize_command(
    objective: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:FUNCTION]",
            help="What to minimise, found in the current folder too: function(x) -> m numbers.",
        ),
    ] = None,
    *,
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
    command: Annotated[
        str | None,
        _Text(help="Instead of a function: a program that reads and writes lines of JSON.", rich_help_panel=_FROM),
    ] = None,
    url: Annotated[
        str | None,
        _Text(help="Instead of a function: an HTTP endpoint, plain JSON or KServe v2.", rich_help_panel=_FROM),
    ] = None,
    name: Annotated[
        str | None,
        _Text(
            help="What --command or --url goes by in a store, where that should not depend on the place.",
            rich_help_panel=_FROM,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        number_option(
            int, "Evaluate so many at a time: processes, children of --command, requests to --url.", panel=_FROM
        ),
    ] = None,
    dask: Annotated[
        str | None, _Text(metavar="ADDRESS", help="Evaluate on the Dask cluster there.", rich_help_panel=_FROM)
    ] = None,
    protocol: Annotated[str, _Text(help="auto, json or kserve.", rich_help_panel=_HTTP)] = "auto",
    model: Annotated[str | None, _Text(help="KServe: the model's name.", rich_help_panel=_HTTP)] = None,
    batch_size: Annotated[int | None, number_option(int, "Candidates per request at most.", panel=_HTTP)] = None,
    rate_limit: Annotated[float | None, number_option(float, "Requests per second.", panel=_HTTP)] = None,
    auth_env: Annotated[
        str | None,
        _Text(help="Environment variable that holds the key; it is never stored or shown.", rich_help_panel=_HTTP),
    ] = None,
    auth_header: Annotated[str, _Text(help="Header that the key is sent in.", rich_help_panel=_HTTP)] = "Authorization",
    auth_scheme: Annotated[str, _Text(help="Word before the key; empty for none.", rich_help_panel=_HTTP)] = "Bearer",
    store: Annotated[
        str | None,
        _Text(metavar="FILE", help="Keep the run in this SQLite file, and go on with it.", rich_help_panel=_KEPT),
    ] = None,
    resume: Annotated[
        str, _Text(help="auto, or never: refuse a store that holds a run already.", rich_help_panel=_KEPT)
    ] = "auto",
    log: Annotated[
        str | None, _Text(metavar="FILE", help="Append a line of JSON per generation.", rich_help_panel=_KEPT)
    ] = None,
    tensorboard: Annotated[
        str | None, _Text(metavar="FOLDER", help="Log for TensorBoard.", rich_help_panel=_KEPT)
    ] = None,
    timeout: Annotated[
        float | None, number_option(float, "Seconds for an evaluation or a request.", panel=_FAILED)
    ] = None,
    attempts: Annotated[
        int | None, number_option(int, "Ask so often for what fails; default 1, HTTP 5.", panel=_FAILED)
    ] = None,
    backoff: Annotated[
        float, number_option(float, "Seconds before the second attempt, doubled each time.", panel=_FAILED)
    ] = 0.5,
    straggler_timeout: Annotated[
        float | None, number_option(float, "Seconds to wait for the last of a generation.", panel=_FAILED)
    ] = None,
    min_success: Annotated[
        float, number_option(float, "Share of each generation that must not fail.", panel=_FAILED)
    ] = 0.5,
    max_seconds: Annotated[float | None, number_option(float, "Hard budget of time.", panel=_FAILED)] = None,
    max_cost: Annotated[float | None, number_option(float, "Hard budget of money.", panel=_FAILED)] = None,
    cost_per_evaluation: Annotated[
        float | None, number_option(float, "Price where the answer does not say.", panel=_FAILED)
    ] = None,
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
    """Minimise a Python function, a command or an HTTP endpoint, and write the result as JSON."""
    settings = {key: value for key, value in locals().items() if key not in ("progress", "output")}
    if (x0 is None) == (dimension is None):
        raise OptionError(f"give one of --x0 and --dimension; got {'neither' if x0 is None else 'both'}.")
    what = _one_of(objective=objective, command=command, url=url)
    for option, value in (("--dimension", dimension), ("--workers", workers)):
        if value is not None and value < 1:
            raise OptionError(f"{option} must be an integer >= 1; got {value}.")
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
        "store": store,
        "resume": resume,
        "retry": retry(attempts, backoff),
        "straggler_timeout": straggler_timeout,
        "min_success": min_success,
        "max_seconds": max_seconds,
        "max_cost": max_cost,
        "cost_per_evaluation": cost_per_evaluation,
    }
    path = output_path(output)
    callbacks = _logs(log, tensorboard)
    with signals() as received, contextlib.ExitStack() as stack:
        executor = None
        fun: Any
        if command is not None:
            fun = stack.enter_context(_command(command, workers, timeout, name))
        elif url is not None:
            http = {
                "name": name,
                "protocol": protocol,
                "model": model,
                "batch_size": batch_size,
                "rate_limit": rate_limit,
            }
            auth = {"auth_env": auth_env, "auth_header": auth_header, "auth_scheme": auth_scheme}
            fun = stack.enter_context(_http(url, workers, timeout, {**http, **auth}))
        else:
            fun, options["timeout"] = load_objective(what), timeout
            executor = options["executor"] = stack.enter_context(_dask(dask) if dask else _pool(workers))
            if executor is not None:
                fun = RemoteObjective(what)
        result, failure = _run(fun, options, callbacks)
        _ignore_signals()  # a second Ctrl-C must not cost the result
        written = write_result(path, result, settings)
        show_result(f"pyasmg minimize {what}", result, str(path) if written else "standard output")
        if "interrupted" in result.stop:
            status = 128 + (received[0] if received else signal.SIGINT)
            if workers is not None and executor is not None:
                _leave_workers(status)
            return status
    if failure:
        again = f"; to go on from it: --x0 @{path} --sigma0 @{path}" if written else ""
        complain(f"{failure} (the last good state was saved{again})")
    return 0 if written and not failure else 1


def _one_of(**given: str | None) -> str:
    chosen = [value for value in given.values() if value is not None]
    if len(chosen) != 1:
        words = " and ".join(name for name, value in given.items() if value is not None) or "none"
        raise OptionError(f"give one of MODULE:FUNCTION, --command and --url; got {words}.")
    return chosen[0]


def _run(fun: Any, options: dict[str, Any], callbacks: list[Callable[[ASMG], Any]]) -> tuple[Result, str]:
    """Return what was found, whatever ended the search, and in words what went wrong."""
    from .callbacks import combine

    last: list[ASMG] = []

    def remember(opt: ASMG) -> None:
        last[:] = [opt]

    try:
        result = minimize(fun, callback=combine(remember, *callbacks), **options)
    except EvaluationError as error:
        return error.result, str(error)
    except (KeyboardInterrupt, Exception) as error:  # not in the loop, which keeps its own result
        if not last:
            raise in_options(error) if isinstance(error, (ValueError, TypeError)) else error from error
        if isinstance(error, KeyboardInterrupt):
            stop, message, failure = {"interrupted": True}, "interrupted by the user", ""
        else:
            words = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
            stop, message, failure = {}, words, words
        return dataclasses.replace(last[0].result, stop=stop, message=message, success=False), failure
    return result, "" if result.success or "interrupted" in result.stop else result.message


def _logs(log: str | None, tensorboard: str | None) -> list[Callable[[ASMG], Any]]:
    from .callbacks import JsonLines, TensorBoard

    logs: list[Callable[[ASMG], Any]] = []
    try:
        if log is not None:
            logs.append(JsonLines(log))
        if tensorboard is not None:
            logs.append(TensorBoard(tensorboard))
    except (OSError, ValueError) as error:
        raise OptionError(f"--log and --tensorboard must be places that can be written: {error}") from None
    return logs


def retry(attempts: int | None, backoff: float) -> Retry:
    """Make the retry policy."""
    try:
        return Retry(attempts=attempts, backoff=backoff)
    except (ValueError, TypeError) as error:
        raise in_options(error) from None


def _command(command: str, workers: int | None, timeout: float | None, name: str | None) -> Source:
    from .evaluation import Command

    try:
        return Command(command, workers=workers or 1, timeout=timeout, name=name)
    except (ValueError, TypeError) as error:
        raise in_options(error) from None


def _http(url: str, workers: int | None, timeout: float | None, options: dict[str, Any]) -> Source:
    from .evaluation import HTTP

    limit: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    try:
        return HTTP(url, concurrency=workers or 4, **limit, **options)
    except (ValueError, TypeError) as error:
        raise in_options(error) from None


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Any]:
    """Yield a client of a running cluster."""
    try:
        from dask.distributed import Client
    except ImportError:
        raise OptionError('--dask needs Dask: pip install "pyasmg[dask]".') from None
    try:
        client = Client(
            address,  # type: ignore[no-untyped-call]
            timeout=10,
            set_as_default=False,
        )
    except (OSError, ValueError) as error:
        raise OptionError(f"--dask must be the address of a scheduler; {address!r}: {error}") from None
    with client:
        yield client


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
            pool.submit(_ignore_interrupt)
        signal.signal(signal.SIGINT, before)
        yield pool


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _start_worker() -> None:
    _ignore_interrupt()
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End this worker when the run was killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _leave_workers(status: int) -> None:
    """End the workers and this process at once: the pool would wait for the evaluations that are running."""
    for process in multiprocessing.active_children():
        process.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
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
