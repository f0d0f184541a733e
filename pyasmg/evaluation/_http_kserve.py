"""KServe v2 / Open Inference Protocol over HTTP, with binary tensors: FP32 or FP64 [N, d] in, [N, m] out."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import numpy as np
import numpy.typing as npt

from ._base import Job
from ._http_protocol import GarbledError, Get, Message, Protocol, Row, UnusableError, brief, good_row, parse_json
from ._http_tensors import HEADER_LENGTH, Tensor, decode_response, encode_request
from ._http_text import one_line

_FLOATS = {"FP32": "float32", "FP64": "float64"}
_numbers = itertools.count()
_VALUE_NAMES = ("f", "values", "objectives")  # of the output, where there are several


def is_kserve(url: str) -> bool:
    """Say whether the URL looks like one of this protocol."""
    return "/v2/" in urlsplit(url).path + "/"


def model_url(url: str, model: str | None) -> str:
    """Return the URL of the model from the server's root or any URL of the model."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    found = re.fullmatch(r"(?P<model>.*/v2/models/(?P<name>[^/]+)(/versions/[^/]+)?)(/infer)?", path)
    if found is not None:
        if model is not None and unquote(found["name"]) != model:
            raise ValueError(f"`model` must be that of the URL, {unquote(found['name'])!r}; got {model!r}.")
        path = found["model"]
    elif model:
        path = f"{path.removesuffix('/v2')}/v2/models/{quote(model, safe='')}"
    else:
        raise ValueError("`model` must be given with the KServe protocol, or `url` end in /v2/models/NAME.")
    return urlunsplit(parts._replace(path=path))


class KServe(Protocol):
    """One model of a server.

    Parameters
    ----------
    url : str
        Of the model, see :func:`model_url`.
    dtype : {"float64", "float32"}, optional
        Of the input; default: what the model's metadata says.
    """

    def __init__(self, url: str, dtype: str | None) -> None:
        self._url = url
        self._dtype = dtype
        self._input = Tensor("", "", np.empty(0))
        self._dimension = -1
        self._values: str | None = None
        self._status: str | None = None

    async def prepare(self, get: Get) -> None:
        """Read the model's metadata: names, datatypes, shapes, and how many rows it takes."""
        metadata = parse_json(await get(self._url))
        self._read_input(_tensors(metadata, "inputs"))
        self._values, self._status = _choose(_tensors(metadata, "outputs"))
        limit = _limit(metadata.get("parameters")) or self.limit
        if limit is None:
            # Triton has it in another place; servers without that say 404.
            with contextlib.suppress(Exception):
                limit = _limit(parse_json(await get(_below(self._url, "/config"))))
        self.limit = limit

    def pack(self, X: npt.NDArray[Any]) -> Any:
        """Return X: the datatype is known only after :meth:`prepare`."""
        return X

    def encode(self, rows: npt.NDArray[Any], generation: int, jobs: Sequence[Job]) -> Message:
        """Write the rows as one binary tensor."""
        if self._dimension not in (-1, rows.shape[1]):
            raise UnusableError(f"the model takes {self._dimension} numbers per row; x has {rows.shape[1]}")
        with np.errstate(over="ignore"):
            array = rows.astype(_FLOATS[self._input.datatype], copy=False)
        if not np.isfinite(array).all():
            error = f"x must hold numbers that are finite in {self._input.datatype}, the model's datatype"
            raise UnusableError(error, fatal=False)
        outputs = [name for name in (self._values, self._status) if name is not None]
        request_id = f"{generation}/{jobs[0].candidate}/{next(_numbers)}"
        parts, headers = encode_request([self._input._replace(array=array)], outputs, request_id)
        return Message(_below(self._url, "/infer"), parts, headers, {"id": request_id})

    def decode(self, headers: Mapping[str, str], body: bytes, n_rows: int, echo: Mapping[str, Any]) -> list[Row]:
        """Read the values and the status, if there is one."""
        outputs = decode_response(body, headers.get(HEADER_LENGTH), echo)
        chosen, status_name = self._values, self._status
        if chosen is None:
            try:
                chosen, status_name = _choose(
                    [{"name": n, "datatype": _datatype(a), "shape": list(a.shape)} for n, a in outputs.items()]
                )
            except UnusableError as error:
                raise GarbledError(str(error)) from None
        values = outputs.get(chosen or "")
        if values is None or values.dtype.kind != "f":
            got = ", ".join(one_line(f"{name} of type {array.dtype}", 60) for name, array in list(outputs.items())[:5])
            raise GarbledError(f"the answer must hold a floating-point output; got {got or 'none'}")
        if values.ndim == 1:
            values = values[:, None]
        if values.ndim != 2 or len(values) != n_rows or values.shape[1] == 0:
            raise GarbledError(f"output {one_line(chosen or '', 40)} must have shape ({n_rows}, m); got {values.shape}")
        status = outputs.get(status_name or "", np.zeros(n_rows, np.uint8))
        if status.size != n_rows or status.ndim > 2:
            raise GarbledError(f"output {one_line(status_name or '', 40)} must have {n_rows} rows; got {status.shape}")
        rows = zip(values.astype(np.float64), status.ravel().tolist(), strict=True)
        return [good_row(f) if code == 0 else Row(None, f"the server reports status {code}") for f, code in rows]

    def _read_input(self, inputs: list[dict[str, Any]]) -> None:
        if len(inputs) != 1 or inputs[0]["datatype"] not in _FLOATS:
            got = ", ".join(one_line(f"{i['name']} ({i['datatype']})", 60) for i in inputs[:5])
            raise UnusableError(f"the model must have one input, FP32 or FP64; it has {got or 'none'}")
        name, datatype, shape = inputs[0]["name"], inputs[0]["datatype"], inputs[0]["shape"]
        if self._dtype not in (None, _FLOATS[datatype]):
            raise UnusableError(f"the model's input is {_FLOATS[datatype]}; `dtype` is {self._dtype}")
        if len(shape) != 2:
            raise UnusableError(f"the model's input must have shape [-1, d]; it has {brief(shape)}")
        self._input = Tensor(name, datatype, np.empty(0))
        self._dimension = shape[1] if shape[1] > 0 else -1
        self.limit = shape[0] if shape[0] > 0 else None


