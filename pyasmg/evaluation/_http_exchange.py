"""One HTTP exchange: a request with a deadline, and an answer that cannot fill the memory."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ._http_text import one_line

if TYPE_CHECKING:
    import httpx

_PIECE = 2**18  # bytes written at a time, so that large bodies are not copied as a whole
_ERROR_BYTES = 2**16  # of an answer that only says what went wrong


@dataclass(frozen=True)
class Reply:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoReplyError(Exception):
    """There is no answer, or it cannot be read; the message says why."""


class Body:
    """A request's body, which knows how much of it has been sent.

    Attributes
    ----------
    begun, ended : bool
        Whether any of it, and all of it, was handed over to be sent. A server cannot evaluate what has not ended.
    """

    def __init__(self, parts: Sequence[bytes | memoryview]) -> None:
        self._parts = parts
        self.size = sum(len(part) for part in parts)
        self.begun = self.ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        pending = bytearray()
        for part in self._parts:
            for i in range(0, len(part), _PIECE):
                pending += part[i : i + _PIECE]
                if len(pending) >= _PIECE:
                    yield bytes(pending)
                    pending.clear()
        if pending:
            yield bytes(pending)
        self.ended = True


async def exchange(
    client: httpx.AsyncClient,
    url: str,
    *,
    headers: Mapping[str, str],
    body: Body | None,
    timeout: float,
    limit: int,
) -> Reply:
    """Send a request (POST with a body, else GET) and read the answer.

    Parameters
    ----------
    client : httpx.AsyncClient
        Follows no redirects.
    url : str
        Where to.
    headers : mapping
        In addition to those of the client.
    body : Body or None
        Tells afterwards how far sending came.
    timeout : float
        Seconds for all of it.
    limit : int
        Bytes of the answer, as sent and unpacked.

    Raises
    ------
    NoReplyError
        For whatever reason.
    """
    try:
        return await asyncio.wait_for(_exchange(client, url, headers, body, limit), timeout)
    except NoReplyError:
        raise
    except (asyncio.TimeoutError, TimeoutError):  # two classes before Python 3.11
        raise NoReplyError(f"no answer within {timeout:g} s") from None
    except Exception as error:
        raise NoReplyError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from None


async def _exchange(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], body: Body | None, limit: int
) -> Reply:
    # Compression gains little on numbers, and a small packed answer can be a huge unpacked one.
    headers = {**headers, "Accept-Encoding": "identity"}
    if body is not None:
        headers["Content-Length"] = str(body.size)
    method = "GET" if body is None else "POST"
    async with client.stream(method, url, headers=headers, content=body) as response:
        good = 200 <= response.status_code < 300
        data = bytearray()
        # The pieces may be single bytes: they are not kept as objects.
        async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > limit and good:
                    raise NoReplyError(f"the answer is longer than {limit} bytes")
                if len(data) > _ERROR_BYTES and not good:
                    break
        encoding = response.headers.get("content-encoding", "").strip().lower()
        return Reply(response.status_code, response.headers, _unpack(bytes(data), encoding, limit, good))


def _unpack(data: bytes, encoding: str, limit: int, good: bool) -> bytes:
    """Undo the compression that was not asked for, up to ``limit`` bytes."""
    if encoding in ("", "identity"):
        return data
    if encoding not in ("gzip", "x-gzip", "deflate"):
        if not good:
            return b""
        raise NoReplyError(f"the answer must not be compressed, or with gzip; got {one_line(repr(encoding), 40)}")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, whichever it is
    try:
        result = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        if not good:
            return b""
        raise NoReplyError(f"the answer's compression is broken ({one_line(str(error), 80)})") from None
    if len(result) > limit and good:
        raise NoReplyError(f"the answer is longer than {limit} bytes once unpacked")
    if not unpacker.eof and good:
        raise NoReplyError("the answer's compression ends too early")
    return result[:limit]
