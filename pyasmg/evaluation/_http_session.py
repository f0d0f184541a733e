"""A background thread with an event loop and an HTTP client; belongs to the process that made it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ._http_rate_limit import Gate

if TYPE_CHECKING:
    import httpx

_PATIENCE = 10.0  # seconds for cancelled requests to end
_KEEP_ALIVE = 3.0  # seconds; shorter than servers' usual 5, so that a request never meets a closing connection


def import_httpx() -> Any:
    """Return the module httpx, or raise the ImportError that says how to install it."""
    try:
        import httpx
    except ImportError:
        raise ImportError('HTTP objectives need httpx: pip install "pyasmg[http]"') from None
    return httpx


class Session:
    """Runs coroutines in a thread of its own.

    Parameters
    ----------
    concurrency : int
        Connections, and calls that :attr:`slots` lets run at a time.
    rate : float or None
        Requests per second that :attr:`gate` lets through.
    headers : dict
        Sent with every request.
    login : tuple of two str or None
        User and password.
    """

    def __init__(
        self, *, concurrency: int, rate: float | None, headers: dict[str, str], login: tuple[str, str] | None
    ) -> None:
        module = import_httpx()
        self.client: httpx.AsyncClient = module.AsyncClient(
            headers=headers,
            auth=login,
            timeout=None,  # deadlines are for whole requests: see `exchange`
            follow_redirects=False,
            limits=module.Limits(
                max_connections=concurrency, max_keepalive_connections=concurrency, keepalive_expiry=_KEEP_ALIVE
            ),
        )
        self.gate = Gate(rate)
        self.slots = asyncio.Semaphore(concurrency)
        #: The one run of the protocol's preparation that all calls wait for.
        self.preparation: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="pyasmg-http", daemon=True)
        self._thread.start()

    @property
    def usable(self) -> bool:
        """Whether it lives in this process: threads do not survive a fork."""
        return self._pid == os.getpid() and not self._loop.is_closed()

    def submit(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine, which has to take care of its exceptions; for other threads."""
        self._loop.call_soon_threadsafe(self.spawn, coroutine)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a coroutine in the event loop; for those that run in it already."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel_all(self) -> None:
        """Cancel every coroutine and wait until they have ended."""
        if not self.usable or threading.current_thread() is self._thread:
            return
        ended = asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop)
        with contextlib.suppress(concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            ended.result(_PATIENCE)

    def close(self) -> None:
        """Cancel everything, close the connections, end the thread; may be called twice, and from any thread."""
        if not self.usable:
            return
        with contextlib.suppress(RuntimeError):  # closed in the meantime
            self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE)

    async def _cancel_all(self) -> None:
        # Not all tasks there are: those that httpx has made are to be ended by httpx.
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _main(self) -> None:
        loop = self._loop
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(self._cancel_all())
            loop.run_until_complete(self.client.aclose())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(asyncio.sleep(0.0))  # sockets are closed one step after their connections
            loop.close()


_abandoned: list[Session] = []


def abandon(session: Session) -> None:
    """Forget a session of the parent process: its sockets are not to be touched in the child, not even to close."""
    _abandoned.append(session)
