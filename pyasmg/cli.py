"""The command line: ``pyasmg minimize`` and ``pyasmg demo``.

Exit status: 0 done, 1 the run failed, 2 an option makes no sense, 128 + n stopped by signal n (130 for Ctrl-C). What was
found is written in each case but 2, and before the run starts it is made sure that it can be.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import json
import multiprocessing
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from ._version import __version__
from .asmg import ASMG
from .minimize import EvaluationError, minimize
from .result import Result

# Newer releases of typer carry their own click: BadParameter is what all have in common.
_ParserError = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")
_OPTIONS = {
    "n_threads": "--threads",
    "n_seeds": "--seeds",
    "bounds.low": "--bounds-low",
    "bounds.high": "--bounds-high",
}
_DEFAULT_OUTPUT = "pyasmg-result.json"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


class OptionError(Exception):
    """An option that makes no sense; the message is one line that names it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    try:
        status = app(
            None if arguments is None else list(arguments), prog_name="pyasmg", standalone_mode=False
        )
        return status if isinstance(status, int) else 0
    except OptionError as error:
        return _complain(str(error), 2)
    except _ParserError as error:
        return _complain(getattr(error, "format_message", error.__str__)(), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", 130)


def _complain(message: str, status: int) -> int:
    print("pyasmg: error: " + " ".join(message.split()), file=sys.stderr)
    return status


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> int:
    """Black-box multi-objective optimization by stochastic multi-objective gradients."""
    if version:
        print(f"pyasmg {__version__}")
        raise typer.Exit(0)
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)
    return 0


# ---------------------------------------------------------------- pyasmg minimize


@app.command("minimize")
def _minimize(
    objective: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION",
            help="What to minimise; also found in the current folder. function(x) -> m numbers.",
        ),
    ],
    max_evaluations: Annotated[int, typer.Option(help="Hard budget of evaluations.")],
    sigma0: Annotated[
        str, typer.Option(help="Start of the standard deviations: a number, numbers or @FILE.")
    ],
    x0: Annotated[
        str | None,
        typer.Option(
            help="Start: numbers with commas, or @FILE (.json, .npy, .csv; a result of this command works)."
        ),
    ] = None,
    dimension: Annotated[
        int | None, typer.Option(help="Instead of --x0: that many times --x0-value.")
    ] = None,
    x0_value: Annotated[
        float, typer.Option("--x0-value", help="Start of every parameter, with --dimension.")
    ] = 0.0,
    popsize: Annotated[
        int | None, typer.Option(help="Candidates per generation; default 4 + 3 ln d.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same search.")] = None,
    bounds_low: Annotated[str | None, typer.Option(help="Lower bounds: a number, numbers or @FILE.")] = None,
    bounds_high: Annotated[str | None, typer.Option(help="Upper bounds: a number, numbers or @FILE.")] = None,
    vectorized: Annotated[
        bool, typer.Option("--vectorized", help="The function takes whole populations: (k, d) -> (k, m).")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Evaluate in that many processes.")] = None,
    weighting: Annotated[
        str, typer.Option(help="pareto, equal, level, chebyshev, or m weights with commas.")
    ] = "pareto",
    step_size: Annotated[str, typer.Option(help="Step of the mean: auto or a number.")] = "auto",
    std_step_size: Annotated[
        str, typer.Option(help="Step of the standard deviations: auto or a number.")
    ] = "auto",
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    memory: Annotated[
        str, typer.Option(help="store, or regenerate: the population is never stored (large d).")
    ] = "store",
    threads: Annotated[int, typer.Option(help="Threads of the core; the result does not depend on it.")] = 1,
    max_iterations: Annotated[int | None, typer.Option(help="Stop after that many generations.")] = None,
    tolx: Annotated[float | None, typer.Option(help="Stop when every standard deviation is below.")] = None,
    tolfun: Annotated[str, typer.Option(help="Stop when the values vary by less: one number or m.")] = "0",
    target: Annotated[
        str | None, typer.Option(help="Stop when the median is at or below: one number or m.")
    ] = None,
    tolstationarity: Annotated[
        float | None, typer.Option(help="Stop when stationarity is at or below.")
    ] = None,
    progress: Annotated[
        bool | None, typer.Option("--progress/--no-progress", help="Progress bar; default: on a terminal.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help=f"Result as JSON; default {_DEFAULT_OUTPUT} or the next free -2, -3."
        ),
    ] = None,
) -> int:
    """Minimise a Python function, and write the result as JSON."""
    settings = {key: value for key, value in locals().items() if key not in ("progress", "output")}
    if (x0 is None) == (dimension is None):
        raise OptionError(f"give either --x0 or --dimension; got {'neither' if x0 is None else 'both'}.")
    if dimension is not None and dimension < 1:
        raise OptionError(f"--dimension must be an integer >= 1; got {dimension}.")
    if workers is not None and workers < 1:
        raise OptionError(f"--workers must be an integer >= 1; got {workers}.")
    start = np.full(dimension or 0, x0_value) if x0 is None else np.atleast_1d(_numbers("--x0", x0, "x"))
    options: dict[str, Any] = {
        "x0": start,
        "sigma0": _numbers("--sigma0", sigma0, "stds"),
        "max_evaluations": max_evaluations,
        "popsize": popsize,
        "bounds": None,
        "seed": seed,
        "vectorized": vectorized,
        "progress": progress,
        "weighting": _numbers("--weighting", weighting, "weights")
        if weighting[:1] in "+-.@0123456789"
        else weighting,
        "step_size": _step("--step-size", step_size),
        "std_step_size": _step("--std-step-size", std_step_size),
        "dtype": dtype,
        "memory": memory,
        "n_threads": threads,
        "max_iterations": max_iterations,
        "tolx": tolx,
        "tolfun": _numbers("--tolfun", tolfun),
        "target": None if target is None else _numbers("--target", target),
        "tolstationarity": tolstationarity,
    }
    if bounds_low is not None or bounds_high is not None:
        options["bounds"] = (
            None if bounds_low is None else _numbers("--bounds-low", bounds_low),
            None if bounds_high is None else _numbers("--bounds-high", bounds_high),
        )
    return _run(objective, options, workers, settings, _output_path(output))


