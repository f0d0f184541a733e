"""A row of a matrix that follows the gradient of a task."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from .. import _core
from ._gram import host_array, on_core


class Goal(NamedTuple):
    """Where a row goes: by ``rate`` of its way to the gradient times ``factor``, or to one of a given length.

    A zero gradient has no length but 0.
    """

    rate: float
    factor: float = 1.0
    length: float | None = None


def follow(row: Tensor, gradient: Tensor, goal: Goal) -> float | Tensor:
    """Move a row, and return the norm of the gradient; on a device without waiting for it.

    The row stays where the gradient is not finite, or too long for the type of its numbers: an infinite norm.
    """
    if on_core(row):
        return _core.running_average(host_array(gradient), *goal, row.numpy())
    norm = torch.linalg.vector_norm(gradient, dtype=torch.float64)
    factor = torch.full_like(norm, goal.factor)
    if goal.length is not None:
        factor = torch.where(norm > 0.0, goal.length / norm, 0.0)
    is_in_range = norm * factor.abs() <= torch.finfo(row.dtype).max  # false for NaN
    end = gradient if goal.length is None and goal.factor == 1.0 else (gradient * factor).to(row)
    row.lerp_(torch.where(is_in_range, end, row), goal.rate)
    return torch.where(is_in_range, norm, torch.inf)


def as_floats(norms: list[Any]) -> list[float]:
    """Return norms of one kind on the host, with one synchronisation."""
    tensors = [norm for norm in norms if isinstance(norm, Tensor)]
    return torch.stack(tensors).tolist() if tensors else cast("list[float]", norms)
