"""Requests and answers of the Open Inference Protocol (KServe v2) for a prompt model, binary or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluation._http_protocol import GarbledError, brief
from ..evaluation._http_tensors import Tensor, decode, encode_response
from ._server_model import MAX_BATCH_ID, SPLITS, Answer, PromptModel, Question

_OUTPUTS = {"loss": "FP32", "accuracy": "FP32", "status": "UINT8"}
_LONGEST_ID = 200
_ORIGINS = ("zero", "start")


class RefusedError(Exception):
    """A request that is not answered: the status to send, and what was expected and what came."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = dict(headers or {})


class Wanted:
    """Which outputs are wanted, and how.

    Attributes
    ----------
    names : tuple of str
        In the order of the answer.
    binary : bool
        Whether the answer comes as binary tensors.
    """

    def __init__(self, message: Mapping[str, Any], has_accuracy: bool) -> None:
        usual = ("loss", "accuracy", "status") if has_accuracy else ("loss", "status")
        self.binary = _flag(_parameters(message, "the request"), "binary_data_output")
        outputs = message.get("outputs")
        if outputs is not None and not isinstance(outputs, list):
            raise RefusedError(400, f"`outputs` must be a list; got {brief(outputs)}")
        names: list[str] = []
        for output in outputs or []:
            name: Any = output.get("name") if isinstance(output, dict) else None
            if name not in usual or name in names:
                raise RefusedError(400, f"each output must be one of {usual}, once; got {brief(output)}")
            names.append(name)
            self.binary |= _flag(_parameters(output, f"output {name}"), "binary_data")
        self.names = tuple(names) or usual


def read_question(body: bytes | bytearray, header_length: str | None, model: PromptModel) -> tuple[Question, Wanted]:
    """Read and check a request.

    Parameters
    ----------
    body : bytes or bytearray
        All of it.
    header_length : str or None
        The HTTP header ``Inference-Header-Content-Length``.
    model : PromptModel
        What is asked.

    Raises
    ------
    RefusedError
        With 400, or 413 for more rows than the model takes.
    """
    try:
        message, tensors = decode(body, header_length, "inputs", "the request")
    except GarbledError as error:
        raise RefusedError(400, str(error)) from None
    names = [tensor["name"] for tensor in message["inputs"]]
    allowed = [tensor["name"] for tensor in model.metadata()["inputs"]]
    for name in names:
        if name not in allowed or names.count(name) > 1:
            raise RefusedError(400, f"the inputs must be among {allowed}, each once; got {brief(names)}")
    request_id = message.get("id", "")
    if not isinstance(request_id, str) or len(request_id) > _LONGEST_ID:
        raise RefusedError(400, f"`id` must be a text of at most {_LONGEST_ID} characters; got {brief(request_id)}")
    parameters = _parameters(message, "the request")
    prompts = _prompts(tensors, parameters, model)
    split = parameters.get("split")
    if split is not None and split not in SPLITS:
        raise RefusedError(400, f"parameter `split` must be one of {SPLITS}; got {brief(split)}")
    batch_id = _batch_id(tensors.get("batch_id"), len(prompts), split)
    return Question(prompts, batch_id, split, request_id), Wanted(message, split is not None)


def write_answer(answer: Answer, wanted: Wanted, model: PromptModel, request_id: str) -> tuple[bytes, dict[str, str]]:
    """Write the answer's body and HTTP headers; in JSON, a number that is not finite becomes null."""
    arrays: dict[str, Any] = {"loss": answer.losses, "accuracy": answer.accuracies, "status": answer.status}
    tensors = [Tensor(name, _OUTPUTS[name], arrays[name]) for name in wanted.names]
    message: dict[str, Any] = {"model_name": model.name, "model_version": "1"}
    if request_id:
        message["id"] = request_id
    if wanted.binary:
        parts, headers = encode_response(message, tensors)
        return b"".join(parts), headers
    message["outputs"] = [
        {"name": name, "shape": list(array.shape), "datatype": datatype, "data": _plain(array)}
        for name, datatype, array in tensors
    ]
    return json.dumps(message, separators=(",", ":")).encode(), {"Content-Type": "application/json"}


def _prompts(
    tensors: Mapping[str, npt.NDArray[Any]], parameters: Mapping[str, Any], model: PromptModel
) -> npt.NDArray[np.float32]:
    """Return the prompts of a request; they are told apart from offsets by the parameter `origin`."""
    task, projection = model.task, model.projection
    given = [name for name in ("prompt", "v") if name in tensors]
    if len(given) != 1:
        either = "`prompt`" if projection is None else "either `prompt` or `v`"
        raise RefusedError(400, f"the request must have the input {either}; got {given or 'none'}")
    name = given[0]
    shape = (task.n_ctx, task.width) if name == "prompt" or projection is None else (projection.d,)
    rows = tensors[name]
    if rows.dtype != np.float32 or rows.ndim != 1 + len(shape) or rows.shape[1:] != shape or len(rows) == 0:
        wanted = ", ".join(map(str, shape))
        raise RefusedError(400, f"input `{name}` must be FP32 of shape [N, {wanted}]; got {rows.dtype} {rows.shape}")
    if len(rows) > task.max_batch:
        raise RefusedError(413, f"a request may hold at most {task.max_batch} rows; got {len(rows)}")
    origin = parameters.get("origin", "zero" if name == "prompt" else "start")
    if origin not in _ORIGINS:
        raise RefusedError(400, f"parameter `origin` must be one of {_ORIGINS}; got {brief(origin)}")
    if name == "v" and projection is not None:
        rows = projection.apply(rows)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(rows + model.start if origin == "start" else rows, dtype=np.float32)


def _batch_id(array: npt.NDArray[Any] | None, n_rows: int, split: str | None) -> int:
    """Return the one mini-batch of a request."""
    if array is None or split is not None:
        if (array is None) == (split is None):
            raise RefusedError(400, "the request must have either the input `batch_id` or the parameter `split`")
        return -1
    if array.dtype != np.int64 or array.shape not in ((n_rows, 1), (n_rows,)):
        raise RefusedError(
            400, f"input `batch_id` must be INT64 of shape [{n_rows}, 1]; got {array.dtype} {array.shape}"
        )
    low, high = int(array.min()), int(array.max())
    if low != high:
        raise RefusedError(400, f"all rows of a request must have the same `batch_id`; got {low} and {high}")
    if not -1 <= low <= MAX_BATCH_ID:
        raise RefusedError(400, f"input `batch_id` must lie in -1 .. {MAX_BATCH_ID}; got {low}")
    return low


def _parameters(owner: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    parameters = owner.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise RefusedError(400, f"the parameters of {what} must be an object; got {brief(parameters)}")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise RefusedError(400, f"parameter `{name}` must be true or false; got {brief(value)}")
    return value


def _plain(array: npt.NDArray[Any]) -> list[Any]:
    values = array.ravel()
    if np.isfinite(values).all():
        return list(values.tolist())
    return [value if np.isfinite(value) else None for value in values.tolist()]
