"""One objective made of several, for the methods that know one only."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ..._validate import vector
from .._types import FloatArray
from ._method import BilevelMethod


class WeightedSum(BilevelMethod):
    """A method on the weighted sum of the objectives.

    Parameters
    ----------
    weights : sequence of m floats, optional
        Non-negative; 1/m by default.
    """

    def __init__(self, *arguments: Any, weights: Any = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.weights: FloatArray | None = None if weights is None else vector("weights", weights)
        if self.weights is not None and not (self.weights >= 0.0).all():
            raise ValueError(f"`weights` must not be negative; got {self.weights.min():g}.")

    def _sum_weights(self, m: int) -> FloatArray:
        if self.weights is None:
            return np.full(m, 1.0 / m)
        if len(self.weights) != m:
            raise ValueError(f"`weights` must have shape ({m},), one per objective; got {self.weights.shape}.")
        return self.weights

    def _sum(self, values: Tensor) -> Tensor:
        """Return the weighted sum of the objectives."""
        return values @ values.new_tensor(self._sum_weights(len(values)))
