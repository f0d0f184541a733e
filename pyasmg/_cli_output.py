"""What the command line gives back: the result as a table and as JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ._version import __version__
from .result import Result


def complain(message: str) -> None:
    """Print one line on standard error."""
    print("pyasmg: error: " + " ".join(message.split()), file=sys.stderr)


def write_result(path: Path, result: Result, settings: dict[str, Any]) -> bool:
    """Write the result, one key per line, whole or not at all; print it where the file fails."""
    content = {
        "format": "pyasmg.Result",
        "version": 1,
        "versions": {
            "pyasmg": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "settings": settings,
        **dataclasses.asdict(result),
    }
    lines = [f'"{key}": {json.dumps(_plain(value), allow_nan=False)}' for key, value in content.items()]
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
        complain(f"{str(path)!r} could not be written ({error}); the result is on standard output.")
        print(text)
        return False
    return True


def _plain(value: Any) -> Any:
    """Turn arrays and tuples into lists; a number that JSON does not have becomes null."""
    if isinstance(value, np.ndarray):
        numbers = value.tolist()
        return numbers if np.isfinite(value).all() else _plain(numbers)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def show_result(title: str, result: Result, written: str) -> None:
    """Print the table."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", box=SIMPLE, show_header=False)
    failed = f"{result.n_failed:,}"
    if result.failures:
        failed += f", last: {result.failures[-1].reason}"
    rows = {
        "x": _short(result.x),
        "fun": "not evaluated" if result.fun is None else _short(result.fun),
        "weights": _short(result.weights),
        "evaluations": f"{result.n_evaluations:,} in {result.n_iterations:,} generations",
        "failed": failed,
        "stopped": result.message,
        "seed": str(result.seed),
        "written": written,
    }
    for name, text in rows.items():
        table.add_row(name, Text(text))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _short(values: npt.NDArray[Any]) -> str:
    if values.size <= 8:
        return " ".join(f"{value:.6g}" for value in values)
    ends = [f"{value:.6g}" for value in (*values[:4], *values[-2:])]
    return " ".join([*ends[:4], "...", *ends[4:]]) + f"  (d = {values.size:,})"
