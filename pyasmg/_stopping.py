"""When a run is over: every criterion by name, none that a few noisy evaluations could trigger."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ._validate import integer, number, vector

FloatArray = npt.NDArray[np.float64]
LONGEST_WINDOW = 1000


class Told(NamedTuple):
    """What the criteria see of the generation just told."""

    n_evaluations: int
    n_iterations: int
    n_next: int  # evaluations that the next generation takes
    median: FloatArray  # (m,)
    spread: FloatArray  # (m,) largest minus smallest value
    max_std_ratio: float  # largest std over its start
    max_std: float
    effective: bool  # some coordinate still moves at the working precision
    finite: bool
    stationarity: float


class Stopping:
    """Criteria and the little history that they need: O(window * m) numbers."""

    def __init__(
        self,
        *,
        popsize: int,
        dimension: int,
        max_evaluations: Any = None,
        max_iterations: Any = None,
        tolx: Any = None,
        tolfun: Any = 0.0,
        target: Any = None,
        tolstationarity: Any = None,
        stagnation: Any = None,
    ) -> None:
        self.max_evaluations = None if max_evaluations is None else integer("max_evaluations", max_evaluations, 1)
        self.max_iterations = None if max_iterations is None else integer("max_iterations", max_iterations, 0)
        self.tolx = None if tolx is None else number("tolx", tolx, low=0.0)
        self.tolfun = vector("tolfun", np.atleast_1d(tolfun))
        if (self.tolfun < 0).any():
            raise ValueError(f"`tolfun` must be >= 0; got {self.tolfun.min():g}.")
        self.target = None if target is None else vector("target", np.atleast_1d(target))
        self.tolstationarity = None if tolstationarity is None else number("tolstationarity", tolstationarity, low=0.0)
        per_generation = math.ceil(30 * dimension / popsize)
        self.flat_window = min(10 + per_generation, LONGEST_WINDOW)
        self.stagnation = 1000 + 2 * per_generation if stagnation is None else integer("stagnation", stagnation, 0)
        self.reasons: dict[str, Any] = {}
        self._n_flat = 0
        self._flat_low: FloatArray | None = None
        self._flat_high: FloatArray | None = None
        self._medians: deque[FloatArray] = deque(maxlen=max(self.stagnation, 1))

    def check_objectives(self, m: int) -> None:
        """Refuse per-objective options of another length than m."""
        for name, value in (("tolfun", self.tolfun), ("target", self.target)):
            if value is not None and value.size not in (1, m):
                raise ValueError(f"`{name}` must be a scalar or of shape ({m},); got shape ({value.size},).")

    @property
    def last_median(self) -> FloatArray | None:
        """The last generation's median of each objective."""
        return self._medians[-1] if self._medians else None

    def options(self) -> dict[str, Any]:
        """Return the options as plain data, from which the same criteria can be made."""
        return {
            "max_evaluations": self.max_evaluations,
            "max_iterations": self.max_iterations,
            "tolx": self.tolx,
            "tolfun": self.tolfun.tolist(),
            "target": None if self.target is None else self.target.tolist(),
            "tolstationarity": self.tolstationarity,
            "stagnation": self.stagnation,
        }

    def check_limits(self, n_evaluations: int, n_iterations: int, n_next: int) -> None:
        """Apply the two limits on the length of the search: all that can hold before anything was told."""
        if self.max_evaluations is not None and n_evaluations + n_next > self.max_evaluations:
            self.reasons["max_evaluations"] = self.max_evaluations
        if self.max_iterations is not None and n_iterations >= self.max_iterations:
            self.reasons["max_iterations"] = self.max_iterations

    def set_limits(self, max_evaluations: int | None, max_iterations: int | None) -> None:
        """Replace the two limits, for a search that is continued; :meth:`check_limits` must follow."""
        self.max_evaluations, self.max_iterations = max_evaluations, max_iterations
        self.reasons.pop("max_evaluations", None)
        self.reasons.pop("max_iterations", None)

    def update(self, told: Told) -> None:
        """Apply every criterion to the generation just told."""
        reasons = self.reasons
        self._medians.append(told.median)
        self.check_limits(told.n_evaluations, told.n_iterations, told.n_next)
        if not told.finite:
            reasons["nonfinite"] = told.n_iterations
        if self.tolx is None:
            if told.max_std_ratio < 1e-12:
                reasons["tolx"] = 1e-12
        elif told.max_std <= self.tolx:
            reasons["tolx"] = self.tolx
        if not told.effective:
            reasons["noeffect"] = told.max_std
        if self.target is not None and (told.median <= self.target).all():
            reasons["target"] = self.target.tolist()
        if self.tolstationarity is not None and told.stationarity <= self.tolstationarity:
            reasons["tolstationarity"] = self.tolstationarity
        if self._is_flat(told):
            reasons["tolfun"] = float(self.tolfun.max())
        if self._is_stagnating(told):
            reasons["stagnation"] = self.stagnation

    def _is_flat(self, told: Told) -> bool:
        """All values of the last `flat_window` generations lie within tolfun, for every objective."""
        if told.spread[0] > self.tolfun[0] or not (told.spread <= self.tolfun).all():
            self._n_flat = 0
            return False
        if self._n_flat == 0 or self._flat_low is None or self._flat_high is None:
            self._flat_low = self._flat_high = told.median
        self._flat_low = np.minimum(self._flat_low, told.median)
        self._flat_high = np.maximum(self._flat_high, told.median)
        if not (self._flat_high - self._flat_low <= self.tolfun).all():
            self._n_flat = 0
        self._n_flat += 1
        return self._n_flat >= self.flat_window

    def _is_stagnating(self, told: Told) -> bool:
        """No objective's median improved from the first to the last third of the window; 0 switches this off."""
        if self.stagnation == 0:
            return False
        window = self.stagnation
        if len(self._medians) < window or told.n_iterations % max(1, window // 10):
            return False
        medians = np.array(self._medians)
        third = max(1, window // 3)
        return bool((np.median(medians[-third:], axis=0) >= np.median(medians[:third], axis=0)).all())

    def state_dict(self) -> dict[str, Any]:
        """Return reasons and history as plain data and arrays."""
        return {
            "reasons": dict(self.reasons),
            "n_flat": self._n_flat,
            "flat_low": self._flat_low,
            "flat_high": self._flat_high,
            "medians": np.array(self._medians) if self._medians else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.reasons = dict(state["reasons"])
        self._n_flat = int(state["n_flat"])
        self._flat_low = None if state["flat_low"] is None else np.array(state["flat_low"])
        self._flat_high = None if state["flat_high"] is None else np.array(state["flat_high"])
        self._medians.clear()
        if state["medians"] is not None:
            self._medians.extend(np.array(state["medians"]))
