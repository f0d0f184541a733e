"""What a prompt server is asked and answers, as one of the protocols of :class:`pyasmg.evaluation.HTTP`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..evaluation._base import Job
from ..evaluation._http_kserve import _below
from ..evaluation._http_protocol import (
    GarbledError,
    Get,
    Message,
    Protocol,
    Row,
    UnusableError,
    brief,
    good_row,
    is_number,
    parse_json,
)
from ..evaluation._http_tensors import HEADER_LENGTH, Tensor, decode_response, encode_request
from ._questions import images
from .projection import Projection

_numbers = itertools.count()
_STATUS = {1: "the prompt is not finite", 2: "the evaluation failed"}


class Description(NamedTuple):
    """What a prompt server says of itself; the attributes are those of :class:`pyasmg.clip.PromptTask`.

    ``projection`` is (d, seed) of the server's own, or None.
    """

    task_names: tuple[str, ...]
    n_ctx: int
    width: int
    token_embedding_std: float
    max_batch: int
    batch_size: int
    n_train: tuple[int, ...]
    projection: tuple[int, int] | None = None


def read_description(body: bytes) -> Description:
    """Read a model's metadata.

    Raises
    ------
    GarbledError
        It is not that of a prompt server.
    """
    parameters = parse_json(body, "the model's metadata").get("parameters")
    if not isinstance(parameters, dict):
        raise GarbledError("the model's metadata must be those of a prompt server, with parameters")
    names, counts = parameters.get("task_names"), parameters.get("n_train")
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise GarbledError(f"the model's metadata must hold `task_names`, texts; got {brief(names)}")
    if not (isinstance(counts, list) and len(counts) == len(names) and all(type(n) is int for n in counts)):
        raise GarbledError(f"the model's metadata must hold `n_train`, {len(names)} integers; got {brief(counts)}")
    std: Any = parameters.get("token_embedding_std")
    if not (is_number(std) and 0 < std < float("inf")):
        raise GarbledError(f"the model's metadata must hold `token_embedding_std` > 0; got {brief(std)}")
    own, pair = parameters.get("projection"), None
    if own is not None:
        d, seed = (own.get("d"), own.get("seed")) if isinstance(own, dict) else (None, None)
        if type(d) is int and type(seed) is int:
            pair = d, seed
        else:
            raise GarbledError(f"`projection` in the model's metadata must hold d and seed; got {brief(own)}")
    return Description(
        task_names=tuple(names),
        n_ctx=_positive(parameters, "n_ctx"),
        width=_positive(parameters, "width"),
        token_embedding_std=float(std),
        max_batch=_positive(parameters, "max_batch"),
        batch_size=_positive(parameters, "batch_size"),
        n_train=tuple(counts),
        projection=pair,
    )


class PromptProtocol(Protocol):
    """Asks for the losses of the prompts p0 + A v on the server, whose start p0 is its own.

    Parameters
    ----------
    url : str
        Of the model.
    description : Description
        What the server said when the run was planned; it must still say so.
    projection : Projection or None
        A; None where candidates are offsets themselves, one row of n_ctx * width numbers each.
    send_v : bool
        Send v and let the server compute A v, which gives the same bits.
    """

    def __init__(self, url: str, description: Description, projection: Projection | None, send_v: bool) -> None:
        self._url = url
        self._description = description
        self._projection = projection
        self._send_v = send_v
        self.limit = description.max_batch

    async def prepare(self, get: Get) -> None:
        """Make sure that the server is still the one that the run was planned for."""
        now = read_description(await get(self._url))
        for name, before in self._description._asdict().items():
            if getattr(now, name) != before:
                raise UnusableError(f"the server's {name} is {getattr(now, name)}; it was {before}")

    def pack(self, X: npt.NDArray[Any]) -> Any:
        """Turn candidates into prompts, or into what the server makes prompts of."""
        with np.errstate(over="ignore"):
            if self._send_v:
                return X.astype(np.float32)
            if self._projection is not None:
                return self._projection.apply(as_sent(X))
            return X.astype(np.float32).reshape(len(X), self._description.n_ctx, self._description.width)

    def encode(self, rows: Any, generation: int, jobs: Sequence[Job]) -> Message:
        """Write rows that share their images as one request."""
        about = images(generation, jobs[0].candidate)
        if any(images(generation, job.candidate) != about for job in jobs):
            raise UnusableError("the rows of a request must be about the same images")
        inputs = [Tensor("v" if self._send_v else "prompt", "FP32", rows)]
        parameters: dict[str, Any] = {"origin": "start"}
        if about.split is None:
            inputs.append(Tensor("batch_id", "INT64", np.full((len(jobs), 1), about.batch_id)))
        else:
            parameters["split"] = about.split
        request_id = f"{generation}/{jobs[0].candidate}/{next(_numbers)}"
        parts, headers = encode_request(inputs, (), request_id, parameters)
        return Message(_below(self._url, "/infer"), parts, headers, {"id": request_id})

    def decode(self, headers: Mapping[str, str], body: bytes, n_rows: int, echo: Mapping[str, Any]) -> list[Row]:
        """Read the losses, behind them the accuracies if there are any, and the status."""
        outputs = decode_response(body, headers.get(HEADER_LENGTH), echo)
        m = len(self._description.task_names)
        values = [_of_shape(outputs, "loss", (n_rows, m))]
        if "accuracy" in outputs:
            values.append(_of_shape(outputs, "accuracy", (n_rows, m)))
        status = _of_shape(outputs, "status", (n_rows,))
        rows = zip(np.concatenate(values, axis=1).astype(np.float64), status.tolist(), strict=True)
        return [
            good_row(f) if code == 0 else Row(None, f"the server reports status {code}{_words(code)}")
            for f, code in rows
        ]


def as_sent(X: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Round v to what a request holds, whether it is sent or not: A v is then the same everywhere."""
    with np.errstate(over="ignore"):
        return X.astype(np.float32)


def _of_shape(outputs: Mapping[str, npt.NDArray[Any]], name: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    array = outputs.get(name)
    if array is None or array.shape != shape:
        raise GarbledError(
            f"the answer must hold `{name}` of shape {shape}; got {None if array is None else array.shape}"
        )
    return array


def _words(code: int) -> str:
    return f": {_STATUS[code]}" if code in _STATUS else ""


def _positive(parameters: Mapping[str, Any], name: str) -> int:
    value = parameters.get(name)
    if type(value) is not int or value < 1:
        raise GarbledError(f"the model's metadata must hold `{name}`, an integer >= 1; got {brief(value)}")
    return value
