"""What runs on a Dask worker: it rebuilds candidates from their numbers and sends back their values alone."""

from __future__ import annotations

import contextvars
import math
import pickle
import queue
import threading
import time
import traceback
import uuid
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .. import _core
from .._version import __version__

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

_MOST_VALUES = 2**16  # per candidate: more is a mistake, and would not fit the promise that little comes back
_LONGEST_ERROR = 300
_LONGEST_TRACEBACK = 10_000
_MOST_RUNAWAYS = 16


class Names(NamedTuple):
    """By which a process keeps the function, the bounds, and mean and stds; None for what is not there to be kept."""

    function: str
    bounds: str | None
    sent: str | None


class Recipe(NamedTuple):
    """Which candidates, in a few bytes.

    Attributes
    ----------
    candidates : tuple of int
        Rows of the generation, or of the array that was sent.
    generation, seed, mirrored, center
        As in ``SearchDistribution.population``; ``generation`` is None if what was sent are candidates.
    """

    candidates: tuple[int, ...]
    generation: int | None
    seed: int
    mirrored: bool
    center: int


class Task(NamedTuple):
    """What to do with them.

    Attributes
    ----------
    recipe : Recipe
        Of the candidates.
    run : str
        Whose function it is.
    names : Names
        Of what the process may have already.
    vectorized : bool
        Whether the function takes (k, d).
    timeout : float or None
        Seconds.
    version : str
        Of the package that asks: another one might draw other candidates.
    """

    recipe: Recipe
    run: str
    names: Names
    vectorized: bool
    timeout: float | None
    version: str


class Answer(NamedTuple):
    """What came of it: ``values`` of shape (k, m), or an error.

    Attributes
    ----------
    finished : bool
        Whether the function came to an end.
    started : bool
        Whether it was called.
    missing : bool
        Whether the process does not have all that was not sent along.
    process : str
        Where it comes from.
    """

    values: FloatArray | None
    seconds: float
    error: str = ""
    traceback: str = ""
    finished: bool = True
    started: bool = True
    missing: bool = False
    process: str = ""


def evaluate(function: Bytes | None, bounds: Array | None, sent: Array | None, task: Task) -> Answer:
    """Rebuild the candidates and evaluate them; never raises because the function did.

    Parameters
    ----------
    function : ndarray of uint8, or None
        The pickled function; None, as below, if this process should have it already.
    bounds : ndarray, shape (2, d), or None
        Lower and upper.
    sent : ndarray or None
        Mean and stds, shape (2, d), or the candidates themselves.
    task : Task
        Which candidates.
    """
    if task.version != __version__:
        reason = f"pyasmg is {__version__} on a worker and {task.version} where the search runs; they must be the same"
        return Answer(None, math.nan, reason, started=False)
    try:
        fun = _keep(task.run, "function", task.names.function, function, _unpickle)
        limits = _keep(task.run, "bounds", task.names.bounds, bounds, _aligned)
        sent = _keep(task.run, "sent", task.names.sent, sent, _aligned)
    except _MissingError:
        return Answer(None, math.nan, missing=True, started=False)
    except BaseException as error:
        reason = f"the objective cannot be loaded on a worker: {describe(error)}"
        return Answer(None, math.nan, reason, trace(error), started=False)
    X = _candidates(sent, limits, task.recipe)
    call = partial(_call, fun, X if task.vectorized else X[0], len(X), task.vectorized)
    return (call() if task.timeout is None else _within(task.timeout, call))._replace(process=_PROCESS)


# ------------------------------------------------------------------------------------------------------- what is kept
# Tasks name as inputs what their worker may lack. For the rest Dask would fetch it again and again: it drops what no
# task waits for from all workers but one.

_PROCESS = uuid.uuid4().hex
_MOST_KEPT = {"function": 1, "bounds": 1, "sent": 2}  # per run
_MOST_RUNS = 4
_kept: OrderedDict[str, dict[str, OrderedDict[str, Any]]] = OrderedDict()
_lock = threading.Lock()


class _MissingError(Exception):
    """Something must be sent along."""


def _keep(run: str, kind: str, name: str | None, value: Array | None, convert: Callable[[Array], Any]) -> Any:
    """Return what came, converted, or what has been kept under its name."""
    if name is None:
        return value
    with _lock:
        kept = _kept.setdefault(run, {kind: OrderedDict() for kind in _MOST_KEPT})
        if name not in kept[kind]:
            if value is None:
                raise _MissingError
            kept[kind][name] = convert(value)
        result = kept[kind][name]
        _kept.move_to_end(run)
        kept[kind].move_to_end(name)
        if len(kept[kind]) > _MOST_KEPT[kind]:
            kept[kind].popitem(last=False)
        if len(_kept) > _MOST_RUNS:
            _kept.popitem(last=False)
        return result


def _unpickle(function: Array) -> Any:
    return pickle.loads(function.tobytes())


