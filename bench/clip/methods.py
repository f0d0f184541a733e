"""The methods of Table 4.1, each as ask/tell on v with mean 0 and covariance I at the start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

import pyasmg
from pyasmg._scaling import Scaling
from pyasmg.clip._weighting import unit_free_level

FloatArray = npt.NDArray[np.float64]
SIGMA0 = 1.0


class Search(Protocol):
    """What a run needs."""

    def ask(self) -> FloatArray: ...
    def tell(self, X: FloatArray, F: FloatArray) -> Any: ...
    @property
    def mean(self) -> FloatArray: ...


class Start(NamedTuple):
    """What is known before the first generation: the start's losses and accuracies on the validation split."""

    losses: FloatArray
    accuracies: FloatArray


class Method(NamedTuple):
    """Makes a search from (d, popsize, seed, start); ``settings`` tells results apart when they change."""

    make: Callable[[int, int, int, Start], Search]
    settings: str


class Summed:
    """A single-objective method on the sum of the losses, as they are or each in a unit of its own.

    The unit is ASMG's: the running geometric mean of the standard deviation over the generations. A failed query is
    the baselines' matter; only where they ask for the mean in row 0 and just that fails, the others' mean stands in.
    """

    def __init__(self, search: Any, *, scaled: bool) -> None:
        self._search, self._scaled = search, scaled
        self._scaling: Scaling | None = None

    @property
    def mean(self) -> FloatArray:
        """The method's recommendation."""
        mean: FloatArray = self._search.mean
        return mean

    def ask(self) -> FloatArray:
        X: FloatArray = self._search.ask()
        return X

    def tell(self, X: FloatArray, F: FloatArray) -> None:
        valid = np.isfinite(F).all(axis=1)
        if self._scaled and valid.sum() > 1:
            deviations = F[valid].std(axis=0)
            _, self._scaling = (self._scaling or Scaling.start(F.shape[1])).follow(deviations)
            F = F * np.exp(-self._scaling.log_unit)
        sums = F.sum(axis=1)
        if len(X) > self._search.popsize and not valid[0] and valid.any():
            sums[0] = sums[valid].mean()
        self._search.tell(X, sums)


def asmg(**options: Any) -> Method:
    """Return ASMG with these options; those that are functions are called with the start."""

    def make(d: int, popsize: int, seed: int, start: Start) -> Search:
        settings = {name: value(start) if callable(value) else value for name, value in options.items()}
        settings = {"tolx": 0.0, "stagnation": 0, **settings}
        return pyasmg.ASMG(np.zeros(d), SIGMA0, popsize=popsize, seed=seed, **settings)

    return Method(make, _text("ASMG", options))


def summed(name: str, *, scaled: bool = False, **options: Any) -> Method:
    """Return a baseline of :mod:`bench.baselines` on the sum."""

    def make(d: int, popsize: int, seed: int, start: Start) -> Search:
        import bench.baselines as baselines

        search = getattr(baselines, name)(np.zeros(d), SIGMA0, popsize, seed, **options)
        return Summed(search, scaled=scaled)

    return Method(make, _text(name, {"scaled": scaled, **options}))


def _text(name: str, options: dict[str, Any]) -> str:
    values = {key: getattr(value, "__name__", value) for key, value in options.items()}
    return f"{name}({', '.join(f'{key}={value}' for key, value in sorted(values.items()))})"


def level_from_start(start: Start) -> dict[str, Any]:
    """Return the tuner's weighting."""
    return unit_free_level(start.losses, start.accuracies)


STEPS = {"step_size": 1.0, "std_step_size": 0.05}
THESIS = {"step_size": 0.5, "std_step_size": 0.5, "scale_objectives": False, "baseline": "center"}

METHODS: dict[str, Method] = {
    "ES": summed("ES"),
    "BES": summed("BES"),
    "MMES": summed("MMES"),
    "CMA-ES": summed("CmaFull"),
    "CMA-ES, scaled sum": summed("CmaFull", scaled=True),
    "CMA-ES, diagonal": summed("CmaDiagonal"),  # where the full matrix is too slow
    "CMA-ES, diagonal, scaled sum": summed("CmaDiagonal", scaled=True),
    "ASMG-EW, thesis": asmg(weighting="equal", **THESIS),
    "ASMG, thesis": asmg(weighting="pareto", **THESIS),
    "ASMG-EW": asmg(weighting="equal", **STEPS),
    "ASMG, pareto": asmg(weighting="pareto", **STEPS),
    "ASMG, chebyshev": asmg(weighting="chebyshev", **STEPS),
    "ASMG, raw level": asmg(weighting="level", **STEPS),
    "ASMG, level": asmg(weighting=level_from_start, **STEPS),
}
TUNER = "ASMG, level"  # what `pyasmg clip tune` does unless told otherwise
