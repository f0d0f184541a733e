"""Objective values from an HTTP endpoint: plain JSON, or KServe v2 / Open Inference Protocol."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .._validate import describe, integer, number
from .._version import __version__
from . import _http_text as text
from ._base import Job, Outcome, Points, Source
from ._http_exchange import Body, NoReplyError, exchange
from ._http_json import PlainJSON
from ._http_kserve import KServe, is_kserve, model_url
from ._http_protocol import GarbledError, Protocol, UnusableError
from ._http_session import Session, abandon, import_httpx
from ._http_status import CallError, TooLargeError, check_status
from ._mailbox import Mailbox

if TYPE_CHECKING:
    pass

_ANSWER_BYTES, _ROW_BYTES, _LARGEST_ANSWER = 2**20, 2**16, 2**26  # an answer may have: the first + rows * second
_REPEATS_SECRET = "the answer's text is not shown: it repeats the secret that was sent"


class HTTP(Source):
    """Asks a server.

    **Plain JSON.** A ``POST`` of ::

        {"x": [[0.1, 0.2], [0.3, 0.4]], "generation": 7, "candidates": [12, 13]}

    is answered, with status 200, by the objective values, one row per row of ``x``, in this order ::

        {"f": [[1.5, 2.0], [1.25, 0.5]]}

    and, if the server likes, by

    - ``"status": [0, 1]``: a number per row; a row whose number is not 0 has failed, whatever ``f`` says;
    - ``"errors": [null, "diverged"]``: a text or null per row; a row with a text has failed for this reason;
    - ``"cost": [0.01, 0.01]``, per row, or one number for the whole request, shared equally by its rows.

    The row of ``f`` of a failed candidate can be anything, null for example. ``candidates`` are rows of ``ask()``, and
    -1 is the final mean: (generation, candidate) names a candidate for ever, so that a server can recognise a
    question that it has answered before. An answer may repeat both; if they are others, it is not believed.

    **KServe v2 / Open Inference Protocol** with the binary tensor extension. The model has one input FP32 or FP64
    ``[N, d]``, one output FP32 or FP64 ``[N, m]`` (if there are more, the one called ``f``) and, if it likes, an output
    UINT8 ``[N]`` or ``[N, 1]``, the status: 0 is good, anything else a failed row. How many rows a request may hold is
    read from the model's metadata (``max_batch_size`` in its parameters, or the first number of the input's shape) or
    from Triton's model configuration.

    **Failures.** 503 and 429 count as refused and cost nothing; all requests wait as long as ``Retry-After`` says. 413
    halves the batches. Other answers of 5xx, lost connections and missed deadlines may have been evaluated: they are
    counted as ``unknown``, charged, and asked again. A refused login, a wrong address and a redirect end the run,
    other 4xx are final for their candidates. A row that is not finite or has a bad status fails alone.

    Parameters
    ----------
    url : str
        Where to ask; for KServe the root of the server or ``.../v2/models/NAME``. User and password in it are sent,
        but never shown. Redirects are not followed.
    protocol : {"auto", "json", "kserve"}
        "auto": KServe if the path holds ``/v2/`` or ``model`` is given.
    model : str, optional
        Its name, for KServe, where ``url`` does not end in it.
    batch_size : int, optional
        Candidates per request at most. Default: what the server takes, spread evenly over ``concurrency``.
    concurrency : int
        Requests at a time.
    rate_limit : float, optional
        Requests per second; they are sent at even distances.
    timeout : float
        Seconds for one request, from connecting to the last byte of the answer.
    auth_env : str, optional
        Name of an environment variable whose value is sent with every request. It is read each time and never kept:
        it is in no name, pickle, store, log or error.
    auth_header, auth_scheme : str
        How it is sent: ``auth_header: auth_scheme VALUE``; an empty scheme sends the bare value.
    headers : mapping, optional
        More headers. They are kept (and pickled): secrets belong into ``auth_env``.
    dtype : {"float64", "float32"}, optional
        Of KServe's input. Default: what the model's metadata says.
    name : str, optional
        What a resumed run is compared with. Default: the URL, without login and without the values of its query.

    Attributes
    ----------
    refused : int
        Candidates in requests that the server refused before it evaluated anything; with ``counters``: all candidates
        in complete requests = evaluations + unknown + refused.

    Raises
    ------
    ImportError
        If httpx is missing.
    ValueError, TypeError
        If an option is wrong or the variable ``auth_env`` is not set.
    """

    default_attempts = 5

    def __init__(
        self,
        url: str,
        *,
        protocol: str = "auto",
        model: str | None = None,
        batch_size: int | None = None,
        concurrency: int = 4,
        rate_limit: float | None = None,
        timeout: float = 60.0,
        auth_env: str | None = None,
        auth_header: str = "Authorization",
        auth_scheme: str = "Bearer",
        headers: Mapping[str, str] | None = None,
        dtype: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        import_httpx()
        if auth_env is not None:
            text.read_secret(auth_env)  # an early error where it is missing
        self._set_up(
            {
                "url": url,
                "protocol": protocol,
                "model": model,
                "batch_size": batch_size,
                "concurrency": concurrency,
                "rate_limit": rate_limit,
                "timeout": timeout,
                "auth_env": auth_env,
                "auth_header": auth_header,
                "auth_scheme": auth_scheme,
                "headers": headers,
                "dtype": dtype,
                "name": name,
            }
        )

    def _set_up(self, options: dict[str, Any]) -> None:
        """Check the options and take them over; everything that lives in one process only starts empty."""
        self._options = options
        self._url, self._login = text.split_url(_string("url", options["url"]))
        protocol, model, dtype = options["protocol"], options["model"], options["dtype"]
        if protocol not in ("auto", "json", "kserve"):
            raise ValueError(f'`protocol` must be "auto", "json" or "kserve"; got {describe(protocol)}.')
        if protocol == "auto":
            protocol = "kserve" if model is not None or is_kserve(self._url) else "json"
        if dtype not in (None, "float32", "float64"):
            raise ValueError(f'`dtype` must be "float64" or "float32"; got {describe(dtype)}.')
        if protocol == "json":
            for option in ("model", "dtype"):
                if options[option] is not None:
                    raise ValueError(f"`{option}` belongs to the KServe protocol; got {describe(options[option])}.")
        else:
            self._url = model_url(self._url, None if model is None else _string("model", model))
        self._protocol: Protocol = PlainJSON(self._url) if protocol == "json" else KServe(self._url, dtype)
        self._kind = protocol
        batch_size, rate = options["batch_size"], options["rate_limit"]
        self._batch_size = None if batch_size is None else integer("batch_size", batch_size, 1)
        self.concurrency = integer("concurrency", options["concurrency"], 1)
        self._rate = None if rate is None else number("rate_limit", rate, low=0.0, strict=True)
        self._timeout = number("timeout", options["timeout"], low=0.0, strict=True)
        self._headers = text.check_headers(dict(options["headers"] or {}))
        self._auth_env = options["auth_env"]
        self._auth_header = _string("auth_header", options["auth_header"])
        self._auth_scheme = _string("auth_scheme", options["auth_scheme"])
        text.check_headers({self._auth_header: self._auth_scheme})
        if self._auth_env is not None and self._login is not None:
            raise ValueError("`auth_env` and a user in `url` exclude each other; got both.")
        suffix = f" ({dtype})" if dtype is not None else ""
        self._name = _string("name", options["name"]) if options["name"] else text.public_url(self._url) + suffix
        self.refused = 0
        self._server_limit: int | None = None  # learnt from 413
        self._prepared = False
        self._session: Session | None = None
        self._pid = os.getpid()
        self._mailbox = Mailbox()

    def __repr__(self) -> str:
        return f"HTTP({self._name!r}, protocol={self._kind!r}, concurrency={self.concurrency})"

    def __getstate__(self) -> dict[str, Any]:
        state = {"options": self._options, "counters": replace(self.counters), "failures": list(self.failures)}
        return {**state, "refused": self.refused}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.counters, self.failures = state["counters"], state["failures"]
        self._set_up(state["options"])
        self.refused = state["refused"]

    @property
    def name(self) -> str:
        """The URL, without secrets."""
        return self._name

    @property
    def n_slots(self) -> int:
        """Requests at a time."""
        return self.concurrency

    def batch_size(self, n_jobs: int) -> int:
        """Return how many of ``n_jobs`` candidates one request should hold: all requests about the same."""
        n_jobs = max(n_jobs, 1)
        n_calls = -(-n_jobs // self._limit(n_jobs))
        n_calls = -(-n_calls // self.concurrency) * self.concurrency  # whole rounds
        return -(-n_jobs // min(n_calls, n_jobs))

    def start(self, points: Points, jobs: Sequence[Job]) -> None:
        """Send the candidates, in one request or, if they are too many for the server, in several one by one."""
        jobs = list(jobs)
        if not jobs:
            return
        rows = self._protocol.pack(points.rows(jobs))
        session = self._get_session()
        self._mailbox.expect(len(jobs))
        session.submit(self._run(session, self._mailbox, points.generation, jobs, rows))

    def poll(self, timeout: float | None) -> list[Outcome]:
        """Return outcomes; wait for the first."""
        self._check_process()
        return self._mailbox.take(timeout)

    def cancel(self) -> None:
        """Abort all requests. Who cancels counts what was running as unknown."""
        self._check_process()
        self._mailbox = Mailbox()
        if self._session is not None:
            self._session.cancel_all()

    def close(self) -> None:
        """Abort all requests, close the connections, end the thread."""
        self._check_process()
        self._mailbox = Mailbox()
        if self._session is not None:
            self._session.close()
            self._session = None

    # ---------------------------------------------------------------------------------------- in the asker's thread

    def _limit(self, n_jobs: int) -> int:
        limits = (self._batch_size, self._protocol.limit, self._server_limit)
        return min([n_jobs, *(limit for limit in limits if limit is not None)])

    def _check_process(self) -> None:
        """After a fork: forget threads, sockets and locks of the parent."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._mailbox = Mailbox()
            if self._session is not None:
                abandon(self._session)
                self._session = None

    def _get_session(self) -> Session:
        self._check_process()
        if self._session is None or not self._session.usable:
            headers = {"User-Agent": f"pyasmg/{__version__}", **self._headers}
            self._session = Session(concurrency=self.concurrency, rate=self._rate, headers=headers, login=self._login)
            weakref.finalize(self, self._session.close)
        return self._session

    # --------------------------------------------------------------------------------- in the event loop's thread

    async def _run(self, session: Session, mailbox: Mailbox, generation: int, jobs: list[Job], rows: Any) -> None:
        """Answer every job exactly once, unless cancelled."""
        begin = 0
        try:
            async with session.slots:
                await self._prepare(session)
                # asyncio.wait_for can swallow a cancellation before Python 3.12: the mailbox tells.
                while begin < len(jobs) and mailbox is self._mailbox:
                    rest = len(jobs) - begin
                    n_pieces = -(-rest // self._limit(rest))
                    end = begin + -(-rest // n_pieces)
                    try:
                        outcomes = await self._ask(session, generation, jobs[begin:end], rows[begin:end])
                    except TooLargeError as failed:
                        if end - begin > 1:
                            half = (end - begin) // 2
                            self._server_limit = min(half, self._server_limit or half)  # another may know better
                            self.refused += end - begin
                            continue
                        outcomes = self._failed(jobs[begin:end], failed)
                    except CallError as failed:
                        outcomes = self._failed(jobs[begin:end], failed)
                    begin = end
                    mailbox.deliver(outcomes)
        except CallError as failed:
            mailbox.deliver(self._failed(jobs[begin:], failed))
        except Exception as error:  # a mistake in here must not leave the asker waiting
            line = text.hide(f"{type(error).__name__}: {error}", self._secrets())
            trace = text.hide(traceback.format_exc(), self._secrets())
            mailbox.deliver([Outcome(job, error=line, traceback=trace, retry=False) for job in jobs[begin:]])

    async def _prepare(self, session: Session) -> None:
        """Do what the protocol needs once; calls that come meanwhile wait for the same attempt."""
        if self._prepared:
            return
        if session.preparation is None or session.preparation.done():  # done: failed, or cancelled
            session.preparation = session.spawn(self._protocol.prepare(lambda url: self._get(session, url)))
        task = session.preparation
        try:
            await asyncio.shield(task)
        except UnusableError as error:
            raise CallError(str(error), "unsent", retry=False, fatal=error.fatal) from None
        except GarbledError as error:
            raise CallError(f"the model's metadata: {error}", "unsent") from None
        self._prepared = True

    async def _get(self, session: Session, url: str) -> bytes:
        """Return the body of a GET; its failures cost nothing."""
        try:
            await session.gate.enter()
            auth, secrets = self._authorization()
            reply = await exchange(
                session.client, url, headers=auth, body=None, timeout=self._timeout, limit=_ANSWER_BYTES
            )
            check_status(reply, auth_env=self._auth_env, leaks=_leaks(reply.body, secrets))
        except (NoReplyError, CallError) as error:
            wait = getattr(error, "retry_after", 0.0)
            session.gate.pause(wait)
            line = f"the model's metadata at {text.public_url(url)}: {text.hide(str(error), self._secrets())}"
            retry, fatal = getattr(error, "retry", True), getattr(error, "fatal", False)
            raise CallError(line, "unsent", retry=retry, retry_after=wait, fatal=fatal) from None
        if _leaks(reply.body, secrets):
            raise CallError(f"the model's metadata: {_REPEATS_SECRET}", "unsent", retry=False)
        return reply.body

    async def _ask(self, session: Session, generation: int, jobs: list[Job], rows: Any) -> list[Outcome]:
        """Send one request and return what came of each row; raise CallError where all rows share their fate."""
        n_rows = len(jobs)
        try:
            message = self._protocol.encode(rows, generation, jobs)
        except UnusableError as error:
            raise CallError(str(error), "unsent", retry=False, fatal=error.fatal) from None
        await session.gate.enter()
        auth, secrets = self._authorization()
        body = Body(message.parts)
        limit = min(_ANSWER_BYTES + n_rows * _ROW_BYTES, _LARGEST_ANSWER)
        headers = {**message.headers, **auth}
        began = time.monotonic()
        try:
            reply = await exchange(
                session.client, message.url, headers=headers, body=body, timeout=self._timeout, limit=limit
            )
        except NoReplyError as error:
            # The first time all rows are asked again together; then one by one, lest one of them spoil the others.
            alone = not body.ended or max(job.attempt for job in jobs) > 1
            where = "" if body.begun else f"cannot reach {text.public_url(self._url)}: "
            line = where + text.one_line(text.hide(str(error), secrets))
            raise CallError(line, "unknown" if body.ended else "unsent", alone=alone and n_rows > 1) from None
        finally:
            self.counters.requests += body.begun
        leaks = _leaks(reply.body, secrets)
        try:
            check_status(reply, auth_env=self._auth_env, leaks=leaks)
            answers = self._protocol.decode(reply.headers, reply.body, n_rows, message.echo)
        except CallError as failed:
            session.gate.pause(failed.retry_after)
            failed.alone = failed.alone and n_rows > 1
            raise
        except GarbledError as error:
            line = _REPEATS_SECRET if leaks else str(error)
            raise CallError(line, "unknown", alone=n_rows > 1) from None
        self.counters.evaluations += n_rows
        seconds = time.monotonic() - began
        return [
            Outcome(
                job,
                values=answer.values,
                error=_REPEATS_SECRET if answer.error and leaks else text.hide(answer.error, secrets),
                seconds=seconds,
                cost=answer.cost,
                alone=answer.values is None and n_rows > 1,
            )
            for job, answer in zip(jobs, answers, strict=True)
        ]

    def _failed(self, jobs: list[Job], failed: CallError) -> list[Outcome]:
        """Count candidates whose call failed and return their outcomes."""
        self.counters.unknown += len(jobs) * (failed.fate == "unknown")
        self.refused += len(jobs) * (failed.fate == "refused")
        line = text.hide(str(failed), self._secrets())
        return [
            Outcome(
                job,
                error=line,
                billed=failed.fate == "unknown",
                retry=failed.retry,
                retry_after=failed.retry_after,
                alone=failed.alone,
                fatal=failed.fatal,
            )
            for job in jobs
        ]

    def _authorization(self) -> tuple[dict[str, str], list[str]]:
        """Return the header to send, and all that must not be shown."""
        if self._auth_env is None:
            return {}, self._secrets()
        try:
            secret = text.read_secret(self._auth_env)
        except ValueError as error:
            raise CallError(str(error), "unsent", retry=False, fatal=True) from None
        return {self._auth_header: f"{self._auth_scheme} {secret}".strip()}, self._secrets()

    def _secrets(self) -> list[str]:
        secrets = [*text.login_secrets(self._login), *text.query_secrets(self._url)]
        secrets += text.header_secrets(self._headers)
        if self._auth_env is not None:
            secrets.append(os.environ.get(self._auth_env, "").strip())
        return [secret for secret in secrets if secret]


def _leaks(body: bytes, secrets: Sequence[str]) -> bool:
    return any(secret.encode("utf-8", "surrogateescape") in body for secret in secrets)


def _string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{name}` must be a string; got {type(value).__name__}.")
    return value
