"""The words that a command is spoken to with: one JSON object a line, each way."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._base import FloatArray

_LONGEST_QUOTE = 200  # characters of foreign text in a message
_LONGEST_TEXT = 4000


class ProtocolError(ValueError):
    """A line that is no answer."""


class Answer(NamedTuple):
    """What a child says of one request: values, or why there are none."""

    values: FloatArray | None
    cost: float | None
    error: str = ""
    traceback: str = ""
    retry: bool = True


def request_line(number: int, x: npt.NDArray[Any], generation: int, candidate: int) -> bytes:
    """Return the request; every float in the fewest digits that give it back exactly.

    Raises
    ------
    ValueError
        If x is not finite, which JSON has no word for.
    """
    floats = np.asarray(x, dtype=np.float64)
    if not np.isfinite(floats).all():
        raise ValueError("the candidate is not finite, which JSON cannot express")
    # A list of finite floats is written in JSON as in Python, and `repr` of the whole needs far less memory.
    text = f'{{"id": {number}, "x": {floats.tolist()!r}, "generation": {generation}, "candidate": {candidate}}}\n'
    return text.encode("ascii")


def read_answer(line: bytes, number: int) -> Answer:
    """Read the answer to request ``number``.

    Raises
    ------
    ProtocolError
        If it is none: what was expected, and what came.
    """
    try:
        answer = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):  # neither UTF-8 nor JSON, numbers of 5,000 digits, brackets 100,000 deep
        answer = None
    got = f"got {quote(line)}"
    if not isinstance(answer, dict):
        raise ProtocolError(f'expected a line {{"id": {number}, "f": [...]}}; {got}')
    if not _is_number(answer.get("id")) or answer["id"] != number:
        raise ProtocolError(f'expected the answer to "id": {number}; {got}')
    f, error = answer.get("f"), answer.get("error")
    if (f is None) == (error is None):
        raise ProtocolError(f'expected "f" or else "error" in the answer; {got}')
    cost = answer.get("cost")
    if cost is not None:
        if not _is_number(cost) or not 0 <= cost <= 1e300:
            raise ProtocolError(f'expected "cost" to be a number >= 0; {got}')
        cost = float(cost)
    if error is None:
        return Answer(_values(f, got), cost)
    retry = answer.get("retry")
    if not isinstance(error, str) or not (retry is None or isinstance(retry, bool)):
        raise ProtocolError(f'expected "error" to be a string and "retry" to be true or false; {got}')
    words = one_line(error)
    details = "" if words == error.strip() else printable(error[:_LONGEST_TEXT])
    return Answer(None, cost, words or "the command gave no reason", details, retry is not False)


def _values(f: Any, got: str) -> FloatArray:
    """Return the objective values; whether they are finite and how many they must be is the asker's business."""
    numbers = f if isinstance(f, list) else [f]
    if not numbers or not all(_is_number(value) for value in numbers):
        raise ProtocolError(f'expected "f" to be a list of numbers; {got}')
    try:
        return np.array([float(value) for value in numbers], dtype=np.float64)
    except OverflowError:  # an integer beyond the floats
        return np.array([_float(value) for value in numbers], dtype=np.float64)


def _float(value: float) -> float:
    """Return what the same digits with a decimal point would have given."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def printable(text: str, keep: str = "\n\t") -> str:
    """Escape what a terminal or a database might take for something else: control characters, lone surrogates."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int = _LONGEST_QUOTE, *, end: bool = False) -> str:
    """Return foreign text, or its end, as one line of at most about ``limit`` printable characters."""
    near = text[-8 * limit :] if end else text[: 8 * limit]
    words = printable(" ".join(near.split()), keep="")
    if len(words) <= limit:
        return words
    return f"...{words[-limit:]}" if end else f"{words[:limit]}..."


def quote(text: bytes | str, limit: int = _LONGEST_QUOTE) -> str:
    """Return foreign text in quotes, cut and escaped."""
    if not isinstance(text, str):
        text = text[: 4 * limit].decode("utf-8", "backslashreplace")
    return f"'{one_line(text, limit)}'"
