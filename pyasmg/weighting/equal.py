"""Equal weights."""

from __future__ import annotations

import numpy as np

from ._base import FloatArray, Generation, Weighting


class Equal(Weighting):
    """1 / m for each objective: ASMG-EW of the thesis (section 4.6.2)."""

    name = "equal"

    def __call__(self, generation: Generation) -> FloatArray:
        return np.full(generation.previous.size, 1.0 / generation.previous.size)
