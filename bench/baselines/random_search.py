"""Random search."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._base import Baseline, FloatArray, values


class RandomSearch(Baseline):
    """Independent samples, of which the best so far is recommended.

    Without bounds from N(x0, sigma0^2 I), the distribution that the other methods start from; with bounds uniformly in
    the box. `mean` is the best sample so far.

    Parameters
    ----------
    bounds : (low, high), optional
        Each a scalar or a vector of shape (d,).
    """

    def __init__(
        self, x0: npt.ArrayLike, sigma0: float, popsize: int | None = None, seed: int = 0, *, bounds: Any = None
    ) -> None:
        super().__init__(x0, sigma0, popsize, seed)
        self._start = self.mean.copy()
        self._bounds = bounds
        self._best = np.inf

    def ask(self) -> FloatArray:
        shape = (self.popsize, self._start.size)
        if self._bounds is not None:
            return self.rng.uniform(*self._bounds, shape)
        return self._start + self.sigma0 * self.rng.standard_normal(shape)

    def tell(self, X: FloatArray, f: npt.ArrayLike) -> None:
        f = values(f, len(X))
        best = int(np.argmin(f))
        if f[best] < self._best:
            self._best, self.mean = float(f[best]), np.array(X[best])
