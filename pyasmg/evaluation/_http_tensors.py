"""The binary tensor extension of the Open Inference Protocol (KServe v2): tensors to bytes and back.

A message is a JSON header and, right behind it, the tensors' elements: little-endian, row by row, without gaps, in the
order of the header, which says for each tensor how many bytes are its own (``binary_data_size``). The HTTP header
``Inference-Header-Content-Length`` says where the JSON ends.
"""

from __future__ import annotations

import itertools
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
    inputs: Sequence[Tensor],
    outputs: Sequence[str] = (),
    request_id: str = "",
    parameters: Mapping[str, Any] | None = None,
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
    parameters : mapping, optional
        Of the request.

    Returns
    -------
    parts : list of bytes and memoryview
        The body; arrays that need no conversion are not copied.
    headers : dict
        Its HTTP headers.
    """
    described, arrays = _describe(inputs)
    message: dict[str, Any] = {
        "inputs": described,
        "parameters": {"binary_data_output": True, **(parameters or {})},
    }
    if outputs:
        message["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    if request_id:
        message["id"] = request_id
    return _join(message, arrays)


def encode_response(
    message: Mapping[str, Any], outputs: Sequence[Tensor]
) -> tuple[list[bytes | memoryview], dict[str, str]]:
    """Write an inference response with binary outputs; ``message`` is what else it says."""
    described, arrays = _describe(outputs)
    return _join({**message, "outputs": described}, arrays)


def decode_response(
    body: bytes, header_length: str | None, echo: Mapping[str, Any] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Read the outputs of an inference response, binary or JSON, by name.

    Raises
    ------
    GarbledError
        If it is none, or repeats something else than ``echo`` of the request.
    """
    return decode(body, header_length, "outputs", "the answer", echo)[1]


def decode(
    body: bytes | bytearray, header_length: str | None, key: str, what: str, echo: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read a message with tensors, binary or JSON.

    Parameters
    ----------
    body : bytes or bytearray
        All of it.
    header_length : str or None
        What the HTTP header :data:`HEADER_LENGTH` says, if it is there.
    key : "inputs" or "outputs"
        Where the tensors are.
    what : str
        What the message is, for errors.
    echo : mapping, optional
        What the message may repeat of an earlier one.

    Returns
    -------
    message : dict
        The JSON.
    tensors : dict of ndarray
        By name; views of the body where they came in binary.

    Raises
    ------
    GarbledError
        If it cannot be read, or repeats something else than ``echo``.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) < 19):
            raise GarbledError(f"{HEADER_LENGTH} must be a number of bytes; got {brief(header_length)}")
        length = int(header_length)
        if length > len(body):
            raise GarbledError(f"{HEADER_LENGTH} must be at most the body's {len(body)} bytes; got {length}")
    view = memoryview(body)
    message, rest = parse_json(view[:length], what), view[length:]
    check_echo(message, echo or {})
    tensors = message.get(key)
    if not isinstance(tensors, list):
        raise GarbledError(f"{what} must hold a list `{key}`; got {brief(message)}")
    result: dict[str, npt.NDArray[Any]] = {}
    for tensor in tensors:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise GarbledError(f"each {key[:-1]} must be an object with a name; got {brief(tensor)}")
        array, rest = _read(tensor, key[:-1], rest)
        result[tensor["name"]] = array
    if len(rest):
        raise GarbledError(f"the tensors must fill the body; {len(rest)} bytes are left over")
    return message, result


def _describe(tensors: Sequence[Tensor]) -> tuple[list[dict[str, Any]], list[npt.NDArray[Any]]]:
    """Return what the JSON says about binary tensors, and their elements."""
    arrays = [np.ascontiguousarray(tensor.array, DATATYPES[tensor.datatype]) for tensor in tensors]
    described = [
        {
            "name": tensor.name,
            "shape": list(array.shape),
            "datatype": tensor.datatype,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for tensor, array in zip(tensors, arrays, strict=True)
    ]
    return described, arrays


def _join(
    message: Mapping[str, Any], arrays: Sequence[npt.NDArray[Any]]
) -> tuple[list[bytes | memoryview], dict[str, str]]:
    header = json.dumps(message, separators=(",", ":")).encode()
    parts: list[bytes | memoryview] = [header, *(array.reshape(-1).view(np.uint8).data for array in arrays)]
    return parts, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}


def _read(tensor: dict[str, Any], word: str, rest: memoryview) -> tuple[npt.NDArray[Any], memoryview]:
    """Return one tensor and what is behind it."""
    name = f"{word} {one_line(tensor['name'], 40)}"
    dtype = DATATYPES.get(str(tensor.get("datatype")))
    if dtype is None:
        raise GarbledError(f"{name} must have a numeric datatype; got {brief(tensor.get('datatype'))}")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise GarbledError(f"{name} must have a shape of whole numbers; got {brief(shape)}")
    count = math.prod(shape)
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return _read_json(name, tensor.get("data"), dtype, shape, count), rest
    if type(size) is not int or size != count * dtype.itemsize or size > len(rest):
        raise GarbledError(
            f"{name} of shape {shape} must have {count * dtype.itemsize} bytes; "
            f"got binary_data_size {brief(size)} and {len(rest)} bytes"
        )
    return np.frombuffer(rest[:size], dtype).reshape(shape), rest[size:]


def _read_json(name: str, data: Any, dtype: np.dtype[Any], shape: list[int], count: int) -> npt.NDArray[Any]:
    try:
        # Flat first: numpy would make every element as long as the longest text in it, however many there are.
        array = np.asarray(_flat(data, shape, count))
        if array.dtype.kind not in "fiub":
            raise ValueError(f"got elements of type {array.dtype}")
        with np.errstate(over="ignore", invalid="ignore"):
            result = array.astype(dtype).reshape(shape)
        if dtype.kind in "iub" and not np.array_equal(result.ravel(), array):
            raise ValueError(f"not all of them are of type {dtype}")
        return result
    except (ValueError, OverflowError) as error:
        text = one_line(str(error), 80)
        raise GarbledError(f"{name} of shape {shape} must have {count} numbers as data ({text})") from None


def _flat(data: Any, shape: list[int], count: int) -> list[float]:
    """Return the numbers of a list, or of lists nested as the shape says, row by row."""
    numbers = data if isinstance(data, list) else [data]
    if len(shape) > 1 and any(isinstance(item, list) for item in numbers):
        for n in shape[1:]:
            for item in numbers:
                if not isinstance(item, list) or len(item) != n:
                    raise ValueError(f"got {brief(item)} for {n} of them")
            numbers = list(itertools.chain.from_iterable(numbers))
    for item in numbers:
        if not isinstance(item, (bool, int, float)):
            raise ValueError(f"got {brief(item)}")
    if len(numbers) != count:
        raise ValueError(f"got {len(numbers)} elements")
    return numbers
