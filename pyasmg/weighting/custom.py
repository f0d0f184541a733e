"""A rule given as a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .._validate import vector
from ._base import FloatArray, Generation, Weighting


class Custom(Weighting):
    """Calls ``rule(generation)``; what it returns is checked and normalised to sum 1.

    The rule is not part of the saved state: hand it to ``from_state_dict(state, weighting=rule)`` again.
    """

    name = "callable"

    def __init__(self, rule: Callable[[Generation], Any]) -> None:
        self.rule = rule

    def __call__(self, generation: Generation) -> FloatArray:
        m = generation.previous.size
        weights = vector("weighting(generation)", self.rule(generation), m)
        if (weights < 0).any() or not (weights > 0).any():
            raise ValueError(f"`weighting(generation)` must be non-negative with a positive sum; got {weights}.")
        weights /= weights.max()
        return np.asarray(weights / weights.sum())
