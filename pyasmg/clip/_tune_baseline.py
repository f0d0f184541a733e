"""Searches that are no ASMG, in the form that a run and its store know: they minimise the sum of scaled objectives."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from .._scaling import Scaling
from .._validate import integer, number
from ..result import Result

FloatArray = npt.NDArray[np.float64]


class Baseline(ABC):
    """Ask and tell for a search of one objective.

    The objectives of a generation are added up, each in units of a running mean of its standard deviation, as ASMG
    scales them (:mod:`pyasmg._scaling`). A candidate that failed counts as the worst of its generation.

    It is a function of its settings and of what it was told, so that a stored run is continued exactly by telling it
    all generations again.

    Parameters
    ----------
    dimension : int
        d; the search starts at 0.
    sigma0 : float
        Standard deviation at the start.
    popsize : int
        N >= 4.
    seed : int
        Of the samples.
    max_iterations : int
        Generations.
    scale_objectives : bool
        Whether objectives are scaled before they are added up.
    """

    name: str

    def __init__(
        self,
        dimension: int,
        sigma0: float,
        *,
        popsize: int,
        seed: int,
        max_iterations: int,
        scale_objectives: bool = True,
    ) -> None:
        self.dimension = integer("dimension", dimension, 2)
        self.sigma0 = number("sigma0", sigma0, low=0.0, strict=True)
        self.popsize = self.n_candidates = integer("popsize", popsize, 4)
        self.seed = integer("seed", seed, 0, 2**64 - 1)
        self.scale_objectives = bool(scale_objectives)
        self.dtype = np.dtype(np.float64)
        self.n_iterations = self.n_evaluations = self.n_failed = 0
        self.n_objectives: int | None = None
        self.stationarity = math.nan
        self._max_iterations = max_iterations
        self._asked: FloatArray | None = None
        self._scaling: Scaling | None = None
        # What a run looks up in an ASMG.
        self._options = SimpleNamespace(memory="store", center=0)
        self._search = None

    # ---------------------------------------------------------------- what a method gives

    @abstractmethod
    def _sample(self) -> FloatArray:
        """Return the candidates of the next generation, (popsize, d); called once for each."""

    @abstractmethod
    def _learn(self, X: FloatArray, values: FloatArray) -> None:
        """Update the search from candidates and their values, (popsize,), finite."""

    @property
    @abstractmethod
    def mean(self) -> FloatArray:
        """Mean of the search distribution, (d,)."""

    @property
    @abstractmethod
    def stds(self) -> FloatArray:
        """Standard deviations of the search distribution, (d,)."""

    # ---------------------------------------------------------------- what a run asks

    @property
    def weights(self) -> FloatArray | None:
        """Equal ones."""
        return None if self.n_objectives is None else np.full(self.n_objectives, 1.0 / self.n_objectives)

    def ask(self) -> FloatArray:
        """Return the candidates, the same until they are told."""
        if self._asked is None:
            self._asked = np.ascontiguousarray(self._sample(), np.float64)
        return np.array(self._asked)

    def ask_one(self, index: int) -> FloatArray:
        """Return one candidate."""
        return np.asarray(self.ask()[index])

    def tell(self, F: FloatArray) -> None:
        """Take the values of the candidates, (popsize, m), NaN in rows that failed."""
        X = self.ask()
        good = np.isfinite(F).all(axis=1)
        if F.shape[0] != self.popsize or not good.any():
            raise ValueError(f"`F` must have {self.popsize} rows, not all of which failed; got shape {F.shape}.")
        if self.n_objectives is None:
            self.n_objectives = F.shape[1]
        values = np.empty(self.popsize)
        values[good] = self._sum(F[good])
        values[~good] = values[good].max()
        self._learn(X, values)
        self._asked = None
        self.n_iterations += 1
        self.n_evaluations += len(F)
        self.n_failed += int(np.count_nonzero(~good))

    def _sum(self, F: FloatArray) -> FloatArray:
        if not self.scale_objectives:
            return np.asarray(F.sum(axis=1))
        scale = F.std(axis=0)
        ratio, self._scaling = (self._scaling or Scaling.start(F.shape[1])).follow(scale)
        unit = np.divide(scale, ratio, out=np.full_like(scale, np.inf), where=ratio > 0)  # inf: it did not vary
        return np.asarray(((F - F.mean(axis=0)) / unit).sum(axis=1))

    def stop(self) -> dict[str, Any]:
        """Say whether the last generation was reached; nothing else ends a search under noise."""
        reasons: dict[str, Any] = {}
        if self.n_iterations >= self._max_iterations:
            reasons["max_iterations"] = self._max_iterations
        if not (np.isfinite(self.mean).all() and np.isfinite(self.stds).all()):
            reasons["nonfinite"] = self.n_iterations
        return reasons

    @property
    def result(self) -> Result:
        """The present state."""
        stop = self.stop()
        return Result(
            x=self.mean,
            fun=None,
            weights=np.empty(0) if self.weights is None else self.weights,
            stds=self.stds,
            stationarity=math.nan,
            n_evaluations=self.n_evaluations,
            n_failed=self.n_failed,
            n_iterations=self.n_iterations,
            seed=self.seed,
            stop=stop,
            message="",
            success=bool(stop) and "nonfinite" not in stop,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what makes two searches the same one; the rest follows from what was told."""
        return {
            "mean": np.zeros(self.dimension),
            "std": np.full(self.dimension, self.sigma0),
            "low": None,
            "high": None,
            "options": {
                "method": self.name,
                "popsize": self.popsize,
                "seed": self.seed,
                "scale_objectives": self.scale_objectives,
            },
            "stopping": {"max_iterations": self._max_iterations},
            "weighting": "equal",
            "n_objectives": None,
            "n_iterations": self.n_iterations,
        }

    def _open_generation(self) -> None:
        """Make the candidates that `tell` will be about."""
        self.ask()

    def _set_limits(self, max_evaluations: int | None, max_iterations: int | None) -> None:
        if max_iterations is not None:
            self._max_iterations = max_iterations
