"""The commands about stored runs: ``pyasmg show``, ``pyasmg export`` and ``pyasmg watch``."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ._cli_input import OptionError, number_option
from ._cli_output import complain

_CLOSED_PIPE = 128 + 13  # what a shell reports for a program that SIGPIPE has ended

_Store = Annotated[str, typer.Argument(metavar="RUN.db", help="The run store: the file given to --store.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command("show")(_show)
    app.command("export")(_export)
    app.command("watch")(_watch)


def _show(
    store: _Store,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document, for scripts.")] = False,
    generations: Annotated[int, number_option(int, "How many generations to list: the last ones.")] = 10,
) -> int:
    """Show a stored run, finished or not: settings, progress, weights, failures by reason, cost."""
    from .report import read_run

    if generations < 0:
        raise OptionError(f"--generations must be an integer >= 0; got {generations}.")

    def work() -> None:
        run = read_run(store, n_generations=generations)
        if as_json:
            lines = [f'"{key}": {json.dumps(value, allow_nan=False)}' for key, value in run.items()]
            _write("{\n" + ",\n".join(lines) + "\n}\n")
            return
        from ._cli_show import console, run_tables

        screen = console()
        with screen.capture() as tables:  # rich would deal with a closed pipe in its own way
            screen.print(run_tables(run))
        _write(tables.get())

    return _careful(work)


def _export(
    store: _Store,
    csv: Annotated[str, typer.Option("--csv", metavar="FILE", help="Where to write it; - is standard output.")],
    what: Annotated[str, typer.Option(help="evaluations or generations.")] = "evaluations",
) -> int:
    """Write the evaluations or the generations of a stored run as CSV."""
    from ._cli_export import OutputError, export_csv

    if what not in ("evaluations", "generations"):
        raise OptionError(f"--what must be evaluations or generations; got {what!r}.")

    def work() -> None:
        try:
            export_csv(Path(store), csv, what)
        except OutputError as error:
            if isinstance(error.__cause__, BrokenPipeError):
                raise error.__cause__ from None
            raise OSError(f"{csv!r} could not be written: {error}.") from None

    return _careful(work)


def _watch(
    store: _Store,
    interval: Annotated[float, number_option(float, "Seconds between two looks at it.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, whether it has ended or not.")] = False,
) -> int:
    """Follow a run that another process makes, to its end."""
    from ._cli_watch import watch

    if not (math.isfinite(interval) and interval > 0.0):
        raise OptionError(f"--interval must be a finite number > 0; got {interval:g}.")
    return _careful(lambda: watch(Path(store), interval, once=once))


def _write(text: str) -> None:
    """Print it all, or raise: with PYTHONUNBUFFERED, ``sys.stdout`` drops what a pipe does not take at once."""
    encoding = sys.stdout.encoding
    with open(sys.stdout.fileno(), "w", encoding=encoding, errors="backslashreplace", closefd=False) as file:
        file.write(text)


def _careful(work: Callable[[], None]) -> int:
    """Do it, and put what goes wrong into one line."""
    from ._store_lock import StoreError

    try:
        work()
        sys.stdout.flush()
    except KeyboardInterrupt:  # the usual way to leave `watch`: nothing to complain about
        return 130
    except BrokenPipeError:  # `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end
        return _CLOSED_PIPE
    except (StoreError, OSError) as error:
        complain(str(error))
        return 1
    return 0
