"""Numbers that a balancer learns beside the model: by itself, or in the user's optimizer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ._state import Adam
from ._types import FloatArray


def read(parameters: list[Tensor]) -> FloatArray:
    """Return the values as one vector in float64 on the host."""
    values = [parameter.detach().double().cpu().numpy().reshape(-1) for parameter in parameters]
    return values[0].copy() if len(values) == 1 else np.concatenate(values)


def descend(parameters: list[Tensor], gradient: FloatArray, adam: Adam | None) -> None:
    """Let the parameters take a step along a gradient, or hand it to the user's optimizer.

    Parameters
    ----------
    parameters : list of Tensor
        What is learned.
    gradient : ndarray
        Its gradient, as one vector.
    adam : Adam or None
        Takes the step; None adds the gradient to ``.grad`` instead.
    """
    found = gradient if adam is None else adam.step(read(parameters), gradient)
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
