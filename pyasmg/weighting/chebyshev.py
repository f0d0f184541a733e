"""Weights of a smooth maximum."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validate import number
from ._base import FloatArray, Generation
from .level import _Levels, _normalised, _plain


class Chebyshev(_Levels):
    """Weights ``softmax(level / (temperature * max(level)))``, the gradient of a smooth Chebyshev scalarisation.

    Nearly all the weight goes to the objectives whose running mean is worst. Values must be comparable, as for
    ``"level"``; the path depends on the units.

    Parameters
    ----------
    temperature : float
        Smaller is closer to the true maximum; in units of the largest absolute level.
    reference, smoothing
        As for :class:`Level`.
    """

    name = "chebyshev"

    def __init__(self, temperature: float = 0.2, reference: Any = None, smoothing: float = 0.2) -> None:
        super().__init__(reference, smoothing)
        self.temperature = number("temperature", temperature, low=0.0, strict=True)

    def __call__(self, generation: Generation) -> FloatArray:
        levels = self._update(generation)
        top = np.abs(levels).max()
        if not top > 0:
            return np.full(levels.size, 1.0 / levels.size)
        return _normalised(np.exp((levels - levels.max()) / (self.temperature * top)))

    def spec(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "temperature": self.temperature,
            "reference": _plain(self.reference),
            "smoothing": self.smoothing,
        }