def _tensors(metadata: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the description of the inputs or outputs, checked."""
    tensors = metadata.get(key, [])
    if not isinstance(tensors, list):
        raise GarbledError(f"the model's metadata must hold a list of {key}; got {brief(tensors)}")
    for tensor in tensors:
        if (
            not isinstance(tensor, dict)
            or not isinstance(tensor.get("name"), str)
            or not isinstance(tensor.get("datatype"), str)
            or not isinstance(tensor.get("shape"), list)
            or not all(type(n) is int for n in tensor["shape"])
        ):
            raise GarbledError(f"the model's {key} must be given with name, datatype and shape; got {brief(tensor)}")
    return tensors


def _choose(outputs: list[dict[str, Any]]) -> tuple[str | None, str | None]:
    """Return the names of the outputs that hold the values and the status; None for what is not there."""
    if not outputs:
        return None, None
    values = [o["name"] for o in outputs if o["datatype"] in _FLOATS]
    if len(values) > 1:
        values = [name for name in values if name.lower() in _VALUE_NAMES] or values
    if len(values) != 1:
        got = ", ".join(one_line(f"{o['name']} ({o['datatype']})", 60) for o in outputs[:5])
        raise UnusableError(f"the model must have one FP32 or FP64 output, or call one of them f; it has {got}")
    status = [
        o["name"]
        for o in outputs
        if o["datatype"] in ("UINT8", "BOOL") and (len(o["shape"]) == 1 or o["shape"][1:] == [1])
    ]
    if len(status) > 1:
        status = [name for name in status if name.lower() == "status"]
    return values[0], status[0] if status else None


def _limit(parameters: Any) -> int | None:
    if not isinstance(parameters, dict):
        return None
    for key in ("max_batch_size", "max_batch"):
        value = parameters.get(key)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
            value = int(value)
        if type(value) is int and value > 0:
            return value
    return None


def _datatype(array: npt.NDArray[Any]) -> str:
    name: str = array.dtype.name
    return {"float32": "FP32", "float64": "FP64", "uint8": "UINT8"}.get(name, name)


def _below(url: str, suffix: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + suffix))
