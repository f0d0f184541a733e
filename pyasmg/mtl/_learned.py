"""Numbers that a balancer learns beside the model: by itself, or in the user's optimizer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ._state import Adam
from ._types import FloatArray


def read(parameters: list[Tensor]) -> FloatArray:
    """Return the values as one vector in float64 on the host."""
    return np.concatenate([parameter.detach().double().cpu().numpy().reshape(-1) for parameter in parameters])


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
    with torch.no_grad():
        for parameter in parameters:
            piece = torch.from_numpy(found[offset : offset + parameter.numel()]).to(parameter).view_as(parameter)
            offset += parameter.numel()
            if adam is not None:
                parameter.copy_(piece)
            else:
                parameter.grad = piece.clone() if parameter.grad is None else parameter.grad + piece
