"""What the upper variables may be: free, in a box, or on a simplex."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..._validate import describe


class Constraint:
    """A set for a tensor of alpha: by a projection after each step, or by a map before the problem sees it."""

    def transform(self, raw: Tensor) -> Tensor:
        """Return what the problem sees of the tensor that the optimizer steps; differentiable."""
        return raw

    def project(self, raw: Tensor) -> Tensor:
        """Return the point of the set next to the tensor."""
        return raw

    def check(self, name: str, raw: Tensor) -> None:
        """Refuse a tensor that the constraint cannot hold for."""


class Free(Constraint):
    """No constraint."""


class Box(Constraint):
    """Entries in [low, high], by projection.

    Parameters
    ----------
    low, high : float
        Bounds; infinite ones are fine.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = float(low), float(high)
        if not self.low < self.high:  # NaN too
            raise ValueError(f"`low` must be below `high`; got {low} and {high}.")

    def project(self, raw: Tensor) -> Tensor:
        return raw.clamp(self.low, self.high)

    def check(self, name: str, raw: Tensor) -> None:
        if not bool(((raw >= self.low) & (raw <= self.high)).all()):
            raise ValueError(f"`{name}` must lie in [{self.low:g}, {self.high:g}] at the start; it does not.")


class Simplex(Constraint):
    """Non-negative entries that sum to 1, by projection (sorting, O(n log n)).

    Parameters
    ----------
    dim : int, optional
        Along which the sum is 1; by default over all entries of a tensor.
    """

    def __init__(self, dim: int | None = None) -> None:
        self.dim = _dimension(dim)

    def project(self, raw: Tensor) -> Tensor:
        return _along(_simplex_projection, raw, self.dim)

    def check(self, name: str, raw: Tensor) -> None:
        total = raw.sum() if self.dim is None else raw.sum(self.dim)
        if bool((raw < -1e-6).any()) or bool(((total - 1.0).abs() > 1e-4).any()):
            raise ValueError(f"`{name}` must lie on the simplex at the start: non-negative entries with the sum 1.")


class Softmax(Constraint):
    """Positive entries that sum to 1: the problem sees the softmax of the tensor, which itself is free.

    Parameters
    ----------
    dim : int, optional
        Along which the sum is 1; by default over all entries of a tensor.
    """

    def __init__(self, dim: int | None = None) -> None:
        self.dim = _dimension(dim)

    def transform(self, raw: Tensor) -> Tensor:
        return _along(lambda rows: torch.softmax(rows, dim=-1), raw, self.dim)


def _dimension(dim: int | None) -> int | None:
    if dim is not None and (isinstance(dim, bool) or not isinstance(dim, int)):
        raise TypeError(f"`dim` must be an integer or None; got {describe(dim)}.")
    return dim


def _along(function: Callable[[Tensor], Tensor], raw: Tensor, dim: int | None) -> Tensor:
    """Apply a function of rows along a dimension, or to all entries as one row."""
    if dim is None:
        return function(raw.reshape(1, -1)).reshape(raw.shape)
    return function(raw.movedim(dim, -1)).movedim(-1, dim)


def _simplex_projection(rows: Tensor) -> Tensor:
    ordered = rows.sort(dim=-1, descending=True).values
    count = torch.arange(1, rows.shape[-1] + 1, device=rows.device, dtype=rows.dtype)
    excess = (ordered.cumsum(-1) - 1.0) / count
    last = (ordered > excess).sum(-1, keepdim=True) - 1
    return (rows - excess.gather(-1, last)).clamp(min=0.0)
