"""Objective values from a Dask cluster: candidates travel as numbers, mean and stds once per worker."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import queue
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._validate import number
from .._version import __version__
from . import _dask_worker as worker
from ._base import FINAL, Job, Outcome, Points, Source
from ._dask_shipment import CLOSED, ClosedError, Shipment, check_open
from .callable import callable_name

if TYPE_CHECKING:
    from distributed import Client

    from .._distribution import SearchDistribution

_LOOK_AGAIN = 1.0  # seconds between looks at who is there
_MOST_LOSSES = 20  # how often one call's data may die with their holders before it counts as failed
_LONGEST_GOODBYE = 5.0  # seconds to wait until the workers have forgotten the function


class DaskSource(Source):
    """Evaluates with a Python callable on the workers of a Dask cluster.

    Mean and stds go from here to one worker, once per generation, and from there from worker to worker; bounds and
    the function go the same way, once in all. A task is a few numbers: the worker rebuilds its candidates from the
    counters, with the bits of ``ASMG.ask_one``, and only objective values come back. Points without a search
    distribution travel as they are.

    Dask runs the tasks of a lost worker again elsewhere, until ``distributed.scheduler.allowed-failures`` workers have
    died of one; workers that join later get their share. Data that were lost with a worker are sent again.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> m numbers``, or ``fun(X) -> (k, m)`` where ``vectorized``. Pickled here, once: the workers need
        whatever it imports, and pyasmg in the same version. Each worker process has one copy, which its threads share.
    client : distributed.Client
        Synchronous, connected; it is not closed.
    timeout : float, optional
        Seconds after which an evaluation (a call, where ``vectorized``) has failed, counted on the worker from its
        start. Nothing can end a Python function from outside: it goes on, unseen, in a thread of the worker's process,
        and its answer is ignored.
    vectorized : bool
        Whether ``fun`` takes (k, d): one share for each worker.

    Raises
    ------
    TypeError
        ``client`` is no synchronous client, or ``fun`` cannot be pickled.
    ConnectionError
        The client is closed.
    """

    rebuilds = True

    def __init__(
        self, fun: Callable[[Any], Any], client: Client, *, timeout: float | None = None, vectorized: bool = False
    ) -> None:
        super().__init__()
        self._client: Any = _checked(client)
        self._timeout = None if timeout is None else number("timeout", timeout, low=0.0, strict=True)
        self._vectorized = bool(vectorized)
        self._name = callable_name(fun)
        self._label = "".join(filter(str.isalpha, self._name.split(":")[-1]))[:40] or "fun"
        self._run = uuid.uuid4().hex
        self._serial = itertools.count()
        self._calls: dict[int, _Call] = {}
        # Call and what came of it; None wakes poll() up because workers have joined. No SimpleQueue: once a wait of it
        # was interrupted, Python 3.10 may wait for ever in the next.
        self._answers: queue.Queue[tuple[_Call, worker.Answer | BaseException] | None] = queue.Queue()
        self._ready: list[Outcome] = []  # kept here, so that Ctrl-C in poll() loses none
        self._function = self._shipment(_pickled(fun))
        self._bounds: Shipment | None = None
        self._generation: tuple[SearchDistribution, int, Shipment] | None = None
        self._looked = time.monotonic()
        self._n_workers, self._n_threads = _size(self._client.nthreads())

    @property
    def name(self) -> str:
        """Module and name of the function."""
        return self._name

    @property
    def n_slots(self) -> int:
        """Two per thread of the cluster as it is now, so that none waits."""
        self._look()
        return max(1, 2 * self._n_threads)

    def batch_size(self, n_jobs: int) -> int:
        """Return 1, or an equal share for each worker where ``vectorized``."""
        return -(-n_jobs // max(1, self._n_workers)) if self._vectorized else 1

    # ------------------------------------------------------------------------------------------------- jobs go out

    def start(self, points: Points, jobs: Sequence[Job]) -> None:
        """Hand one call to the cluster."""
        candidates = tuple(job.candidate for job in jobs)
        search, function = points.search, self._function
        if search is None or FINAL in candidates:
            sent, bounds = self._shipment(points.rows(jobs)), None
            recipe = worker.Recipe(tuple(range(len(jobs))), None, 0, False, 0)
            names = worker.Names(function.name, None, None)
        else:
            sent, bounds = self._search(search, points.generation), self._bounds
            recipe = worker.Recipe(candidates, points.generation, search.seed, search.mirrored, points.center)
            names = worker.Names(function.name, None if bounds is None else bounds.name, sent.name)
        task = worker.Task(recipe, self._run, names, self._vectorized, self._timeout, __version__)
        call = _Call(next(self._serial), points.generation, tuple(jobs), task, (function, bounds, sent))
        self._calls[call.serial] = call
        self.counters.requests += 1
        call.follower = self._spawn(self._follow(call))

    def _search(self, search: SearchDistribution, generation: int) -> Shipment:
        """Return what goes out for a generation; the search's arrays are copied, because it changes them in place."""
        known = self._generation
        if known is None or known[0] is not search:
            bounds = None if search.low is None or search.high is None else np.stack((search.low, search.high))
            self._bounds = None if bounds is None else self._shipment(bounds)
        elif known[1] == generation:
            return known[2]
        shipment = self._shipment(np.stack((search.mean, search.std)))
        self._generation = search, generation, shipment
        return shipment

    def _shipment(self, value: npt.NDArray[Any]) -> Shipment:
        return Shipment(self._client, value, f"pyasmgdata-{self._run}-{next(self._serial)}")

    # --------------------------------------------------------------------------------- on the client's event loop

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> concurrent.futures.Future[None] | None:
        """Run it on the client's event loop."""
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._client.loop.asyncio_loop)
        except RuntimeError:  # the client was closed, and its loop with it: poll() sees that
            coroutine.close()
            return None

    async def _follow(self, call: _Call) -> None:
        """See one call through; whatever happens, something is said about it."""
        try:
            self._answers.put((call, await self._answer(call)))
        except BaseException as error:
            is_open = self._client.status not in CLOSED
            self._answers.put((call, error if is_open else ClosedError()))
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _answer(self, call: _Call) -> worker.Answer:
        """Have it evaluated."""
        n_losses, missing = 0, False
        while n_losses < _MOST_LOSSES:
            data = [await self._input(shipment, missing) for shipment in call.data]
            # One group per generation: the scheduler spreads large groups with few inputs evenly.
            group = f"pyasmg-{self._label}-{self._run}-{call.generation}"
            key = (group, call.jobs[0].candidate, call.jobs[0].attempt, call.serial, next(self._serial))
            future = self._client.submit(worker.evaluate, *data, call.task, key=key, pure=False)
            try:
                answer: worker.Answer = await future
            except (asyncio.CancelledError, concurrent.futures.CancelledError):
                if call.cancelled:
                    raise
                # Dask cancels a task when its input is lost: send that again.
                check_open(self._client)
                await asyncio.sleep(min(0.05 * 2**n_losses, 2.0))
                n_losses += 1
                continue
            finally:
                future.release()
            if answer.missing:  # a new process, or one that has forgotten
                missing = True
                continue
            for shipment in call.data:
                if shipment is not None and answer.process:
                    shipment.holders.add(answer.process)
            return answer
        raise ConnectionError(f"Dask lost its input or cancelled it {_MOST_LOSSES} times")

    async def _input(self, shipment: Shipment | None, missing: bool) -> Any:
        """Return it as an input of the task as long as some worker may not have it."""
        if shipment is None or (len(shipment.holders) >= self._n_workers > 0 and not missing):
            return None
        return await shipment.future()

    async def _count(self) -> None:
        """Look how large the cluster is."""
        try:
            self._n_workers, n_threads = _size(await self._client.nthreads())
        except Exception:  # the scheduler is away: the client is trying to reach it, or closes
            return
        grown, self._n_threads = n_threads > self._n_threads, n_threads
        if grown:
            self._answers.put(None)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked >= _LOOK_AGAIN:
            self._looked = now
            self._spawn(self._count())

    # ---------------------------------------------------------------------------------------------- answers come in

    def poll(self, timeout: float | None) -> list[Outcome]:
        """Wait for calls to come back; returns early with nothing when the cluster has grown."""
        end = None if timeout is None else time.monotonic() + timeout
        while (self._calls or end is not None) and not self._ready:
            left = _LOOK_AGAIN if end is None else min(_LOOK_AGAIN, end - time.monotonic())
            try:
                item = self._answers.get(timeout=max(0.0, left))
                if item is None:
                    break
                self._ready += self._outcomes(*item)
                while not self._answers.empty():
                    item = self._answers.get()
                    self._ready += [] if item is None else self._outcomes(*item)
            except queue.Empty:
                self._look()
                self._ready += self._abandoned()
            if end is not None and time.monotonic() >= end:
                break
        outcomes, self._ready = self._ready, []
        return outcomes

    def _outcomes(self, call: _Call, answer: worker.Answer | BaseException) -> list[Outcome]:
        """Split what one call brought into one outcome per candidate."""
        if self._calls.pop(call.serial, None) is None:
            return []  # given up before
        jobs, alone = call.jobs, len(call.jobs) > 1
        if isinstance(answer, BaseException):
            self.counters.unknown += len(jobs)
            fatal, reason = isinstance(answer, ClosedError), _explain(answer)
            trace = "" if isinstance(answer, ConnectionError) else worker.trace(answer)
            return [Outcome(job, None, reason, trace, alone=alone, fatal=fatal) for job in jobs]
        if answer.finished and answer.started:
            self.counters.evaluations += len(jobs)
        elif answer.started:
            self.counters.unknown += len(jobs)
        seconds = answer.seconds / len(jobs)
        if answer.values is not None:
            return [Outcome(job, row, seconds=seconds) for job, row in zip(jobs, answer.values, strict=True)]
        billed = answer.started
        alone = alone and billed
        reason, trace = answer.error, answer.traceback
        return [Outcome(job, None, reason, trace, seconds, billed=billed, alone=alone) for job in jobs]

    def _abandoned(self) -> list[Outcome]:
        """Return all that is open as failed if the client's event loop will not bring it any more."""
        if self._client.status != "closed" or not self._answers.empty():
            return []
        closed = ClosedError()
        return [outcome for call in list(self._calls.values()) for outcome in self._outcomes(call, closed)]

    def cancel(self) -> None:
        """Take back what has not begun; a function that is running goes on, and its answer is ignored."""
        for call in self._calls.values():
            call.cancelled = True
            if call.follower is not None and self._client.status != "closed":
                call.follower.cancel()
        self._calls.clear()
        self._ready.clear()

    def close(self) -> None:
        """Cancel, and free what the workers hold for this source; the client stays open."""
        self.cancel()
        self._generation = self._bounds = None
        self._function.release()
        if self._function.holders and self._client.status == "running":
            self._function.holders.clear()
            goodbye = self._spawn(self._say_goodbye())
            if goodbye is not None:
                with contextlib.suppress(concurrent.futures.TimeoutError, TimeoutError):
                    goodbye.result(_LONGEST_GOODBYE)

    async def _say_goodbye(self) -> None:
        with contextlib.suppress(Exception):  # it is a courtesy: they forget by themselves when others come
            await self._client.run(worker.forget, self._run, on_error="ignore")


