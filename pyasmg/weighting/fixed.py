"""Weights chosen by the user."""

from __future__ import annotations

from typing import Any

from .._validate import vector
from ._base import FloatArray, Generation, Weighting


class Fixed(Weighting):
    """The user's weights, normalised to sum 1.

    Parameters
    ----------
    weights : array_like, shape (m,)
        Non-negative, not all zero.
    """

    name = "fixed"

    def __init__(self, weights: Any) -> None:
        values = vector("weighting", weights)
        if (values < 0).any():
            raise ValueError(f"`weighting` must be non-negative; got {values.min():g}.")
        if not (values > 0).any():
            raise ValueError("`weighting` must have a positive sum; got only zeros.")
        self.weights: FloatArray = values / values.max()  # the sum of huge weights may overflow
        self.weights /= self.weights.sum()

    def __call__(self, generation: Generation) -> FloatArray:
        return self.weights

    def spec(self) -> list[float]:
        return [float(weight) for weight in self.weights]
