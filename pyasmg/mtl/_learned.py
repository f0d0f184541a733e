"""Numbers that a balancer learns beside the model: by itself, or in the user's optimizer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ._state import Adam
from ._types import FloatArray


def read(parameters: list[Tensor]) -> FloatArray:
    """Return the values as one vector in float64 on the host."""
    if len(parameters) == 1 and _is_usual(parameters[0]):
        return np.array(parameters[0].detach().numpy())
    return np.concatenate([parameter.detach().double().cpu().numpy().reshape(-1) for parameter in parameters])


def _is_usual(parameter: Tensor) -> bool:
    """Whether a parameter is a vector in float64 on the host, as balancers make them."""
    return parameter.ndim == 1 and parameter.dtype is torch.float64 and parameter.device.type == "cpu"


def descend(
    parameters: list[Tensor], gradient: FloatArray, adam: Adam | None, values: FloatArray | None = None
) -> None:
    """Let the parameters take a step along a gradient, or hand it to the user's optimizer.

    Parameters
    ----------
    parameters : list of Tensor
        What is learned.
    gradient : ndarray
        Its gradient, as one vector.
    adam : Adam or None
        Takes the step; None adds the gradient to ``.grad`` instead.
    values : ndarray, optional
        What :func:`read` has returned, if it was called before.
    """
    found = gradient if adam is None else adam.step(read(parameters) if values is None else values, gradient)
    if adam is not None and len(parameters) == 1 and _is_usual(parameters[0]):
        parameters[0].detach().copy_(torch.from_numpy(found))
        return
    offset = 0
    for parameter in parameters:
        piece = torch.from_numpy(found[offset : offset + parameter.numel()]).view_as(parameter)
        offset += parameter.numel()
        if adam is not None:
            parameter.detach().copy_(piece)
        elif parameter.grad is None:
            parameter.grad = piece.to(parameter, copy=True)
        else:
            with torch.no_grad():
                parameter.grad = parameter.grad + piece.to(parameter)