def _run(
    objective: str, options: dict[str, Any], workers: int | None, settings: dict[str, Any], path: Path
) -> int:
    """Run the search; whatever ends it, write what was found."""
    fun: Callable[[Any], Any] = load_objective(objective)
    last: list[ASMG] = []

    def remember(opt: ASMG) -> None:
        last[:] = [opt]

    failure = ""
    with _terminate_as_interrupt() as received, _pool(workers) as executor:
        try:
            result = minimize(
                fun if executor is None else _Remote(objective),
                **options,
                executor=executor,
                callback=remember,
            )
            failure = "" if result.success or "interrupted" in result.stop else result.message
        except EvaluationError as error:
            result, failure = error.result, str(error).partition(" (the search before")[0]
        except (KeyboardInterrupt, Exception) as error:
            if not last:
                if isinstance(error, (ValueError, TypeError)):
                    raise _in_options(error) from error
                raise
            interrupted = isinstance(error, KeyboardInterrupt)
            failure = "" if interrupted else f"{type(error).__name__}: {error}"
            stop = {"interrupted": True} if interrupted else {}
            message = failure or "interrupted by the user"
            result = dataclasses.replace(last[0].result, stop=stop, message=message, success=False)
        interrupted = "interrupted" in result.stop
        if interrupted:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not cost the result
            for process in multiprocessing.active_children():
                process.terminate()
    written = _write(path, {**_versions(), "settings": settings, **dataclasses.asdict(result)})
    _show(objective, result, str(path) if written else "standard output")
    if failure:
        again = f"; go on from it with --x0 @{path} --sigma0 @{path}" if written else ""
        return _complain(f"{failure} The last good state was saved{again}.", 1)
    if interrupted:
        return 128 + (received[0] if received else signal.SIGINT)
    return 0 if written else 1


@functools.lru_cache(maxsize=1)
def load_objective(target: str) -> Callable[[Any], Any]:
    """Import ``module:function``, from the current folder as well."""
    module_name, colon, name = target.partition(":")
    if not (colon and module_name and name):
        raise OptionError(
            f"MODULE:FUNCTION must be a module and a function with a colon between; got {target!r}."
        )
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise OptionError(
            f"MODULE:FUNCTION must name a module that can be imported; importing {module_name!r} raised "
            f"{type(error).__name__}: {error}."
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise OptionError(f"MODULE:FUNCTION must name a function of {module_name!r}; it has no {name!r}.")
        found = getattr(found, part)
    if not callable(found):
        raise OptionError(
            f"MODULE:FUNCTION must name a function; {target!r} is of type {type(found).__name__}."
        )
    function: Callable[[Any], Any] = found
    return function


class _Remote:
    """The objective by its name: each worker imports it, so that it need not be picklable."""

    def __init__(self, target: str) -> None:
        self.target = target

    def __call__(self, x: Any) -> Any:
        return load_objective(self.target)(x)


@contextlib.contextmanager
def _pool(workers: int | None) -> Iterator[concurrent.futures.Executor | None]:
    """Yield fresh worker processes (no fork: the progress bar has a thread), or None."""
    if workers is None:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker
    ) as pool:
        yield pool


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches workers too: end without a traceback


@contextlib.contextmanager
def _terminate_as_interrupt() -> Iterator[list[int]]:
    """Let SIGTERM end the run as Ctrl-C does; the list says whether it came."""
    received: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------- options


def _in_options(error: Exception) -> OptionError:
    """Put a message about an argument into the words of the command line."""

    def option(match: re.Match[str]) -> str:
        return _OPTIONS.get(match[1], "--" + match[1].replace("_", "-"))

    return OptionError(re.sub(r"`([a-z][\w.]*)`", option, str(error)))


