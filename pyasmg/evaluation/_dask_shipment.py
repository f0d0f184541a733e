"""Arrays on their way to the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import logging
import math
import os
import uuid
from typing import Any

import numpy.typing as npt

CLOSED = ("closing", "closed")  # a client's status when nothing comes back any more
_QUIET = 30.0  # seconds without a worker before it is said
_MANY_WORKERS, _MANY_BYTES = 16, 2**18

_log = logging.getLogger(__name__)


class ClosedError(ConnectionError):
    """The client is gone for good."""

    def __init__(self) -> None:
        super().__init__("the Dask client was closed, or has lost its scheduler")


class Shipment:
    """An array that is sent to one worker when first needed, and again whenever all who held it are gone.

    From there Dask passes it on to workers whose tasks need it. They free it when the last reference to this object
    goes. It is used on the client's event loop.
    """

    def __init__(self, client: Any, value: npt.NDArray[Any], name: str) -> None:
        self.name = name
        self.holders: set[str] = set()  # processes that are known to keep it
        self._client, self._value = client, value
        self._future: Any = None
        self._sending: asyncio.Task[None] | None = None
        self._waiting = 0
        self._attempts = itertools.count()

    async def future(self) -> Any:
        """Return Dask's future of it; all who ask at the same time wait for the same transfer."""
        while self._future is None or self._future.status != "finished":
            if self._sending is None or self._sending.done():
                self._sending = asyncio.ensure_future(self._send())
            self._waiting += 1
            try:
                await asyncio.shield(self._sending)
            finally:
                self._waiting -= 1
                if not self._waiting and not self._sending.done():  # all who wanted it were cancelled
                    self._sending.cancel()
                    self._sending = None
        return self._future

    def release(self) -> None:
        """Let the workers free it now; may be called from any thread."""
        future, self._future = self._future, None
        if future is not None:
            future.release()

    async def _send(self) -> None:
        client = self._client
        while True:
            check_open(client)
            try:
                workers = await client.nthreads()
                if not workers:
                    await _first_worker(client)
                    continue
                direct = await _is_direct(client, next(iter(workers)))
                # A key, and so a group, of its own: the scheduler spreads large groups with few inputs evenly.
                key = (f"{self.name}-{next(self._attempts)}", 0)
                sent = await client.scatter({key: self._value}, direct=direct, hash=False)
                if len(workers) >= _MANY_WORKERS and self._value.nbytes >= _MANY_BYTES:
                    await _spread(client, sent[key], len(workers))
                self._future = sent[key]
                return
            except (asyncio.TimeoutError, TimeoutError, OSError, ValueError) as error:
                # The worker died just now, or cannot be reached from here after all; or the scheduler is away.
                check_open(client)
                _log.info("sending to the workers failed, and is tried again: %s", error)
                _direct.pop(client.id, None)
                await asyncio.sleep(0.2)


async def _spread(client: Any, future: Any, n_workers: int) -> None:
    """Copy it to sqrt(n) workers, in a tree: all others fetch it at the same moment, and one alone would be the jam."""
    with contextlib.suppress(Exception):  # it is for speed only
        await asyncio.wait_for(client.replicate([future], n=math.isqrt(n_workers - 1) + 1), _QUIET)


async def _first_worker(client: Any) -> None:
    """Wait until there is one: with a task, because an adaptive cluster starts workers only for those."""
    future = client.submit(os.getpid, key=(f"pyasmghello-{uuid.uuid4().hex}", 0), pure=False)
    try:
        while True:
            try:
                await asyncio.wait_for(future, _QUIET)
                return
            except (asyncio.TimeoutError, TimeoutError):
                _log.warning("waiting for a worker to join the Dask cluster")
            except concurrent.futures.CancelledError:
                return
    finally:
        future.release()


def check_open(client: Any) -> None:
    """Raise :class:`ClosedError` if nothing can come back any more."""
    if client.status in CLOSED:
        raise ClosedError


_direct: dict[str, bool] = {}


async def _is_direct(client: Any, address: str) -> bool:
    """Whether workers can be reached from here; else all goes through the scheduler."""
    if client.direct_to_workers is not None:
        return bool(client.direct_to_workers)
    if client.id not in _direct:
        try:
            await asyncio.wait_for(client.rpc(address).identity(), 5.0)
        except (asyncio.TimeoutError, TimeoutError, OSError):
            _direct[client.id] = False
        else:
            _direct[client.id] = True
    return _direct[client.id]
