"""Means over the processes of a group, so that each of them takes the same step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ._types import FloatArray


def mean(tensor: Tensor, group: Any) -> Tensor:
    """Replace ``tensor`` by its mean over the processes, in place."""
    if group is not None:
        dist.all_reduce(tensor, group=group)
        tensor /= dist.get_world_size(group)
    return tensor


def mean_array(values: FloatArray, group: Any, device: torch.device) -> FloatArray:
    """Return the mean of a host array over the processes; the bits are the same on each of them."""
    if group is None:
        return values
    result: FloatArray = mean(torch.from_numpy(values.copy()).to(device), group).cpu().numpy()
    return result


def mean_gradients(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor | None], group: Any
) -> Sequence[Tensor | None]:
    """Return the means of the gradients over the processes, by one reduction.

    Zeros stand in for a missing one; sparse ones become dense.
    """
    if group is None or not parameters:
        return gradients
    pairs = zip(parameters, gradients, strict=True)
    flat = mean(torch.cat([_dense(parameter, gradient) for parameter, gradient in pairs]), group)
    return unflatten(flat, parameters)


def _dense(parameter: Tensor, gradient: Tensor | None) -> Tensor:
    """Return a gradient as a vector like its parameter."""
    if gradient is None:
        return parameter.new_zeros(parameter.numel())
    return (gradient.to_dense() if gradient.is_sparse else gradient).to(parameter).reshape(-1)


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut a vector into views of the shapes of ``like``."""
    parts = torch.split(flat, [tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