def _numbers(option: str, text: str, key: str | None = None) -> float | list[float] | npt.NDArray[Any]:
    """Parse ``1``, ``1,2,3`` or ``@FILE``; in a JSON object the numbers stand under ``key``."""
    if text.startswith("@"):
        return _numbers_of_file(option, Path(text[1:]), key)
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        short = text if len(text) <= 60 else text[:57] + "..."
        raise OptionError(
            f"{option} must be a number, numbers with commas or @FILE; got {short!r}."
        ) from None
    return values if "," in text else values[0]


def _numbers_of_file(option: str, path: Path, key: str | None) -> npt.NDArray[Any]:
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".csv":
            return np.array([float(part) for part in re.split(r"[,;\s]+", text.strip())])
        if path.suffix == ".json":
            content = json.loads(text)
            return np.array(content[key] if isinstance(content, dict) else content, dtype=np.float64)
    except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise OptionError(
            f"{option} must name a file of numbers; reading {str(path)!r} raised {reason}."
        ) from None
    raise OptionError(f"{option} must name a .json, .npy or .csv file; got {str(path)!r}.")


def _step(option: str, text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{option} must be auto or a number; got {text!r}.") from None


def _output_path(output: str | None) -> Path:
    """Return where the result goes: checked now, because after a long run it would be too late."""
    if output is None:
        path, number = Path(_DEFAULT_OUTPUT), 1
        while path.exists():
            number += 1
            path = Path(_DEFAULT_OUTPUT).with_stem(f"{Path(_DEFAULT_OUTPUT).stem}-{number}")
    else:
        path = Path(output)
    if path.is_dir() or not path.name or not path.parent.is_dir():
        raise OptionError(f"--output must be a file in a folder that exists; got {str(path)!r}.")
    if not os.access(path.parent, os.W_OK):
        raise OptionError(f"--output must be in a folder that can be written to; got {str(path)!r}.")
    return path


# ---------------------------------------------------------------- what comes out


def _versions() -> dict[str, Any]:
    versions = {"pyasmg": __version__, "numpy": np.__version__, "python": platform.python_version()}
    return {"format": "pyasmg.Result", "version": 1, "versions": versions}


def _plain(value: Any) -> Any:
    """Turn arrays and tuples into lists; a number that JSON does not have becomes null."""
    if isinstance(value, np.ndarray):
        return (
            _plain(value.tolist())
            if value.dtype.kind == "f" and not np.isfinite(value).all()
            else value.tolist()
        )
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _write(path: Path, content: dict[str, Any]) -> bool:
    """Write one key per line, whole or not at all; where the file fails, print it rather than lose it."""
    lines = [
        f"{json.dumps(key)}: {json.dumps(_plain(value), allow_nan=False)}" for key, value in content.items()
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        _complain(f"{str(path)!r} could not be written ({error}); the result is on standard output.", 1)
        print(text)
        return False
    return True


def _show(objective: str, result: Result, written: str) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"pyasmg minimize {objective}", title_justify="left", box=SIMPLE, show_header=False)
    rows = {
        "x": _short(result.x),
        "fun": "not evaluated" if result.fun is None else _short(result.fun),
        "weights": _short(result.weights),
        "evaluations": f"{result.n_evaluations:,} in {result.n_iterations:,} generations",
        "failed": f"{result.n_failed:,}"
        + (f", last: {result.failures[-1].reason}" if result.failures else ""),
        "stopped": result.message,
        "seed": str(result.seed),
        "written": written,
    }
    for name, text in rows.items():
        table.add_row(name, Text(text))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _short(values: npt.NDArray[Any]) -> str:
    shown = [f"{value:.6g}" for value in values]
    if len(shown) <= 8:
        return " ".join(shown)
    return " ".join([*shown[:4], "...", *shown[-2:]]) + f"  (d = {len(shown):,})"


# ---------------------------------------------------------------- pyasmg demo


@app.command("demo")
def _demo(
    seeds: Annotated[int, typer.Option(help="Paired seeds, one run of each method for each.")] = 3,
    max_evaluations: Annotated[int, typer.Option(help="Queries per run.")] = 12_000,
    popsize: Annotated[int, typer.Option(help="Candidates per generation, for every method.")] = 24,
    sigma0: Annotated[float, typer.Option(help="Initial standard deviation, for every method.")] = 0.05,
    seed: Annotated[int, typer.Option(help="The first seed.")] = 0,
    output_dir: Annotated[Path, typer.Option(help="Where pyasmg-demo.png and pyasmg-demo.json go.")] = Path(),
) -> int:
    """Tune one classifier for four image domains by queries only, beside CMA-ES; a table, a picture and JSON."""
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
        raise _in_options(error) from error
    except ImportError as error:
        return _complain(str(error), 1)
    return 0
