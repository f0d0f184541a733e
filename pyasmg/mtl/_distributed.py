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
    """Return the means of the gradients over the processes, by one reduction; zeros stand in for a missing one."""
    if group is None or not parameters:
        return gradients
    pieces = [
        (parameter.new_zeros(parameter.shape) if gradient is None else gradient.to(parameter)).reshape(-1)
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
    flat = mean(torch.cat(pieces), group)
    return unflatten(flat, parameters)


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut a vector into views of the shapes of ``like``."""
    parts = torch.split(flat, [tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]
