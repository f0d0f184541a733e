"""The binary tensor extension of the Open Inference Protocol (KServe v2): tensors to bytes and back.

A message is a JSON header and, right behind it, the tensors' elements: little-endian, row by row, without gaps, in the
order of the header, which says for each tensor how many bytes are its own (``binary_data_size``). The HTTP header
``Inference-Header-Content-Length`` says where the JSON ends.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._http_protocol import GarbledError, brief, check_echo, parse_json
from ._http_text import one_line

HEADER_LENGTH = "Inference-Header-Content-Length"

#: Datatypes of the protocol with elements of a fixed size.
DATATYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


class Tensor(NamedTuple):
    """A named array; its elements are converted to ``datatype``."""

    name: str
    datatype: str
    array: npt.NDArray[Any]


def encode_request(
    inputs: Sequence[Tensor], outputs: Sequence[str] = (), request_id: str = ""
) -> tuple[list[bytes | memoryview], dict[str, str]]:
    """Write an inference request.

    Parameters
    ----------
    inputs : sequence of Tensor
        Sent in binary.
    outputs : sequence of str
        Names of the outputs that are wanted, in binary; none means all.
    request_id : str
        Comes back in the answer; empty: none.

    Returns
    -------
    parts : list of bytes and memoryview
        The body; arrays that need no conversion are not copied.
    headers : dict
        Its HTTP headers.
    """
    arrays = [np.ascontiguousarray(tensor.array, DATATYPES[tensor.datatype]) for tensor in inputs]
    message: dict[str, Any] = {
        "inputs": [
            {
                "name": tensor.name,
                "shape": list(array.shape),
                "datatype": tensor.datatype,
                "parameters": {"binary_data_size": array.nbytes},
            }
            for tensor, array in zip(inputs, arrays, strict=True)
        ],
        "parameters": {"binary_data_output": True},
    }
    if outputs:
        message["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    if request_id:
        message["id"] = request_id
    header = json.dumps(message, separators=(",", ":")).encode()
    parts: list[bytes | memoryview] = [header, *(array.reshape(-1).view(np.uint8).data for array in arrays)]
    return parts, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}


def decode_response(
    body: bytes, header_length: str | None, echo: Mapping[str, Any] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Read the outputs of an inference response, binary or JSON, by name.

    Raises
    ------
    GarbledError
        If it is none, or repeats something else than ``echo`` of the request.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 19):
            raise GarbledError(f"{HEADER_LENGTH} must be a number of bytes; got {brief(header_length)}")
        length = int(header_length)
        if length > len(body):
            raise GarbledError(f"{HEADER_LENGTH} must be at most the body's {len(body)} bytes; got {length}")
    view = memoryview(body)
    message, rest = parse_json(view[:length]), view[length:]
    check_echo(message, echo or {})
    outputs = message.get("outputs")
    if not isinstance(outputs, list):
        raise GarbledError(f"the answer must hold a list `outputs`; got {brief(message)}")
    result: dict[str, npt.NDArray[Any]] = {}
    for output in outputs:
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise GarbledError(f"each output must be an object with a name; got {brief(output)}")
        array, rest = _read(output, rest)
        result[output["name"]] = array
    if len(rest):
        raise GarbledError(f"the tensors must fill the body; {len(rest)} bytes are left over")
    return result


def _read(output: dict[str, Any], rest: memoryview) -> tuple[npt.NDArray[Any], memoryview]:
    """Return one output and what is behind it."""
    name = one_line(output["name"], 40)
    dtype = DATATYPES.get(str(output.get("datatype")))
    if dtype is None:
        raise GarbledError(f"output {name} must have a numeric datatype; got {brief(output.get('datatype'))}")
    shape = output.get("shape")
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise GarbledError(f"output {name} must have a shape of whole numbers; got {brief(shape)}")
    count = math.prod(shape)
    parameters = output.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return _read_json(name, output.get("data"), dtype, shape, count), rest
    if type(size) is not int or size != count * dtype.itemsize or size > len(rest):
        raise GarbledError(
            f"output {name} of shape {shape} must have {count * dtype.itemsize} bytes; "
            f"got binary_data_size {brief(size)} and {len(rest)} bytes"
        )
    return np.frombuffer(rest[:size], dtype).reshape(shape), rest[size:]


def _read_json(name: str, data: Any, dtype: np.dtype[Any], shape: list[int], count: int) -> npt.NDArray[Any]:
    try:
        array = np.asarray(data)
        if array.dtype.kind not in "fiub" or array.size != count:
            raise ValueError(f"got {array.size} elements of type {array.dtype}")
        with np.errstate(over="ignore", invalid="ignore"):
            return array.astype(dtype).reshape(shape)
    except (ValueError, OverflowError) as error:
        text = one_line(str(error), 80)
        raise GarbledError(f"output {name} of shape {shape} must have {count} numbers as data ({text})") from None
