"""Logs of a run: callbacks for :func:`pyasmg.minimize`.

Examples
--------
>>> import pyasmg, tempfile
>>> from pyasmg.callbacks import JsonLines, TensorBoard, combine
>>> folder = tempfile.mkdtemp()
>>> log = combine(JsonLines(f"{folder}/log.jsonl"), TensorBoard(f"{folder}/tensorboard"))
>>> res = pyasmg.minimize(lambda x: [sum((x - 1) ** 2), sum((x + 1) ** 2)], [5.0] * 4, 2.0,
...                       max_evaluations=2000, seed=1, callback=log)
"""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._cli_output import _plain
from ._event_file import EventFile

if TYPE_CHECKING:
    from .asmg import ASMG

__all__ = ["JsonLines", "TensorBoard", "combine"]

Callback = Callable[["ASMG"], Any]


def combine(*callbacks: Callback) -> Callback:
    """Return one callback that calls several in turn, and stops the run if one of them returned True.

    Raises
    ------
    TypeError
        One of them cannot be called.
    """
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"`callbacks` must be callable; got {type(callback).__name__}.")

    def call_all(opt: ASMG) -> bool:
        answers = [callback(opt) for callback in callbacks]
        return any(isinstance(answer, (bool, np.bool_)) and bool(answer) for answer in answers)

    return call_all


class JsonLines:
    """Appends one JSON object per generation to a file, for use as ``minimize(..., callback=JsonLines("log.jsonl"))``.

    Keys: ``time`` (seconds since 1970), ``generation``, ``n_evaluations``, ``n_failed``, ``median`` (the median of each
    objective over the generation, m numbers), ``weights`` (m), ``max_std``, ``stationarity``; null for a number that
    is not finite or not known. Each line is written in one go. A run that is resumed goes on in the same file: a line
    that a kill has cut off is ended first, and a kill right after a generation may have left that one out.

    Parameters
    ----------
    path : path-like
        The file; made if it does not exist.

    Raises
    ------
    OSError
        When it is made: the file cannot be written. Later on, this is a warning: a log does not end a run.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()  # the objective may change the folder
        with self.path.open("ab"):
            pass
        self._warned = False

    def __call__(self, opt: ASMG) -> None:
        """Append a line."""
        line = json.dumps(_plain({"time": time.time(), **_state(opt)}), allow_nan=False).encode() + b"\n"
        try:
            with self.path.open("ab", buffering=0) as file:
                line = b"\n" + line if self._is_torn() else line
                written = file.write(line)
            if written != len(line):
                raise OSError(f"only {written} of {len(line)} bytes could be written")
        except OSError as error:
            self._warned = _warn(self, str(self.path), error, self._warned)

    def _is_torn(self) -> bool:
        """Whether the last line has no end: a kill or a full disk came between."""
        if not self.path.is_file():  # a pipe, say
            return False
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"


class TensorBoard:
    """Logs scalars for TensorBoard, for use as ``minimize(..., callback=TensorBoard("runs/first"))``.

    Scalars, with the number of evaluations as step: ``objectives/1`` to ``objectives/m`` (median over the generation),
    ``weights/1`` to ``weights/m``, ``search/max_std``, ``search/stationarity``, ``search/generation``,
    ``evaluations/failed``. What is not finite is left out.

    Parameters
    ----------
    folder : path-like or SummaryWriter
        A folder, made if it does not exist: a new event file is written there, which needs no further package. Or a
        ``SummaryWriter`` of ``torch.utils.tensorboard`` or ``tensorboardX``, or anything else that has
        ``add_scalar(tag, value, step)``; it is flushed after each generation, and remains yours to close.

    Raises
    ------
    OSError
        When it is made: the folder cannot be written. Later on, this is a warning: a log does not end a run.
    TypeError
        It is neither a path nor a writer.
    """

    def __init__(self, folder: Any) -> None:
        self._file: EventFile | None = None
        self._writer: Any = None
        self._warned = False
        if isinstance(folder, (str, os.PathLike)):
            self._file = EventFile(Path(folder).absolute())
            self._where = str(folder)
        elif callable(getattr(folder, "add_scalar", None)):
            self._writer, self._where = folder, type(folder).__name__
        else:
            raise TypeError(f"`folder` must be a path or have `add_scalar`; got {type(folder).__name__}.")

    def __call__(self, opt: ASMG) -> None:
        """Log the generation just told."""
        scalars, step = _scalars(_state(opt)), opt.n_evaluations
        try:
            if self._file is not None:
                self._file.add(scalars, step)
            else:
                self._hand_over(scalars, step)
        except OSError as error:
            self._warned = _warn(self, self._where, error, self._warned)

    def _hand_over(self, scalars: dict[str, float], step: int) -> None:
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, step)
        flush = getattr(self._writer, "flush", None)
        if callable(flush):
            flush()


def _state(opt: ASMG) -> dict[str, Any]:
    return {
        "generation": opt.n_iterations - 1,
        "n_evaluations": opt.n_evaluations,
        "n_failed": opt.n_failed,
        "median": opt.median,
        "weights": opt.weights,
        "max_std": float(opt.stds.max()),
        "stationarity": opt.stationarity,
    }


def _scalars(state: dict[str, Any]) -> dict[str, float]:
    scalars = {
        "search/generation": state["generation"],
        "search/max_std": state["max_std"],
        "search/stationarity": state["stationarity"],
        "evaluations/failed": state["n_failed"],
    }
    for group, name in (("objectives", "median"), ("weights", "weights")):
        if state[name] is not None:
            scalars |= {f"{group}/{i + 1}": value for i, value in enumerate(state[name])}
    return {tag: float(value) for tag, value in scalars.items() if math.isfinite(value)}


def _warn(log: object, where: str, error: OSError, warned: bool) -> bool:
    """Say once that a log has holes."""
    if not warned:
        message = f"{type(log).__name__}: {where!r} could not be written ({error}); the run goes on without it."
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    return True
