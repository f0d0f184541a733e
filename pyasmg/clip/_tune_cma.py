"""CMA-ES, by pycma."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ._imports import optional
from ._tune_baseline import Baseline, FloatArray


class CMA(Baseline):
    """CMA-ES (Hansen), full covariance, as pycma has it by default; its stopping criteria are not used.

    Time O(d^2) per candidate and O(d^3) every few generations, memory O(d^2).
    """

    name = "cma-es"

    def __init__(self, dimension: int, sigma0: float, **options: Any) -> None:
        super().__init__(dimension, sigma0, **options)
        cma = optional("cma")
        rng = np.random.default_rng(self.seed)
        settings = {
            "popsize": self.popsize,
            "seed": np.nan,  # leave numpy's global state alone
            "randn": lambda *shape: rng.standard_normal(shape),
            "verbose": -9,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._cma = cma.CMAEvolutionStrategy([0.0] * self.dimension, self.sigma0, settings)

    @property
    def mean(self) -> FloatArray:
        """The mean."""
        return np.array(self._cma.mean, np.float64)

    @property
    def stds(self) -> FloatArray:
        """The standard deviations."""
        return np.array(self._cma.stds, np.float64)

    def _sample(self) -> FloatArray:
        return np.array(self._cma.ask(), np.float64)

    def _learn(self, X: FloatArray, values: FloatArray) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about flat or noisy values, which are expected here
            self._cma.tell(list(X), values.tolist())
