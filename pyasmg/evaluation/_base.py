"""What every source of objective values has in common: jobs go in, outcomes come out, in any order."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..result import Failure

if TYPE_CHECKING:
    from typing_extensions import Self

    from .._distribution import SearchDistribution

FloatArray = npt.NDArray[np.float64]

FINAL = -1  #: index of the final mean of a run, which is no row of ``ask()``


class Job(NamedTuple):
    """One candidate to be evaluated, by number.

    Attributes
    ----------
    candidate : int
        Its row in ``ask()``, or ``FINAL``.
    attempt : int
        1 for the first time that it is asked for.
    """

    candidate: int
    attempt: int = 1


@dataclass(frozen=True)
class Outcome:
    """What came of one job.

    Attributes
    ----------
    job : Job
        The question.
    values : ndarray, shape (k,), or None
        The answer as it came, float64; None if there is none. Number and finiteness are checked by who asked.
    error, traceback : str
        Without an answer: the reason in one line, and the whole traceback if there is one.
    seconds : float
        How long the evaluation took, as far as the source can tell; NaN if it cannot.
    cost : float or None
        What it cost according to who answered; None means the price that the user gave, if ``billed``.
    billed : bool
        Whether it was evaluated, or may have been.
    retry : bool
        Whether asking again may help.
    retry_after : float
        Seconds that must pass before.
    alone : bool
        Whether it should then be asked in a call of its own, because it may be what spoilt the batch.
    fatal : bool
        Whether the source itself is at its end (a broken pool, a refused key): nothing more is started, and this
        candidate counts as not yet asked for.
    """

    job: Job
    values: FloatArray | None = None
    error: str = ""
    traceback: str = ""
    seconds: float = math.nan
    cost: float | None = None
    billed: bool = True
    retry: bool = True
    retry_after: float = 0.0
    alone: bool = False
    fatal: bool = False


@dataclass
class Counters:
    """What was sent and what came back; each is a number of candidates except for ``requests``.

    Attributes
    ----------
    requests : int
        Calls made: of the function, lines written to a child, HTTP requests sent.
    evaluations : int
        Candidates with a definite answer: values, or the word that this candidate failed.
    retries : int
        Candidates sent again.
    unknown : int
        Candidates without an answer that may have been evaluated (and billed): timed out, connection lost, garbled.
    """

    requests: int = 0
    evaluations: int = 0
    retries: int = 0
    unknown: int = 0


@dataclass
class Points:
    """The candidates that jobs point at: those of one generation, rebuilt on demand.

    Attributes
    ----------
    generation : int
        Its number; part of every candidate's address.
    get : callable
        ``get(index) -> x`` of shape (d,).
    dimension : int
        d.
    dtype : dtype
        Of the candidates.
    search : SearchDistribution or None
        What x is drawn from, for sources that rebuild it elsewhere; None for points that have no such description.
    center : int
        1 if row 0 is the mean.
    array : ndarray, shape (k, d), or None
        All of them, where they are in memory anyway.
    """

    generation: int
    get: Callable[[int], npt.NDArray[Any]]
    dimension: int
    dtype: np.dtype[Any]
    search: SearchDistribution | None = None
    center: int = 0
    array: npt.NDArray[Any] | None = None

    def rows(self, jobs: Sequence[Job]) -> npt.NDArray[Any]:
        """Return the jobs' candidates as one array of shape (len(jobs), d); a view if they are neighbours in memory."""
        first = jobs[0].candidate
        neighbours = [job.candidate for job in jobs] == list(range(first, first + len(jobs)))
        if self.array is not None and neighbours and first != FINAL:
            return self.array[first : first + len(jobs)]
        X = np.empty((len(jobs), self.dimension), self.dtype)
        for row, job in zip(X, jobs, strict=True):
            row[:] = self.get(job.candidate)
        return X

    @classmethod
    def of_array(cls, X: npt.NDArray[Any]) -> Points:
        """Describe the rows of an array."""
        return cls(0, X.__getitem__, X.shape[1], X.dtype, array=X)


class Source(ABC):
    """Where objective values come from.

    Who asks calls :meth:`start` while fewer than ``n_slots`` calls are running, with at most ``batch_size`` jobs each,
    and :meth:`poll` to wait. Every job that was started comes back exactly once, as an :class:`Outcome`, unless it
    was cancelled: a source never raises because an evaluation failed. Retries are the asker's business
    (:class:`Retry`).

    A source can also be called: ``F = source(X)`` for X of shape (k, d) gives F of shape (k, m), with NaN in the rows
    that failed, whose reasons are then in ``source.failures``.
    """

    #: How often a candidate is asked for at most where the user does not say.
    default_attempts = 1

    #: Whether candidates are made elsewhere, from ``points.search``, so that nobody need make them here.
    rebuilds = False

    def __init__(self) -> None:
        self.counters = Counters()
        self.failures: list[Failure] = []

    @property
    @abstractmethod
    def name(self) -> str:
        """What is evaluated, in words that a later run can be compared with; never holds a secret."""

    @property
    @abstractmethod
    def n_slots(self) -> int:
        """Calls that may run at a time."""

    def batch_size(self, n_jobs: int) -> int:
        """Return how many of ``n_jobs`` jobs one call may hold at most."""
        return 1

    @abstractmethod
    def start(self, points: Points, jobs: Sequence[Job]) -> None:
        """Begin one call. Does not wait, except in sources that evaluate right here."""

    @abstractmethod
    def poll(self, timeout: float | None) -> list[Outcome]:
        """Return outcomes; wait until there is one or ``timeout`` seconds have passed (None: for ever)."""

    @abstractmethod
    def cancel(self) -> None:
        """Forget everything that was started and not returned by :meth:`poll`; stop it where that is possible."""

    def close(self) -> None:
        """Cancel, and release processes and connections; may be called twice."""
        self.cancel()

    def __call__(self, X: npt.ArrayLike) -> FloatArray:
        """Evaluate the rows of X, shape (k, d), with the default retries."""
        from ._driver import evaluate_rows

        return evaluate_rows(self, X)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
