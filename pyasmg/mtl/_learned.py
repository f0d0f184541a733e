"""Numbers that a balancer learns beside the model: by itself, or in the user's optimizer."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ._state import Adam
from ._types import FloatArray


class LearnedVector:
    """The numbers of a parameter, read and moved where they lie.

    The view of its memory is kept from one step to the next, since to make it takes as long as all the rest, and made
    anew once the parameter lies elsewhere: as long as the view lives, nothing else can lie there. Copies start without.
    """

    def __init__(self) -> None:
        self._address = 0
        self._view: FloatArray = np.zeros(0)

    def __reduce__(self) -> tuple[type[LearnedVector], tuple[()]]:
        return LearnedVector, ()

    def read(self, tensor: Tensor) -> FloatArray:
        """Return the values in float64 on the host; to be left as they are."""
        address = tensor.data_ptr()
        if address != self._address:
            usual = tensor.ndim == 1 and tensor.dtype is torch.float64 and tensor.is_contiguous()
            if not usual or tensor.device.type != "cpu":
                return tensor.detach().double().cpu().numpy().reshape(-1)
            self._address, self._view = address, tensor.detach().numpy()
        return self._view

    def descend(self, parameter: Tensor, gradient: FloatArray, adam: Adam | None) -> None:
        """Let the parameter take a step along a gradient, or hand it to the user's optimizer; see :func:`descend`."""
        if adam is not None and parameter.data_ptr() == self._address:
            adam.step(self._view, gradient)
        else:
            descend([parameter], gradient, adam)


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
    if adam is not None:
        moved = np.concatenate([parameter.detach().double().cpu().numpy().reshape(-1) for parameter in parameters])
        adam.step(moved, gradient)
    offset = 0
    for parameter in parameters:
        part = slice(offset, offset + parameter.numel())
        offset += parameter.numel()
        if adam is not None:
            parameter.detach().copy_(torch.from_numpy(moved[part]).view_as(parameter))
            continue
        piece = torch.from_numpy(gradient[part]).view_as(parameter)
        if parameter.grad is None:
            parameter.grad = piece.to(parameter, copy=True)
        else:
            with torch.no_grad():
                parameter.grad = parameter.grad + piece.to(parameter)
