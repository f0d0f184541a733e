"""The search distribution: sampling, estimating and stepping, by the compiled core."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from . import _core
from ._step_size import Steps, StepState
from ._validate import real_array

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float64]

#: Largest and smallest magnitude that the core keeps mean and stds within, per dtype.
LIMITS = {"float32": (1e-30, 1e30), "float64": (1e-150, 1e150)}

REACH = 3.0  # stds that the mean may lie outside a side, see `_bounds.py`
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
        self.dimension = int(mean.size)
        self.n_threads = 1
        self.device = "cpu"
        self.stream: int | None = None
        self._gradients: tuple[Array, Array] | None = None
        self._rebuilt = False
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
        """Return one row in O(d); -1 is the mean's."""
        if index < 0:
            return self.feasible_mean()
        x = np.empty((1, self.mean.size), self.mean.dtype)
        _core.sample_population(*self._arguments, generation, self.mirrored, index, x, self.n_threads)
        candidate: Array = x[0]
        return candidate

    def set_stream(self, stream: Any) -> None:
        """Refuse a stream: there are none here."""
        if stream is not None:
            raise ValueError("`stream` is for a search with device='cuda'; this one is on the CPU.")

    def rows(self, generation: int, first: int, count: int, center: int) -> Array:
        """Return rows of ``ask()``, counted with the mean as row 0 if ``center``."""
        X = np.empty((count, self.mean.size), self.mean.dtype)
        with_mean = int(bool(center) and first == 0 and count > 0)
        if with_mean:
            X[0] = self.feasible_mean()
        sampled, at = X[with_mean:], first - center + with_mean
        if len(sampled):
            _core.sample_population(*self._arguments, generation, self.mirrored, at, sampled, self.n_threads)
        return X

    def as_candidates(self, X: Any, shape: tuple[int, int], center: int) -> Array:
        """Return what :meth:`estimate` takes as ``X``."""
        array = real_array("X", X, f"of shape (popsize, d) = {shape}")
        if array.shape != shape:
            raise ValueError(f"`X` must be of shape (popsize, d) = {shape}; got shape {array.shape}.")
        return np.ascontiguousarray(array[center:], dtype=self.mean.dtype)

    @staticmethod
    def as_values(F: Any) -> Any:
        """Return objective values on the host."""
        return F

    @staticmethod
    def host(array: Any) -> Any:
        """Return the path on the host."""
        return array

    def _recycled(self, shape: tuple[int, int]) -> Array:
        """Return the last population's memory if nobody holds it any more: fresh pages cost as much as the normals."""
        old = take_recycled(self)
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
        self._rebuilt = X is None
        if X is None:
            return gram, norms
        factors = pull_factors(norms, self.dimension)
        if factors is None:
            return gram, norms
        X = X.copy()
        for far in np.flatnonzero(factors):
            X[far] = self.mean + (X[far] - self.mean) * float(factors[far])
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
            low, high = low - REACH * self.std, high + REACH * self.std
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
        mean, std = mean_gradient[0], std_gradient[0]
        if self.low is not None and self.high is not None:
            np.minimum(std, self.high - self.low, out=std)
            summary = summary._replace(max_std=float(std.max()), min_std=float(std.min()))
        if summary.finite:
            np.copyto(self.mean, mean)
            np.copyto(self.std, std)
        if self._rebuilt and mean.nbytes >= _RECYCLED_BYTES:
            self._gradients = None  # not kept while the caller holds candidates: who rebuilds them is short of memory
        return summary, path


def pull_factors(norms: FloatArray, d: int) -> FloatArray | None:
    """Return by what each row's offset from the mean must be shortened (0: it is near enough), or None: no row's.

    ``norms`` (N,) holds |z|^2.
    """
    # A chi-square variable with d degrees exceeds this with probability e^-50: no sample of ours ever does.
    limit = d + 2.0 * math.sqrt(50.0 * d) + 100.0
    if norms[norms.argmax()] <= limit:  # a fifth of the time of max(); a NaN counts as the largest
        return None
    if not np.isfinite(norms).all():
        row = int(np.flatnonzero(~np.isfinite(norms))[0])
        raise ValueError(f"`X` must be finite where `F` is; row {row} is not.")
    factors = np.zeros(norms.size)
    far = norms > limit
    factors[far] = np.sqrt(limit / norms[far])
    return factors


def take_recycled(distribution: Any) -> Any:
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
