"""Asks a source for the values of a generation: what is missing, within the budgets, with retries."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .._validate import number, real_array
from ..result import Failure
from ._base import FINAL, FloatArray, Job, Outcome, Points, Source
from ._budget import Budget
from ._retry import Retry

_BATCH_BYTES = 2**26  # of candidates rebuilt for one call, where the population is not stored
_LONGEST_TEXT = 500  # characters of a reason that are kept, and eight times as many of a traceback


@dataclass(frozen=True)
class Record:
    """What is known of one candidate.

    Attributes
    ----------
    candidate : int
        Its row in ``ask()``, or ``FINAL``.
    values : ndarray, shape (m,), or None
        Its objective values, finite; None as long as there are none, or if it failed.
    error, traceback : str
        Why the last attempt failed.
    seconds : float
        Of the last attempt.
    attempts : int
        How often it was asked for.
    cost : float
        Of all attempts.
    open : bool
        Whether it failed and is to be asked for again.
    """

    candidate: int
    values: FloatArray | None
    error: str
    traceback: str
    seconds: float
    attempts: int
    cost: float
    open: bool

    def failure(self, generation: int) -> Failure:
        """Return it as part of a result."""
        return Failure(generation, self.candidate, self.error, self.traceback)


class Keeper(Protocol):
    """Whoever makes sure that nothing that was paid for is lost: the run store."""

    def record(self, generation: int, records: Sequence[Record]) -> str:
        """Save them, or raise; return why nothing more should be started, else ""."""


@dataclass
class _Call:
    n_running: int
    started: float


class Driver:
    """Evaluates generations.

    Parameters
    ----------
    source : Source
        Where the values come from.
    retry : Retry, optional
        When to ask again.
    budget : Budget, optional
        Looked at before anything is started.
    straggler_timeout : float, optional
        Seconds to wait for the next answer when nothing more can be started; what is still running then has failed.
    n_objectives : int, optional
        m; the first good answer fixes it otherwise.
    keeper : Keeper, optional
        Gets every record before it counts.
    """

    def __init__(
        self,
        source: Source,
        *,
        retry: Retry | None = None,
        budget: Budget | None = None,
        straggler_timeout: float | None = None,
        n_objectives: int | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.source = source
        self.retry = retry or Retry()
        self.attempts = self.retry.attempts or source.default_attempts
        self.budget = budget or Budget()
        if straggler_timeout is not None:
            number("straggler_timeout", straggler_timeout, low=0.0, strict=True)
        self.straggler_timeout = straggler_timeout
        self.n_objectives = n_objectives
        self.keeper = keeper

    def check(self, values: FloatArray) -> str:
        """Return what is wrong with an answer, or ""; the first good one fixes m."""
        good = bool(np.isfinite(values).all()) and values.size > 0
        if self.n_objectives is None and good:
            self.n_objectives = values.size
        if self.n_objectives is not None and values.size != self.n_objectives:
            return f"the objective must give {self.n_objectives} numbers; got {values.size}."
        if not good:
            return f"the objective must give finite numbers; got {[float(value) for value in values[:8]]}."
        return ""

    def evaluate(
        self,
        points: Points,
        known: Mapping[int, Record],
        candidates: Sequence[int],
        max_failed: int | None = None,
    ) -> Generation:
        """Evaluate ``candidates`` as far as ``known`` does not hold their answers.

        Nothing more is started once more than ``max_failed`` of them have failed for good. After Ctrl-C what has
        already come back is kept, then the interrupt is passed on.
        """
        work = Generation(self, points, known, candidates, max_failed)
        try:
            work.run()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                work.take(work.arrived)
                work.take(self.source.poll(0.0))
            self.source.cancel()
            raise
        return work


class Generation:
    """The work on one generation."""

    def __init__(
        self,
        driver: Driver,
        points: Points,
        known: Mapping[int, Record],
        candidates: Sequence[int],
        max_failed: int | None,
    ) -> None:
        self.records: dict[int, Record] = {i: known[i] for i in candidates if i in known}
        #: Why it was cut short: the name of a budget, "failures", "source", or what the keeper said; else "".
        self.cut = ""
        self._driver, self._points = driver, points
        self._n_candidates = len(candidates)
        self._max_failed = len(candidates) if max_failed is None else max_failed
        for record in self.records.values():
            if record.values is not None:
                driver.check(record.values)  # fixes m
        missing = [i for i in candidates if i not in known or known[i].open]
        self._fresh = deque(Job(i, self.records[i].attempts + 1 if i in self.records else 1) for i in missing)
        self._n_missing = len(missing)
        self._again: list[tuple[float, Job, bool]] = []  # heap: when, what, in a call of its own
        self._running: dict[Job, _Call] = {}
        self._n_calls = 0
        self.arrived: list[Outcome] = []  #: what came back last
        self._n_failed = sum(bool(record.error) and not record.open for record in self.records.values())

    @property
    def complete(self) -> bool:
        """Whether every candidate has its answer."""
        answered = sum(not record.open for record in self.records.values())
        return answered == self._n_candidates

    def run(self) -> None:
        """Ask until all is answered, or a budget is spent."""
        source, progress = self._driver.source, time.monotonic()
        while True:
            if self._start():
                progress = time.monotonic()
            if self._running:
                self.arrived = source.poll(self._patience(progress))
                if self.arrived:
                    progress = time.monotonic()
                    self.take(self.arrived)
                elif self._is_stuck(progress):
                    self._give_up()
            elif self._again and not self.cut:
                time.sleep(max(0.0, self._again[0][0] - time.monotonic()))
            else:
                return

    # ------------------------------------------------------------------------------------------- what is started

    def _start(self) -> bool:
        """Start what may be started now."""
        driver, started = self._driver, False
        while not self.cut and self._n_calls < driver.source.n_slots:
            jobs = self._next()
            if not jobs:
                break
            self.cut = self._spent(jobs)
            while self.cut and len(jobs) > 1:  # a smaller batch may still be within it
                self._fresh.appendleft(jobs.pop())
                self.cut = self._spent(jobs)
            if self.cut:
                self._fresh.extendleft(jobs)
                break
            call = _Call(len(jobs), time.monotonic())
            self._n_calls += 1
            for job in jobs:
                self._running[job] = call
                driver.source.counters.retries += job.attempt > 1
            driver.source.start(self._points, jobs)
            started = True
        return started

    def _spent(self, jobs: list[Job]) -> str:
        """Return the budget that does not allow these; the final mean must remain affordable."""
        final = jobs[0].candidate == FINAL
        return self._driver.budget.spent(len(self._running) + len(jobs) + (not final), final=final)

    def _next(self) -> list[Job]:
        now = time.monotonic()
        size = self._driver.source.batch_size(self._n_missing)
        if self._points.array is None:
            size = min(size, max(1, _BATCH_BYTES // (self._points.dimension * self._points.dtype.itemsize)))
        jobs: list[Job] = []
        while self._again and self._again[0][0] <= now and len(jobs) < size:
            alone = self._again[0][2]
            if alone and jobs:
                break
            jobs.append(heapq.heappop(self._again)[1])
            if alone:
                return jobs
        while self._fresh and len(jobs) < size:
            jobs.append(self._fresh.popleft())
        return jobs

    # ------------------------------------------------------------------------------------------- what comes back

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Save outcomes, then count them; when it is interrupted it can be called with the same ones again."""
        now = time.monotonic()
        judged = [
            (outcome, call, self._judge(outcome))
            for outcome in outcomes
            if (call := self._running.get(outcome.job)) is not None  # else given up before, or taken already
        ]
        if not judged:
            return
        keeper = self._driver.keeper
        if keeper is not None:
            self.cut = keeper.record(self._points.generation, [record for _, _, record in judged]) or self.cut
        for outcome, call, record in judged:
            del self._running[outcome.job]
            call.n_running -= 1
            self._n_calls -= call.n_running == 0
            before = self.records.get(record.candidate)
            cost = record.cost - (before.cost if before is not None else 0.0)
            self._driver.budget.charge(cost, now - call.started)
            self.records[record.candidate] = record
            self._count(outcome, record, now)

    def _count(self, outcome: Outcome, record: Record, now: float) -> None:
        """Draw the conclusions from one record."""
        if record.error and not record.open:
            self._n_failed += 1
            if self._n_failed > self._max_failed:
                self.cut = self.cut or "failures"
        if outcome.fatal:
            self.cut = "source"
        elif record.open:
            wait = self._driver.retry.delay(record.attempts, outcome.retry_after)
            again = Job(record.candidate, record.attempts + 1)
            heapq.heappush(self._again, (now + wait, again, outcome.alone))

    def _judge(self, outcome: Outcome) -> Record:
        """Check an answer."""
        driver = self._driver
        error, values = " ".join(outcome.error.split()), outcome.values
        if values is not None:
            error = driver.check(values)
        elif not error:
            error = "no reason was given"
        cost = outcome.cost if outcome.cost is not None else driver.budget.price * outcome.billed
        before = self.records.get(outcome.job.candidate)
        again = bool(error) and (outcome.fatal or (outcome.retry and outcome.job.attempt < driver.attempts))
        return Record(
            candidate=outcome.job.candidate,
            values=None if error else values,
            error=error[:_LONGEST_TEXT],
            traceback=outcome.traceback[-8 * _LONGEST_TEXT :],
            seconds=outcome.seconds,
            attempts=outcome.job.attempt,
            cost=cost + (before.cost if before is not None else 0.0),
            open=again,
        )

    # ------------------------------------------------------------------------------------------- what does not

    @property
    def _retry_is_due(self) -> bool:
        """Whether there is something to be asked again, now or later, and room for it."""
        return bool(self._again) and not self.cut and self._n_calls < self._driver.source.n_slots

    def _patience(self, progress: float) -> float | None:
        """Seconds to wait for an answer: until something is to be asked again, or all hope is lost."""
        limit = self._driver.straggler_timeout
        if self._retry_is_due:
            end = self._again[0][0]
        elif limit is not None:
            end = progress + limit
        else:
            return None
        return max(0.0, end - time.monotonic())

    def _is_stuck(self, progress: float) -> bool:
        limit = self._driver.straggler_timeout
        return limit is not None and not self._retry_is_due and time.monotonic() - progress >= limit

    def _give_up(self) -> None:
        """Count as failed what is still running."""
        source, limit = self._driver.source, self._driver.straggler_timeout
        self.take(source.poll(0.0))
        stragglers = list(self._running)
        source.cancel()
        source.counters.unknown += len(stragglers)
        error = f"no answer came for {limit:g} s while nothing else could be started (straggler_timeout)"
        self.take([Outcome(job, error=error, retry=False) for job in stragglers])


def evaluate_rows(source: Source, X: npt.ArrayLike, driver: Driver | None = None) -> FloatArray:
    """Evaluate the rows of an array; F of shape (k, m), NaN in the rows that failed."""
    array = real_array("X", X, "of shape (k, d)")
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(f"`X` must be of shape (k, d); got shape {array.shape}.")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    driver = driver or Driver(source)
    work = driver.evaluate(Points.of_array(array), {}, range(len(array)))
    source.failures = failures(0, work.records)
    return matrix(work.records, len(array), driver.n_objectives)


def matrix(records: Mapping[int, Record], n_rows: int, n_objectives: int | None) -> FloatArray:
    """Return F of shape (n_rows, m), NaN where there is no answer; m = 1 if it is not known."""
    F = np.full((n_rows, n_objectives or 1), np.nan)
    for i, record in records.items():
        if record.values is not None:
            F[i] = record.values
    return F


def failures(generation: int, records: Mapping[int, Record]) -> list[Failure]:
    """Return what failed, in order."""
    return [record.failure(generation) for _, record in sorted(records.items()) if record.error and not record.open]
