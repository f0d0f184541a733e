"""The search distribution: sampling, estimating and stepping, by the compiled core."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core
from ._step_size import Steps, StepState

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]

#: Largest and smallest magnitude that the core keeps mean and stds within, per dtype.
LIMITS = {"float32": (1e-30, 1e30), "float64": (1e-150, 1e150)}

_REACH = 3.0  # stds that the mean may lie outside a side, see `_bounds.py`
_RECYCLED_BYTES = 2**20  # smaller populations cost no page faults worth avoiding


class Summary(NamedTuple):
    """What one step did to the distribution."""

    max_std: float
    min_std: float
    finite: bool
    effective: bool
    path_norm: float = 0.0
    step_norm: float = 0.0


class SearchDistribution:
    """x = clip(mean + stds * z), z standard normal from counters; see ``csrc/rng.hpp`` for their addresses."""

    def __init__(
        self, mean: Array, std: Array, low: Array | None, high: Array | None, *, seed: int, mirrored: bool
    ) -> None:
        self.mean, self.std, self.low, self.high = mean, std, low, high
        self.seed, self.mirrored = seed, mirrored
        self.n_threads = 1
        self._gradients: tuple[Array, Array] | None = None
        self._population: Array | None = None

    @property
    def _arguments(self) -> tuple[Array, Array, Array | None, Array | None, int]:
        return self.mean, self.std, self.low, self.high, self.seed

    def feasible_mean(self) -> Array:
        """Return the point of the box that is nearest to the mean, shape (d,), a copy."""
        mean: Array = self.mean.copy() if self.low is None else np.clip(self.mean, self.low, self.high)
        return mean

    def population(self, generation: int, rows: int, center: int) -> Array:
        """Return all rows of a generation, row 0 the mean if ``center``; the caller may keep the array."""
        X = self._recycled((rows, self.mean.size))
        if center:
            X[0] = self.feasible_mean()
        _core.sample_population(*self._arguments, generation, self.mirrored, 0, X[center:], self.n_threads)
        return X

    def candidate(self, generation: int, index: int) -> Array:
        """Return one row in O(d)."""
        x = np.empty((1, self.mean.size), self.mean.dtype)
        _core.sample_population(*self._arguments, generation, self.mirrored, index, x, self.n_threads)
        candidate: Array = x[0]
        return candidate

    def _recycled(self, shape: tuple[int, int]) -> Array:
        """Return the last population's memory if nobody holds it any more: fresh pages cost as much as the normals."""
        old = _take(self)
        X = old if old is not None and old.shape == shape else np.empty(shape, self.mean.dtype)
        if X.nbytes >= _RECYCLED_BYTES:
            self._population = X
        return X

    def estimate(
        self, generation: int, X: Array | None, valid: npt.NDArray[np.uint8], w: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Estimate the gradients of all columns of w; return their Gram matrix and the squared norms of z.

        A second pass runs only if a changed candidate had to be pulled back.
        """
        shape = (w.shape[1], self.mean.size)
        if self._gradients is None or self._gradients[0].shape != shape:
            self._gradients = np.empty(shape, self.mean.dtype), np.empty(shape, self.mean.dtype)
        outputs = (valid, w, *self._gradients, self.n_threads)
        gram, norms = _core.estimate(*self._arguments, generation, self.mirrored, X, *outputs)
        if X is None:
            return gram, norms
        # A chi-square variable with d degrees exceeds this with probability e^-50: no sample of ours ever does.
        d = self.mean.size
        limit = d + 2.0 * math.sqrt(50.0 * d) + 100.0
        if norms[norms.argmax()] <= limit:  # a fifth of the time of max(); a NaN counts as the largest
            return gram, norms
        if not np.isfinite(norms).all():
            row = int(np.flatnonzero(~np.isfinite(norms))[0])
            raise ValueError(f"`X` must be finite where `F` is; row {row} is not.")
        X = X.copy()
        for far in np.flatnonzero(norms > limit):
            X[far] = self.mean + (X[far] - self.mean) * math.sqrt(limit / norms[far])
        return _core.estimate(*self._arguments, generation, self.mirrored, X, *outputs)

    def step(
        self, coefficients: FloatArray, steps: Steps, std_shift: float, inverse: bool, state: StepState
    ) -> tuple[Summary, FloatArray]:
        """Step along the weighted gradients of the last :meth:`estimate`; a step that is not finite is not taken.

        Returns the summary and the path after the step.
        """
        if self._gradients is None:
            raise RuntimeError("`step` must follow `estimate`.")
        mean_gradient, std_gradient = self._gradients
        path = np.empty_like(state.path)
        low, high = self.low, self.high
        if low is not None and high is not None:
            low, high = low - _REACH * self.std, high + _REACH * self.std
        summary = Summary(
            *_core.update_distribution(
                self.mean,
                self.std,
                low,
                high,
                mean_gradient,
                std_gradient,
                coefficients,
                steps.mean,
                steps.std,
                std_shift,
                inverse,
                state.path,
                path,
                state.stride,
                state.rate,
                self.n_threads,
            )
        )
        if summary.finite:
            np.copyto(self.mean, mean_gradient[0])
            np.copyto(self.std, std_gradient[0])
            if self.low is not None and self.high is not None:
                np.minimum(self.std, self.high - self.low, out=self.std)
                summary = summary._replace(max_std=float(self.std.max()), min_std=float(self.std.min()))
        return summary, path


def _take(distribution: SearchDistribution) -> Array | None:
    """Return the last population if its only owner is the distribution."""
    if sys.getrefcount(distribution._population) > _ONE_OWNER:
        return None
    return distribution._population


class _Owner:
    _population = None


def _count_one_owner() -> int:
    """Ask getrefcount about an array with one owner; interpreters differ."""
    owner: Any = _Owner()
    owner._population = np.empty(1)
    return sys.getrefcount(owner._population)


_ONE_OWNER = _count_one_owner()
