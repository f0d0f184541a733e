"""What the command line is given: numbers, files of numbers, and the objective by its name."""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import typer

from .evaluation.callable import callable_name

DEFAULT_OUTPUT = "pyasmg-result.json"

_RENAMED = {
    "n_threads": "--threads",
    "n_seeds": "--seeds",
    "concurrency": "--workers",
    "bounds": "--bounds-low and --bounds-high",
    "bounds.low": "--bounds-low",
    "bounds.high": "--bounds-high",
}


class OptionError(Exception):
    """An option that makes no sense; the message is one line that names it."""


def in_options(error: Exception) -> OptionError:
    """Put a message about an argument into the words of the command line."""

    def option(match: re.Match[str]) -> str:
        return _RENAMED.get(match[1], "--" + match[1].replace("_", "-"))

    return OptionError(re.sub(r"`([a-z][\w.]*)`", option, str(error)))


def number_option(kind: type[int] | type[float], text: str, *names: str, panel: str | None = None) -> Any:
    """Declare an option that takes one number; the error says what came, which typer's own does not."""
    word = "an integer" if kind is int else "a number"

    def parse(value: str) -> int | float:
        try:
            return kind(value)
        except ValueError:
            raise typer.BadParameter(f"must be {word}; got {value!r}.") from None

    return typer.Option(*names, parser=parse, metavar=word.split()[1].upper(), help=text, rich_help_panel=panel)


def numbers(option: str, text: str, key: str | None = None) -> float | list[float] | npt.NDArray[Any]:
    """Parse ``1``, ``1,2,3`` or ``@FILE``; in a JSON object the numbers stand under ``key``."""
    if text.startswith("@"):
        return _numbers_of_file(option, Path(text[1:]), key)
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        short = text if len(text) <= 60 else text[:57] + "..."
        expected = "a number, numbers with commas or @FILE"
        raise OptionError(f"{option} must be {expected}; got {short!r}.") from None
    return values if "," in text else values[0]


def _numbers_of_file(option: str, path: Path, key: str | None) -> npt.NDArray[Any]:
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if path.suffix == ".csv":
            text = path.read_text(encoding="utf-8").strip()
            return np.array([float(part) for part in re.split(r"[,;\s]+", text)])
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                content = content[key]
            return np.array(content, dtype=np.float64)
    except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
        reason = f"reading {str(path)!r} raised {type(error).__name__}: {error}"
        raise OptionError(f"{option} must name a file of numbers; {reason}.") from None
    raise OptionError(f"{option} must name a .json, .npy or .csv file; got {str(path)!r}.")


def step(option: str, text: str) -> float | str:
    """Parse ``auto`` or a number."""
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{option} must be auto or a number; got {text!r}.") from None


def weighting(text: str) -> Any:
    """Parse the name of a rule, or m weights."""
    return numbers("--weighting", text, "weights") if text[:1] in "+-.@0123456789" else text


def output_path(output: str | None, default: str = DEFAULT_OUTPUT) -> Path:
    """Return where the result goes: checked now, because after a long run it would be too late."""
    path = Path(default if output is None else output)
    if output is None:
        stem, number = path.stem, 1
        while path.exists():
            number += 1
            path = path.with_stem(f"{stem}-{number}")
    if not path.name or path.is_dir() or not path.parent.is_dir():
        raise OptionError(f"--output must be a file in a folder that exists; got {output!r}.")
    if not os.access(path.parent, os.W_OK):
        raise OptionError(f"--output must be in a folder that can be written to; got {str(path)!r}.")
    return path


@functools.lru_cache(maxsize=1)
def load_objective(target: str) -> Callable[[Any], Any]:
    """Import ``module:function``, from the current folder as well."""
    module_name, _, name = target.partition(":")
    if not (module_name and name):
        raise OptionError(f"MODULE:FUNCTION must be two names with a colon between; got {target!r}.")
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise OptionError(
            f"MODULE:FUNCTION must name a module that can be imported; importing {module_name!r} raised "
            f"{type(error).__name__}: {error}."
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise OptionError(f"MODULE:FUNCTION must name a function of {module_name!r}; got {name!r}.")
        found = getattr(found, part)
    if not callable(found):
        raise OptionError(f"MODULE:FUNCTION must name a function; got {target!r} of type {type(found).__name__}.")
    function: Callable[[Any], Any] = found
    return function


class RemoteObjective:
    """The objective by its name: each worker process imports it, so that it need not be picklable."""

    def __init__(self, target: str) -> None:
        self.target = target
        # In a store it goes by the name of the function, wherever that runs.
        self.__module__, _, self.__qualname__ = callable_name(load_objective(target)).partition(":")

    def __call__(self, x: Any) -> Any:
        return load_objective(self.target)(x)
