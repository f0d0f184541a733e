"""Weights that follow the level of each objective, gently."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._validate import number, vector
from ._base import FloatArray, Generation, Weighting


class _Levels(Weighting):
    """Keeps the exponentially averaged value of each objective, in units of ``reference``."""

    def __init__(self, reference: Any = None, smoothing: float = 0.2) -> None:
        self.reference = None if reference is None else vector("reference", reference)
        if self.reference is not None and not (self.reference > 0).all():
            raise ValueError(f"`reference` must be positive; got {self.reference.min():g}.")
        self.smoothing = number("smoothing", smoothing, low=0.0, strict=True, high=1.0)
        self._levels: FloatArray | None = None

    def _update(self, generation: Generation) -> FloatArray:
        value = generation.mean
        if self.reference is not None:
            if self.reference.size != value.size:
                raise ValueError(f"`reference` must have shape ({value.size},); got ({self.reference.size},).")
            value = value / self.reference
        if self._levels is None:
            self._levels = value.copy()
        else:
            self._levels = self._levels + self.smoothing * (value - self._levels)
        return self._levels

    def state_dict(self) -> dict[str, Any]:
        return {} if self._levels is None else {"levels": self._levels.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._levels = vector("levels", state["levels"]) if state else None


class Level(_Levels):
    """Weights proportional to ``level_i ** power``, level_i the running mean of objective i.

    Objectives that are worse weigh more, without the winner-takes-all of a maximum: a good worst case at little or no
    cost of the average. Values must be comparable: the same unit, or give each objective's unit in ``reference``.
    This is the one rule besides ``"chebyshev"`` whose path depends on the units of the objectives.

    Parameters
    ----------
    power : float
        0 gives equal weights; 1/2 is the default.
    reference : array_like, shape (m,), optional
        Unit of each objective, for example its value at the start.
    smoothing : float
        Share of the newest generation in the running mean.
    distinct : bool
        Let objectives that are one and the same share the weight of one: the weight of objective i is divided by
        sum_j max(0, cos_ij)^32, cos_ij the cosine of the natural gradients of i and j over the generation.

    Raises
    ------
    ValueError
        For a negative level: the rule needs objectives that are positive where it counts, such as losses or costs.
    """

    name = "level"

    def __init__(
        self, power: float = 0.5, reference: Any = None, smoothing: float = 0.2, distinct: bool = False
    ) -> None:
        super().__init__(reference, smoothing)
        self.power = number("power", power, low=0.0)
        if not isinstance(distinct, bool):
            raise TypeError(f"`distinct` must be True or False; got {distinct!r}.")
        self.distinct = distinct

    def __call__(self, generation: Generation) -> FloatArray:
        levels = self._update(generation)
        if (levels < 0).any():
            i = int(levels.argmin())
            raise ValueError(
                f"weighting='level' needs objectives >= 0; objective {i} has the running mean {levels[i]:g}. "
                "Add a constant to it, or choose another weighting."
            )
        top = levels.max()
        if not top > 0:
            return np.full(levels.size, 1.0 / levels.size)
        weights = (levels / top) ** self.power
        return _normalised(weights / _copies(generation.gram) if self.distinct else weights)

    def spec(self) -> dict[str, Any]:
        spec = {
            "name": self.name,
            "power": self.power,
            "reference": _plain(self.reference),
            "smoothing": self.smoothing,
        }
        return {**spec, "distinct": True} if self.distinct else spec


def _copies(gram: FloatArray) -> FloatArray:
    """Return how often each objective stands there, shape (m,): 1 for one that is like no other."""
    norms = np.sqrt(np.diag(gram))
    norms = np.where(norms > 0, norms, np.inf)  # without a gradient it is like itself only
    alike = np.clip(gram / norms[:, None] / norms, 0.0, 1.0)
    np.fill_diagonal(alike, 1.0)
    for _ in range(5):  # to the power of 32: a cosine of 0.9 counts as 0.03 of a copy, 0.99 as 0.7
        alike = alike * alike
    return np.asarray(alike.sum(axis=1))


def _normalised(weights: FloatArray) -> FloatArray:
    """Sum 1, after rounding to 2^-40: powers and exponentials differ in the last bits between machines."""
    rounded = np.round(weights * 2.0**40)
    return np.asarray(rounded / rounded.sum())


def _plain(values: FloatArray | None) -> list[float] | None:
    return None if values is None else [float(value) for value in values]
