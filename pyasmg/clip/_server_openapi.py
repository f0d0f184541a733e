"""What the server's OpenAPI document says of bodies and answers."""

from __future__ import annotations

from typing import Any

from ..evaluation._http_tensors import DATATYPES, HEADER_LENGTH
from ._server_model import MAX_BATCH_ID, SPLITS

_NAME: dict[str, Any] = {"type": "string", "maxLength": 200}
_SHAPE: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 8}
_NUMBERS: dict[str, Any] = {
    "type": "array",
    "description": "The elements row by row, flat or nested as the shape says; an answer has null where a row failed.",
    "items": {},
}


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


_TENSOR = _object(
    ["name", "datatype", "shape"],
    name=_NAME,
    datatype={"type": "string", "enum": list(DATATYPES)},
    shape=_SHAPE,
    data=_NUMBERS,
    parameters=_object([], binary_data_size={"type": "integer", "minimum": 0}),
)
_REQUEST = _object(
    ["inputs"],
    id=_NAME,
    inputs={
        "type": "array",
        "description": f"`prompt` FP32 [N, n_ctx, width] or, where the server has a projection, `v` FP32 [N, d]; and, "
        f"unless a split is asked for, `batch_id` INT64 [N, 1]: one number in -1 .. {MAX_BATCH_ID} for all rows, -1 "
        "for the whole training split.",
        "items": _TENSOR,
    },
    outputs={
        "type": "array",
        "items": _object(
            ["name"],
            name={"type": "string", "enum": ["loss", "accuracy", "status"]},
            parameters=_object([], binary_data={"type": "boolean"}),
        ),
    },
    parameters=_object(
        [],
        split={"type": "string", "enum": list(SPLITS), "description": "A whole split, with accuracies."},
        origin={
            "type": "string",
            "enum": ["zero", "start"],
            "description": "What is added to `prompt`: nothing, or the server's start.",
        },
        binary_data_output={"type": "boolean"},
    ),
)
_ANSWER = _object(
    ["model_name", "outputs"],
    id=_NAME,
    model_name=_NAME,
    model_version=_NAME,
    outputs={"type": "array", "items": _TENSOR},
)
_BYTES: dict[str, Any] = {"type": "string", "format": "binary"}
_DESCRIBED = {"type": "array", "items": _object(["name", "datatype", "shape"])}
_METADATA = _object(
    ["name", "inputs", "outputs"], name=_NAME, inputs=_DESCRIBED, outputs=_DESCRIBED, parameters=_object([])
)
_ERROR = _object(["error"], error={"type": "string"})
_ERRORS = {
    400: "The request cannot be understood.",
    401: "The API key is missing or wrong.",
    404: "There is no such model.",
    408: "The body did not come in time.",
    413: "The body or the number of rows is too large.",
    415: "The body is compressed.",
    503: "Too many requests are waiting; see Retry-After.",
}


def described(description: str, schema: dict[str, Any], *errors: int, binary: bool = False) -> dict[int | str, Any]:
    """Return the `responses` of a route."""
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if binary:
        content["application/octet-stream"] = {"schema": _BYTES}
    problem = {"application/json": {"schema": _ERROR}}
    return {
        200: {"description": description, "content": content},
        **{status: {"description": _ERRORS[status], "content": problem} for status in errors},
    }


LIVE = described("It is.", _object([]))
METADATA = described("Names, shapes and the task's numbers.", _METADATA, 401, 404)
STATS = described("How many requests and prompts were answered.", _object([]), 401, 404)
INFER = described("Losses, one row per prompt.", _ANSWER, 400, 401, 404, 408, 413, 415, 503, binary=True)
INFER_EXTRA: dict[str, Any] = {
    "parameters": [
        {
            "name": HEADER_LENGTH,
            "in": "header",
            "required": False,
            "description": "Bytes of JSON before the binary tensors.",
            "schema": {"type": "integer", "minimum": 0},
        }
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _REQUEST}, "application/octet-stream": {"schema": _BYTES}},
    },
}