def _aligned(array: Array) -> Array:
    """Return it where the core can read it: what came through a socket may lie at any address."""
    return np.require(array, requirements=["C", "A"])


def forget(run: str) -> None:
    """Free what is kept for a run."""
    with _lock:
        _kept.pop(run, None)


# ---------------------------------------------------------------------------------------------------- the candidates


def _candidates(sent: Array, bounds: Array | None, recipe: Recipe) -> Array:
    """Return them as one array of shape (k, d), the function's to keep: the same bits as ``ASMG.ask_one``."""
    if recipe.generation is None:
        return sent[list(recipe.candidates)]
    mean, std = sent
    low, high = (None, None) if bounds is None else bounds
    X = np.empty((len(recipe.candidates), mean.size), mean.dtype)
    for x, candidate in zip(X, recipe.candidates, strict=True):
        row = candidate - recipe.center
        if row < 0:
            x[:] = mean if low is None else np.clip(mean, low, high)
        else:
            arguments = (mean, std, low, high, recipe.seed, recipe.generation, recipe.mirrored, row, x[None], 1)
            _core.sample_population(*arguments)
    return X


# ------------------------------------------------------------------------------------------------------ the function


def _call(fun: Callable[[Any], Any], argument: Any, count: int, vectorized: bool) -> Answer:
    start = time.perf_counter()
    try:
        value = fun(argument)
    except BaseException as error:  # SystemExit as well: the worker is not the function's to end
        return Answer(None, time.perf_counter() - start, describe(error), trace(error))
    seconds = time.perf_counter() - start
    try:
        return Answer(_matrix(value, count, vectorized), seconds)
    except Exception as error:
        return Answer(None, seconds, describe(error) if _is_foreign(error) else str(error))


class _ShapeError(ValueError):
    """An answer of the wrong shape or type."""


def _is_foreign(error: Exception) -> bool:
    return not isinstance(error, _ShapeError)


def _matrix(value: Any, count: int, vectorized: bool) -> FloatArray:
    """Return what the function gave as (k, m)."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        kind = type(value).__name__[:60]
        raise _ShapeError(f"`fun` must return real numbers; got {kind} of dtype {str(array.dtype)[:60]}.")
    if vectorized:
        if array.ndim == 1 and array.shape == (count,):
            array = array[:, None]
        if array.ndim != 2 or array.shape[0] != count or array.shape[1] == 0:
            raise _ShapeError(f"`fun` must return shape ({count}, m); got shape {array.shape}.")
    elif array.ndim > 1 or array.size == 0:
        raise _ShapeError(f"`fun` must return m numbers; got shape {array.shape}.")
    else:
        array = array.reshape(1, -1)
    if array.shape[1] > _MOST_VALUES:
        raise _ShapeError(f"`fun` must return at most {_MOST_VALUES} numbers; got {array.shape[1]}.")
    return array.astype(np.float64)


def _within(timeout: float, call: Callable[[], Answer]) -> Answer:
    """Call in a thread that is left to itself after ``timeout`` seconds: nothing can end it, but the worker goes on."""
    if not _room(timeout):
        reason = f"not started: {_MOST_RUNAWAYS} evaluations past their timeout still run on this worker"
        return Answer(None, math.nan, reason, started=False)
    answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
    context = contextvars.copy_context()  # so that get_worker() works in it
    thread = threading.Thread(target=lambda: answers.put(context.run(call)), daemon=True)
    thread.start()
    try:
        return answers.get(timeout=min(timeout, threading.TIMEOUT_MAX))
    except queue.Empty:
        with _lock:
            _runaways.append(thread)
        return Answer(None, timeout, f"no answer within {timeout:g} s", finished=False)


_runaways: list[threading.Thread] = []


def _room(timeout: float) -> bool:
    """Wait, if too many runaways are alive, for one of them to end."""
    end = time.monotonic() + timeout
    while True:
        with _lock:
            _runaways[:] = [thread for thread in _runaways if thread.is_alive()]
            if len(_runaways) < _MOST_RUNAWAYS:
                return True
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, 0.05))


# ------------------------------------------------------------------------------------------------------------- words


def describe(error: BaseException) -> str:
    """Return an exception in one line."""
    try:
        text = str(error)
    except Exception:
        text = "its message cannot be shown"
    line = f"{type(error).__name__}: {' '.join(text[: 4 * _LONGEST_ERROR].split())}"
    line = "".join(c if c.isprintable() else "?" for c in line)
    return line if len(line) <= _LONGEST_ERROR else f"{line[: _LONGEST_ERROR - 3]}..."


def trace(error: BaseException) -> str:
    """Return the traceback; of a long one both ends, where the calls and the message are."""
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception:
        return ""
    half = _LONGEST_TRACEBACK // 2
    return text if len(text) <= _LONGEST_TRACEBACK else f"{text[: half - 5]}\n...\n{text[-half:]}"