@dataclass(eq=False)
class _Call:
    """One call and how it stands."""

    serial: int
    generation: int
    jobs: tuple[Job, ...]
    task: worker.Task
    data: tuple[Shipment | None, ...]
    follower: concurrent.futures.Future[None] | None = None
    cancelled: bool = False


def _checked(client: Any) -> Any:
    """Return the client if it can be used."""
    try:
        import distributed
    except ImportError as error:
        raise ImportError('Dask clusters need the extra: pip install "pyasmg[dask]"') from error
    if not isinstance(client, distributed.Client):
        raise TypeError(f"`client` must be a distributed.Client; got {type(client).__name__}.")
    if client.asynchronous:
        raise TypeError("`client` must be synchronous; got one with asynchronous=True.")
    if client.status != "running":
        raise ConnectionError(f"`client` must be connected to a scheduler; its status is {client.status!r}.")
    return client


def _pickled(fun: Callable[[Any], Any]) -> npt.NDArray[np.uint8]:
    import cloudpickle  # type: ignore[import-untyped]

    if not callable(fun):
        raise TypeError(f"`fun` must be callable; got {type(fun).__name__}.")
    try:
        return np.frombuffer(cloudpickle.dumps(fun, protocol=5), np.uint8)
    except Exception as error:
        reason = worker.describe(error)
        raise TypeError(f"`fun` must be picklable to run on a Dask cluster; {callable_name(fun)}: {reason}") from error


def _size(threads: dict[str, int]) -> tuple[int, int]:
    return len(threads), sum(threads.values())


def _explain(error: BaseException) -> str:
    """Say what became of a task that brought no answer."""
    import distributed

    if isinstance(error, distributed.KilledWorker):
        allowed = error.allowed_failures
        return (
            f"its worker died, {allowed + 1} times of {allowed + 1} (distributed.scheduler.allowed-failures: {allowed})"
        )
    if isinstance(error, ConnectionError):
        return str(error)
    return f"it could not run on a Dask worker: {worker.describe(error)}"
