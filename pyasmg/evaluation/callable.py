"""Objective values from a Python callable: one candidate at a time or vectorised, here or in an executor."""

from __future__ import annotations

import concurrent.futures
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..result import Failure

FloatArray = npt.NDArray[np.float64]

_BATCH_BYTES = 2**26  # of candidates rebuilt at a time where the population is not stored


class Evaluator:
    """Evaluates populations with ``fun``; a failure costs its own row only.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> m numbers``, or ``fun(X) -> (k, m)`` where ``vectorized``.
    executor : concurrent.futures.Executor, optional
        Where the calls run; at most two per worker are in flight, so that memory stays bounded.
    vectorized : bool
        Whether ``fun`` takes (k, d).
    """

    def __init__(
        self,
        fun: Callable[[Any], Any],
        *,
        executor: concurrent.futures.Executor | None = None,
        vectorized: bool = False,
        n_objectives: int | None = None,
    ) -> None:
        self.fun = fun
        self.executor = executor
        self.vectorized = vectorized
        self.n_objectives = n_objectives
        self.failures: list[Failure] = []

    def __call__(self, X: Sequence[npt.NDArray[Any]] | npt.NDArray[Any], generation: int) -> FloatArray:
        """Return F of shape (len(X), m), NaN in the rows that failed; (len(X), 1) of NaN if m is not known yet."""
        rows: list[FloatArray | None] = [None] * len(X)
        for begin, end, answer in self._answers(X):
            if isinstance(answer, BaseException):
                trace = "".join(traceback.format_exception(answer))
                reason = f"{type(answer).__name__}: {answer}"
                for j in range(begin, end):
                    self.failures.append(Failure(generation, j, reason, trace))
                continue
            try:
                values = self._split(answer, end - begin)
            except (TypeError, ValueError) as error:
                for j in range(begin, end):
                    self.failures.append(Failure(generation, j, str(error)))
                continue
            for j, value in zip(range(begin, end), values, strict=True):
                rows[j] = self._accept(value, generation, j)
        F = np.full((len(X), self.n_objectives or 1), np.nan)
        for j, row in enumerate(rows):
            if row is not None:
                F[j] = row
        return F

    def _accept(self, value: FloatArray, generation: int, row: int) -> FloatArray | None:
        """Check one candidate's values; the first good ones set m."""
        if self.n_objectives is None and np.isfinite(value).all():
            self.n_objectives = value.size
        if self.n_objectives is not None and value.size != self.n_objectives:
            reason = f"`fun` must return {self.n_objectives} numbers; got {value.size}."
        elif not np.isfinite(value).all():
            reason = f"`fun` must return finite numbers; got {[float(v) for v in value[:8]]}."
        else:
            return value
        self.failures.append(Failure(generation, row, reason))
        return None

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

    def _answers(self, X: Any) -> Iterator[tuple[int, int, Any]]:
        """Yield (first row, last row + 1, answer or exception) in any order."""
        pieces = self._pieces(X)
        if self.executor is None:
            for begin, end in pieces:
                yield begin, end, _call(self.fun, self._argument(X, begin, end))
            return
        workers = max(1, int(getattr(self.executor, "_max_workers", 1) or 1))
        pending: dict[concurrent.futures.Future[Any], tuple[int, int]] = {}
        waiting = iter(pieces)
        try:
            while True:
                while len(pending) < 2 * workers:
                    piece = next(waiting, None)
                    if piece is None:
                        break
                    try:
                        future = self.executor.submit(self.fun, self._argument(X, *piece))
                    except RuntimeError as error:  # broken, or shut down
                        yield (*piece, error)
                        continue
                    pending[future] = piece
                if not pending:
                    return
                done, _ = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    piece = pending.pop(future)
                    failure = future.exception()
                    yield (*piece, future.result() if failure is None else failure)
        finally:
            for future in pending:
                future.cancel()

    def _argument(self, X: Any, begin: int, end: int) -> npt.NDArray[Any]:
        argument: npt.NDArray[Any] = X[begin:end] if self.vectorized else X[begin]
        return argument

    def _pieces(self, X: Any) -> list[tuple[int, int]]:
        """Cut the rows into calls: one each, or, vectorised, one per worker and within the memory of a batch."""
        n = len(X)
        if not self.vectorized:
            return [(j, j + 1) for j in range(n)]
        count = 1
        if self.executor is not None:
            count = min(n, max(1, int(getattr(self.executor, "_max_workers", 1) or 1)))
        if not isinstance(X, np.ndarray):
            count = max(count, -(-n * X.shape[1] * 8 // _BATCH_BYTES))
        count = min(count, n)
        return [(n * i // count, n * (i + 1) // count) for i in range(count)]


def _call(fun: Callable[[Any], Any], argument: Any) -> Any:
    try:
        return fun(argument)
    except Exception as error:
        return error
