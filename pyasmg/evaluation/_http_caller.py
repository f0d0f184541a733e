"""What happens to a call in the event loop: requests, one or several, and the outcome of each candidate."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Sequence
from typing import Any

from ._base import Counters, Job, Outcome
from ._http_auth import Auth
from ._http_exchange import Body, NoReplyError, exchange
from ._http_mailbox import Mailbox
from ._http_protocol import GarbledError, Protocol, UnusableError
from ._http_session import Session
from ._http_status import CallError, TooLargeError, check_status
from ._http_text import hide, one_line, public_url

_ANSWER_BYTES, _ROW_BYTES, _LARGEST_ANSWER = 2**20, 2**16, 2**26  # an answer may have: the first + rows * second
_REPEATS_SECRET = "the answer's text is not shown: it repeats the secret that was sent"


class Caller:
    """Asks one server by one protocol.

    Parameters
    ----------
    protocol : Protocol
        Writes requests and reads answers.
    url : str
        For messages.
    auth : Auth
        Goes with each request.
    timeout : float
        Seconds for one request.
    batch_size : int or None
        Candidates per request, as far as the user has set it.
    counters : Counters
        Of the source.

    Attributes
    ----------
    refused : int
        Candidates in requests that the server refused before it evaluated anything.
    """

    def __init__(
        self,
        protocol: Protocol,
        *,
        url: str,
        auth: Auth,
        timeout: float,
        batch_size: int | None,
        counters: Counters,
    ) -> None:
        self.protocol = protocol
        self.refused = 0
        self._url = url
        self._auth = auth
        self._timeout = timeout
        self._batch_size = batch_size
        self._server_limit: int | None = None  # learnt from 413
        self._counters = counters
        self._prepared = False

    def limit(self, n_jobs: int) -> int:
        """Return how many of ``n_jobs`` candidates a request may hold, as far as is known."""
        limits = (self._batch_size, self.protocol.limit, self._server_limit)
        return min([n_jobs, *(limit for limit in limits if limit is not None)])

    async def run(self, session: Session, mailbox: Mailbox, generation: int, jobs: list[Job], rows: Any) -> None:
        """Answer every job exactly once, unless cancelled."""
        begin = 0
        try:
            async with session.slots:
                await self._prepare(session)
                # asyncio.wait_for can swallow a cancellation before Python 3.12: the mailbox tells.
                while begin < len(jobs) and not mailbox.is_shut:
                    rest = len(jobs) - begin
                    n_pieces = -(-rest // self.limit(rest))
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
            line = hide(f"{type(error).__name__}: {error}", self._auth.secrets())
            trace = hide(traceback.format_exc(), self._auth.secrets())
            mailbox.deliver([Outcome(job, error=line, traceback=trace, retry=False) for job in jobs[begin:]])

    async def _prepare(self, session: Session) -> None:
        """Do what the protocol needs once; calls that come meanwhile wait for the same attempt."""
        if self._prepared:
            return
        if session.preparation is None or session.preparation.done():  # done: failed, or cancelled
            session.preparation = session.spawn(self.protocol.prepare(lambda url: self._get(session, url)))
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
            auth, secrets = self._authorization(), self._auth.secrets()
            reply = await exchange(
                session.client, url, headers=auth, body=None, timeout=self._timeout, limit=_ANSWER_BYTES
            )
            check_status(reply, auth_env=self._auth.variable, leaks=_leaks(reply.body, secrets))
        except (NoReplyError, CallError) as error:
            wait = getattr(error, "retry_after", 0.0)
            session.gate.pause(wait)
            line = f"the model's metadata at {public_url(url)}: {hide(str(error), self._auth.secrets())}"
            retry, fatal = getattr(error, "retry", True), getattr(error, "fatal", False)
            raise CallError(line, "unsent", retry=retry, retry_after=wait, fatal=fatal) from None
        if _leaks(reply.body, secrets):
            raise CallError(f"the model's metadata: {_REPEATS_SECRET}", "unsent", retry=False)
        return reply.body

    async def _ask(self, session: Session, generation: int, jobs: list[Job], rows: Any) -> list[Outcome]:
        """Send one request and return what came of each row; raise CallError where all rows share their fate."""
        n_rows = len(jobs)
        try:
            message = self.protocol.encode(rows, generation, jobs)
        except UnusableError as error:
            raise CallError(str(error), "unsent", retry=False, fatal=error.fatal) from None
        await session.gate.enter()
        auth, secrets = self._authorization(), self._auth.secrets()
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
            where = "" if body.begun else f"cannot reach {public_url(self._url)}: "
            line = where + one_line(hide(str(error), secrets))
            raise CallError(line, "unknown" if body.ended else "unsent", alone=alone and n_rows > 1) from None
        finally:
            self._counters.requests += body.begun
        leaks = _leaks(reply.body, secrets)
        try:
            check_status(reply, auth_env=self._auth.variable, leaks=leaks)
            answers = self.protocol.decode(reply.headers, reply.body, n_rows, message.echo)
        except CallError as failed:
            session.gate.pause(failed.retry_after)
            failed.alone = failed.alone and n_rows > 1
            raise
        except GarbledError as error:
            line = _REPEATS_SECRET if leaks else str(error)
            raise CallError(line, "unknown", alone=n_rows > 1) from None
        self._counters.evaluations += n_rows
        seconds = time.monotonic() - began
        return [
            Outcome(
                job,
                values=answer.values,
                error=_REPEATS_SECRET if answer.error and leaks else hide(answer.error, secrets),
                seconds=seconds,
                cost=answer.cost,
                alone=answer.values is None and n_rows > 1,
            )
            for job, answer in zip(jobs, answers, strict=True)
        ]

    def _failed(self, jobs: list[Job], failed: CallError) -> list[Outcome]:
        """Count candidates whose call failed and return their outcomes."""
        self._counters.unknown += len(jobs) * (failed.fate == "unknown")
        self.refused += len(jobs) * (failed.fate == "refused")
        line = hide(str(failed), self._auth.secrets())
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

    def _authorization(self) -> dict[str, str]:
        """Return the header to send."""
        try:
            return self._auth.header()
        except ValueError as error:
            raise CallError(str(error), "unsent", retry=False, fatal=True) from None


def _leaks(body: bytes, secrets: Sequence[str]) -> bool:
    return any(secret.encode("utf-8", "surrogateescape") in body for secret in secrets)
