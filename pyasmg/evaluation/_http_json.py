"""Plain JSON over HTTP; the messages are described in the class :class:`~pyasmg.evaluation.http.HTTP`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._base import Job
from ._http_protocol import (
    GarbledError,
    Message,
    Protocol,
    Row,
    brief,
    check_echo,
    good_row,
    is_number,
    parse_json,
    quoted,
)
from ._http_text import one_line


class PlainJSON(Protocol):
    """``{"x": [[...], ...]}`` -> ``{"f": [[...], ...]}``."""

    def __init__(self, url: str) -> None:
        self.url = url

    def pack(self, X: npt.NDArray[Any]) -> list[bytes]:
        """Write each row as JSON; row by row, because the encoder holds the interpreter's lock for a whole call."""
        return [json.dumps(row.tolist(), separators=(",", ":")).encode() for row in X]

    def encode(self, rows: Sequence[bytes], generation: int, jobs: Sequence[Job]) -> Message:
        """Put rows together."""
        echo = {"generation": generation, "candidates": [job.candidate for job in jobs]}
        parts: list[bytes] = [b'{"x":[']
        for i, row in enumerate(rows):
            parts += [b",", row] if i else [row]
        parts.append(b"]," + json.dumps(echo)[1:].encode())
        return Message(self.url, parts, {"Content-Type": "application/json", "Accept": "application/json"}, echo)

    def decode(self, headers: Mapping[str, str], body: bytes, n_rows: int, echo: Mapping[str, Any]) -> list[Row]:
        """Read the rows; what is wrong with one row costs only that row."""
        answer = parse_json(body)
        check_echo(answer, echo)
        f = answer.get("f")
        if not isinstance(f, list) or len(f) != n_rows:
            got = f"{len(f)} rows" if isinstance(f, list) else quoted(body)
            raise GarbledError(f"the answer must hold `f` with {n_rows} rows; got {got}")
        status = answer.get("status")
        if status is None:
            status = [0] * n_rows
        if not isinstance(status, list) or len(status) != n_rows or not all(is_number(s) for s in status):
            raise GarbledError(f"`status` must hold {n_rows} numbers, 0 for good rows; got {brief(status)}")
        errors = answer.get("errors")
        if not isinstance(errors, list) or len(errors) != n_rows:
            errors = [None] * n_rows
        costs = _costs(answer.get("cost"), n_rows)
        return [_row(*row) for row in zip(f, status, errors, costs, strict=True)]


def _row(f: Any, status: float, error: Any, cost: float | None) -> Row:
    text = one_line(error) if isinstance(error, str) else ""
    if text:
        return Row(None, f"the server reports: {text}", cost)
    if status != 0:
        return Row(None, f"the server reports status {status:g} without a reason", cost)
    values = [f] if is_number(f) else f
    if not isinstance(values, list) or not values or not all(is_number(value) for value in values):
        return Row(None, f"each row of `f` must be a list of numbers; got {brief(f)}", cost)
    return good_row(np.array(values, dtype=np.float64), cost)


def _costs(cost: Any, n_rows: int) -> Sequence[float | None]:
    """Return the cost of each row; None, the user's own price, where the server says nothing that makes sense."""
    if is_number(cost) and math.isfinite(cost) and cost >= 0:
        return [cost / n_rows] * n_rows
    if isinstance(cost, list) and len(cost) == n_rows:
        return [float(c) if is_number(c) and math.isfinite(c) and c >= 0 else None for c in cost]
    return [None] * n_rows
