"""What the protocols over HTTP have in common: rows go in, rows come out."""

from __future__ import annotations

import json
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._base import FloatArray, Job
from ._http_text import one_line


class GarbledError(Exception):
    """The server's answer cannot be understood; the message says what was expected and what came."""


class UnusableError(Exception):
    """The question cannot be asked, now or later, because it does not fit the model; ``fatal``: no other one does."""

    def __init__(self, error: str, *, fatal: bool = True) -> None:
        super().__init__(error)
        self.fatal = fatal


class Row(NamedTuple):
    """The answer for one candidate: values, or an error."""

    values: FloatArray | None
    error: str = ""
    cost: float | None = None


class Message(NamedTuple):
    """A request's body, in pieces that are not copied together, and the headers that describe it.

    ``echo`` is what the answer may repeat of it. An answer that repeats something else belongs to another request: it
    was left over in the connection by a server that answers twice.
    """

    url: str
    parts: Sequence[bytes | memoryview]
    headers: dict[str, str]
    echo: dict[str, Any]


#: ``get(url)`` returns the body of an answer with status 200 or raises; given to ``prepare``.
Get = Callable[[str], Coroutine[Any, Any, bytes]]


class Protocol(ABC):
    """How candidates are written into requests and values read from answers."""

    #: How many rows the server takes, as far as it has said so.
    limit: int | None = None

    async def prepare(self, get: Get) -> None:
        """Ask the server what it must be asked before the first evaluation; most need nothing."""
        return

    @abstractmethod
    def pack(self, X: npt.NDArray[Any]) -> Any:
        """Turn candidates of shape (n, d) into what :meth:`encode` takes slices of; runs in the asker's thread."""

    @abstractmethod
    def encode(self, rows: Any, generation: int, jobs: Sequence[Job]) -> Message:
        """Write a request for a slice of what :meth:`pack` returned; raises :class:`UnusableError`."""

    @abstractmethod
    def decode(self, headers: Mapping[str, str], body: bytes, n_rows: int, echo: Mapping[str, Any]) -> list[Row]:
        """Read exactly ``n_rows`` rows from an answer, or raise :class:`GarbledError`."""


def parse_json(body: bytes | bytearray | memoryview, what: str = "the answer") -> dict[str, Any]:
    """Return a JSON object from somebody who is not to be trusted; ``what`` it is, for errors."""
    try:
        answer = json.loads(bytes(body), parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise GarbledError(f"{what} must be JSON; got {quoted(body)} ({one_line(str(error), 80)})") from None
    if not isinstance(answer, dict):
        raise GarbledError(f"{what} must be a JSON object; got {quoted(body)}")
    return answer


def check_echo(answer: Mapping[str, Any], echo: Mapping[str, Any]) -> None:
    """Raise :class:`GarbledError` if an answer says that it belongs to another request."""
    for key, value in echo.items():
        if key in answer and answer[key] != value:
            raise GarbledError(f"the answer must belong to {key} {brief(value)}; got {brief(answer[key])}")


def quoted(body: bytes | bytearray | memoryview) -> str:
    """Return the beginning of a body for an error message."""
    if not len(body):
        return "an empty body"
    return repr(one_line(bytes(body[:800]).decode("utf-8", "replace"), 120))


def brief(value: Any) -> str:
    """Return a short description of a value that came in JSON, however large or deep it is."""
    return one_line(reprlib.repr(value), 80)


def is_number(value: Any) -> bool:
    """Say whether a value from JSON is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def good_row(values: FloatArray, cost: float | None = None) -> Row:
    """Return a row's values, or what is wrong with them."""
    if np.isfinite(values).all():
        return Row(values, cost=cost)
    return Row(None, f"the server returned values that are not finite: {[float(v) for v in values[:8]]}", cost)


def _integer(digits: str) -> int | float:
    # Converting a million digits to int takes minutes on some Pythons; as float it is infinite at once.
    return int(digits) if len(digits) <= 18 else float(digits)
