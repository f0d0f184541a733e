"""Objective values from a Python callable: one candidate at a time or vectorised, here or in an executor."""

from __future__ import annotations

import concurrent.futures
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .._validate import number
from ._base import FloatArray, Job, Outcome, Points, Source

Function = Callable[[Any], Any]


class CallableSource(Source):
    """Evaluates with a Python callable; a failure costs its own row only.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> m numbers``, or ``fun(X) -> (k, m)`` where ``vectorized``.
    executor : concurrent.futures.Executor, optional
        Where the calls run; at most two per worker are in flight, so that memory stays bounded.
    vectorized : bool
        Whether ``fun`` takes (k, d): all rows at once, or with an executor one share per worker.
    timeout : float, optional
        Seconds after which a call has failed. A call in Python cannot be ended from outside: it goes on, unseen, and
        keeps its worker busy (without an executor: a thread of its own). An objective that hangs is better
        run as a command, which is killed.
    """

    def __init__(
        self,
        fun: Function,
        *,
        executor: concurrent.futures.Executor | None = None,
        vectorized: bool = False,
        timeout: float | None = None,
    ) -> None:
        super().__init__()
        if executor is not None and not callable(getattr(executor, "submit", None)):
            expected = "a concurrent.futures.Executor or a distributed.Client"
            raise TypeError(f"`executor` must be {expected}; got {type(executor).__name__}.")
        self.fun = fun
        self.executor = executor
        self.vectorized = vectorized
        self.timeout = None if timeout is None else number("timeout", timeout, low=0.0, strict=True)
        self._name = callable_name(fun)
        # What comes back: the call it belongs to, then (seconds, answer) or what was raised. No SimpleQueue: once a
        # wait of it was interrupted, Python 3.10 may wait for ever in the next.
        self._finished: queue.Queue[tuple[_Call, Any]] = queue.Queue()
        self._calls: dict[int, _Call] = {}

    @property
    def name(self) -> str:
        """Module and name of the function."""
        return self._name

    @property
    def n_workers(self) -> int:
        """Workers of the executor, 1 without."""
        if self.executor is None:
            return 1
        for attribute in ("_max_workers", "num_workers"):  # the standard library's; mpi4py's
            count = getattr(self.executor, attribute, None)
            if isinstance(count, int) and count > 0:
                return count
        return os.cpu_count() or 1

    @property
    def n_slots(self) -> int:
        """Two per worker, so that none waits; with a timeout one, so that its clock starts with the call."""
        if self.executor is None:
            return 1
        return self.n_workers * (1 if self.timeout is not None else 2)

    def batch_size(self, n_jobs: int) -> int:
        """Return 1, or an equal share for each worker where ``vectorized``."""
        return -(-n_jobs // self.n_workers) if self.vectorized else 1

    def start(self, points: Points, jobs: Sequence[Job]) -> None:
        """Call ``fun``, or hand it to the executor."""
        argument = points.rows(jobs) if self.vectorized else points.get(jobs[0].candidate)
        call = _Call(tuple(jobs), time.monotonic())
        self._calls[id(call)] = call
        self.counters.requests += 1
        if self.executor is not None:
            try:
                call.future = self.executor.submit(_timed, self.fun, argument)
            except RuntimeError as error:  # broken, or shut down
                call.fatal = True
                self._finished.put((call, error))
            else:
                call.future.add_done_callback(partial(self._done, call))
        elif self.timeout is not None:
            threading.Thread(target=self._call, args=(call, argument), daemon=True).start()
        else:
            self._call(call, argument)

    def _call(self, call: _Call, argument: Any) -> None:
        try:
            answer = _timed(self.fun, argument)
        except Exception as error:
            self._finished.put((call, error))
        else:
            self._finished.put((call, answer))

    def _done(self, call: _Call, future: concurrent.futures.Future[Any]) -> None:
        if not future.cancelled():
            error = future.exception()
            call.fatal = isinstance(error, concurrent.futures.BrokenExecutor)
            self._finished.put((call, future.result() if error is None else error))

    def poll(self, timeout: float | None) -> list[Outcome]:
        """Wait for calls to come back."""
        outcomes: list[Outcome] = []
        end = None if timeout is None else time.monotonic() + timeout
        while not outcomes:
            first_deadline = self._first_deadline()
            ends = [moment for moment in (end, first_deadline) if moment is not None]
            wait = max(0.0, min(ends) - time.monotonic()) if ends else None
            try:
                call, answer = self._finished.get(timeout=wait)
            except queue.Empty:
                outcomes += self._expired()
                if end is not None and time.monotonic() >= end:
                    break
                continue
            outcomes += self._outcomes(call, answer)
            while not self._finished.empty():
                outcomes += self._outcomes(*self._finished.get())
        return outcomes

    def _first_deadline(self) -> float | None:
        if self.timeout is None or not self._calls:
            return None
        return min(call.started for call in self._calls.values()) + self.timeout

    def _expired(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        now = time.monotonic()
        for call in list(self._calls.values()):
            if self.timeout is not None and now - call.started >= self.timeout:
                del self._calls[id(call)]
                if call.future is not None:
                    call.future.cancel()
                self.counters.unknown += len(call.jobs)
                reason = f"no answer within {self.timeout:g} s"
                outcomes += [Outcome(job, error=reason, seconds=now - call.started) for job in call.jobs]
        return outcomes

    def _outcomes(self, call: _Call, answer: Any) -> list[Outcome]:
        """Split what one call brought into one outcome per candidate."""
        if self._calls.pop(id(call), None) is None:
            return []  # given up before
        self.counters.evaluations += len(call.jobs)
        if isinstance(answer, BaseException):
            reason = f"{type(answer).__name__}: {answer}"
            trace = "".join(traceback.format_exception(type(answer), answer, answer.__traceback__))
            return [Outcome(job, error=reason, traceback=trace, fatal=call.fatal) for job in call.jobs]
        seconds, value = answer
        try:
            rows = self._split(value, len(call.jobs))
        except (TypeError, ValueError) as error:
            return [Outcome(job, error=str(error), seconds=seconds) for job in call.jobs]
        share = seconds / len(call.jobs)
        return [Outcome(job, values=row, seconds=share) for job, row in zip(call.jobs, rows, strict=True)]

    def _split(self, answer: Any, count: int) -> list[FloatArray]:
        array = np.asarray(answer)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"`fun` must return real numbers; got {type(answer).__name__} of dtype {array.dtype}.")
        if not self.vectorized:
            if array.ndim > 1 or array.size == 0:
                raise ValueError(f"`fun` must return m numbers; got shape {array.shape}.")
            return [np.atleast_1d(array).astype(np.float64)]
        if array.ndim == 1 and array.shape == (count,):
            array = array[:, None]
        if array.ndim != 2 or array.shape[0] != count or array.shape[1] == 0:
            raise ValueError(f"`fun` must return shape ({count}, m); got shape {array.shape}.")
        return list(array.astype(np.float64))

    def cancel(self) -> None:
        """Cancel what has not begun; the answers of the rest are not waited for."""
        for call in self._calls.values():
            if call.future is not None:
                call.future.cancel()
        self._calls.clear()


class _Call:
    def __init__(self, jobs: tuple[Job, ...], started: float) -> None:
        self.jobs = jobs
        self.started = started
        self.future: concurrent.futures.Future[Any] | None = None
        self.fatal = False


def _timed(fun: Function, argument: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    value = fun(argument)
    return time.perf_counter() - start, value


def callable_name(fun: Any) -> str:
    """Return ``module:name`` of a function; what runs as a script goes by its file's name, as when it is imported."""
    while isinstance(fun, partial):
        fun = fun.func
    if not hasattr(fun, "__qualname__"):
        fun = type(fun)
    module = getattr(fun, "__module__", None) or ""
    if module == "__main__":
        file = getattr(sys.modules.get("__main__"), "__file__", None)
        module = Path(file).stem if file else module
    return f"{module}:{fun.__qualname__}"
