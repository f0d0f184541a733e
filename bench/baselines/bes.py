"""Bernoulli smoothing (Gao and Sener 2022)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._base import Baseline, FloatArray, values


class BES(Baseline):
    """Random search along directions of standardised Bernoulli entries, +1 or -1, and plain gradient descent.

    The mean moves by ``-learning_rate * g`` with::

        g = 1/(N sigma) sum_i (f(mean + sigma e_i) - f(mean)) e_i,     e_i in {-1, 1}^d     (BeS)

    Of all zero-mean, unit-variance distributions with independent entries this one has the least fourth moment, and so
    the least mean squared error of the gradient.

    Parameters
    ----------
    learning_rate : float
        Default 0.01: the step size that the thesis gives as the authors' default.

    Notes
    -----
    Source: K. Gao, O. Sener, Generalizing Gaussian Smoothing for Random Search, ICML 2022. ``ask()`` returns
    popsize + 1 rows, the mean first. pypop7 has the same step without ask/tell; the tests compare with it. Values
    enter as they are, so the units of the objective matter and a step too large diverges: that is the method.

    O(N d) per generation.
    """

    def __init__(
        self,
        x0: npt.ArrayLike,
        sigma0: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        learning_rate: float = 0.01,
    ) -> None:
        super().__init__(x0, sigma0, popsize, seed)
        self.learning_rate = learning_rate

    def ask(self) -> FloatArray:
        self._directions = 2.0 * self.rng.integers(0, 2, (self.popsize, self.mean.size)) - 1.0
        return np.concatenate([self.mean[None], self.mean + self.sigma0 * self._directions])

    def tell(self, X: FloatArray, f: npt.ArrayLike) -> None:
        f = values(f, self.popsize + 1)
        usable = np.isfinite(f[1:])  # a failed evaluation has no difference
        differences = np.where(usable, f[1:] - f[0], 0.0)
        gradient = differences @ self._directions / (max(int(usable.sum()), 1) * self.sigma0)
        self.mean = self.mean - self.learning_rate * gradient
