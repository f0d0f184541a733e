"""The plain evolution strategy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import _core
from ._tune_baseline import Baseline, FloatArray


class ES(Baseline):
    """(mu/mu_w, lambda) evolution strategy with one standard deviation (Beyer and Schwefel 2002).

    Weighted recombination of the best half, and cumulative step-size adaptation with the constants of Hansen's
    tutorial (arXiv:1604.00772, Eqs. 43-44). Time O(N d), memory O(N d).
    """

    name = "es"

    def __init__(self, dimension: int, sigma0: float, **options: Any) -> None:
        super().__init__(dimension, sigma0, **options)
        d, n_parents = self.dimension, self.popsize // 2
        weights = math.log((self.popsize + 1) / 2) - np.log(np.arange(1, n_parents + 1))
        self._weights = weights / weights.sum()
        self._n_effective = 1.0 / float((self._weights**2).sum())
        self._rate = (self._n_effective + 2) / (d + self._n_effective + 5)
        self._damping = 1 + 2 * max(0.0, math.sqrt((self._n_effective - 1) / (d + 1)) - 1) + self._rate
        self._expected = math.sqrt(d) * (1 - 1 / (4 * d) + 1 / (21 * d**2))  # of the length of a normal vector
        self._mean, self._path, self._sigma = np.zeros(d), np.zeros(d), self.sigma0

    @property
    def mean(self) -> FloatArray:
        """The mean."""
        return np.array(self._mean)

    @property
    def stds(self) -> FloatArray:
        """The standard deviation, d times."""
        return np.full(self.dimension, self._sigma)

    def _sample(self) -> FloatArray:
        normals = np.empty((self.popsize, self.dimension))
        _core.sample_normals(self.seed, self.n_iterations, 0, normals, 1)
        return self._mean + self._sigma * normals

    def _learn(self, X: FloatArray, values: FloatArray) -> None:
        best = np.argsort(values, kind="stable")[: self._weights.size]
        step = (self._weights[:, None] * (X[best] - self._mean)).sum(axis=0) / self._sigma
        self._mean = self._mean + self._sigma * step
        gain = math.sqrt(self._rate * (2 - self._rate) * self._n_effective)
        self._path = (1 - self._rate) * self._path + gain * step  # Eq. 43
        length = math.sqrt(float((self._path**2).sum()))
        self._sigma *= math.exp(min(1.0, self._rate / self._damping * (length / self._expected - 1)))  # Eq. 44
