"""A stored run as CSV."""

from __future__ import annotations

import contextlib
import csv
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from ._cli_input import OptionError
from ._store_read import RunReader
from .report import reading


class OutputError(Exception):
    """The table could not be written; the message says why."""


def export_csv(path: Path, target: str, what: str) -> None:
    """Write one table of a run: the whole file or none; ``-`` is standard output."""
    _check_target(path, target)
    rows = {"evaluations": _evaluations, "generations": _generations}[what]
    with reading(path), RunReader(path) as reader, _output(target) as file:
        writer = csv.writer(file, lineterminator="\n")
        table = rows(reader)
        while True:
            row = next(table, None)
            if row is None:
                return
            try:
                writer.writerow(row)
            except OSError as error:
                raise OutputError(str(error)) from error


def _check_target(path: Path, target: str) -> None:
    if target == "-":
        return
    file = Path(target)
    if not file.name or file.is_dir() or not file.parent.is_dir():
        raise OptionError(f"--csv must be a file in a folder that exists, or -; got {target!r}.")
    stores = [path.resolve().with_name(path.resolve().name + suffix) for suffix in ("", "-wal", "-shm", "-lock")]
    if file.resolve() in stores or (file.exists() and path.exists() and file.samefile(path)):
        raise OptionError(f"--csv must be another file than the run store; got {target!r}.")


@contextlib.contextmanager
def _output(target: str) -> Iterator[TextIO]:
    """Yield the file to write to; every failure of it becomes an OutputError."""
    path = Path(target)
    special = target == "-" or (path.exists() and not path.is_file())  # a device or a pipe is written to as it is
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _opened(target, unfinished, special) as file:
            yield file
            file.flush()
            if not special:
                os.fsync(file.fileno())
        if not special:
            unfinished.replace(path)
    except OSError as error:
        raise OutputError(str(error)) from error
    finally:
        if not special:
            with contextlib.suppress(OSError):
                unfinished.unlink()


def _opened(target: str, unfinished: Path, special: bool) -> TextIO:
    where: Any = (sys.stdout.fileno() if target == "-" else target) if special else unfinished
    return open(where, "w", encoding="utf-8", newline="", closefd=target != "-")


def _evaluations(reader: RunReader) -> Iterator[list[Any]]:
    # Prompt tuning evaluates some means on other images, with accuracies behind the losses.
    n_values = max((len(row["f"]) for row in reader.evaluations() if row["f"] is not None), default=0)
    names = [f"f{i + 1}" for i in range(n_values)]
    yield ["generation", "candidate", "status", *names, "seconds", "attempts", "cost", "error"]
    for row in reader.evaluations():
        values = _padded(row["f"] or [], n_values)
        fields = row["generation"], row["candidate"], row["status"]
        yield [*fields, *values, row["seconds"], row["attempts"], row["cost"], row["error"]]


def _generations(reader: RunReader) -> Iterator[list[Any]]:
    rows = reader.generations()
    m = rows[0]["mean"].size if rows else 0
    vectors = [f"{name}{i + 1}" for name in ("mean", "best", "weight") for i in range(m)]
    yield ["generation", "n_evaluations", "n_failed", *vectors, "max_std", "stationarity", "finished"]
    for row in rows:
        numbers = [value for name in ("mean", "best", "weights") for value in _padded(row[name].tolist(), m)]
        stationarity = row["stationarity"] if row["stationarity"] == row["stationarity"] else None
        counts = row["generation"], row["n_evaluations"], row["n_failed"]
        yield [*counts, *numbers, row["max_std"], stationarity, row["finished"]]


def _padded(values: Iterable[Any], size: int) -> list[Any]:
    return [*values, *[None] * size][:size]
