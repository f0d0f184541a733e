"""The shift l1-ellipsoid, thesis problem (4.21), and what the synthetic problems share."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validate import integer


def as_points(x: ArrayLike, d: int) -> NDArray[np.float64]:
    """Return `x` as float64 if it is one point (d,) or N points (N, d); raise in words otherwise."""
    points = np.asarray(x, dtype=np.float64, order="C")  # rows sum the same way alone and in a batch
    if points.ndim not in (1, 2) or points.shape[-1] != d:
        raise ValueError(f"`x` must have shape (d,) or (N, d) with d = {d}; got {points.shape}.")
    return points


@lru_cache(maxsize=4)
def ellipsoid_scales(d: int, exponent: float) -> NDArray[np.float64]:
    """Return 10^(exponent (i-1)/(d-1)) for i = 1..d, shape (d,), read-only; for d = 1 it is 10^0 = 1."""
    scales = np.power(10.0, exponent * np.arange(d) / max(d - 1, 1))
    scales.setflags(write=False)
    return scales


def root_sum_of_squares(gap: NDArray[np.float64]) -> NDArray[np.float64] | float:
    """Return the Euclidean norm along the last axis: a float for (d,), an array (N,) for (N, d)."""
    norm = np.sqrt(np.sum(gap * gap, axis=-1))
    return float(norm) if gap.ndim == 1 else norm


@dataclass(frozen=True)
class ShiftedL1Ellipsoid:
    """Shift l1-ellipsoid: two weighted l1 distances, to +0.01 and to -0.01 in every coordinate.

    With the weights w_i = 10^(2 (i-1)/(d-1))::

        F_1(x) = sum_i w_i |x_i - 0.01|,    F_2(x) = sum_i w_i |x_i + 0.01|    (4.21)

    The Pareto set is the box P_1 = [-0.01, 0.01]^d. On it F_1 + F_2 = 0.02 sum_i w_i, the least value of
    the sum. Both objectives are convex, neither is differentiable at its optimum, and the weights spread
    over two orders of magnitude.

    Parameters
    ----------
    d : int
        Number of parameters, at least 1. For d = 1, where the printed exponent is 0/0, the one weight is 1.

    Raises
    ------
    TypeError
        If `d` is not an int.
    ValueError
        If `d` is below 1, or a point has not the shape (d,) or (N, d).

    Notes
    -----
    A query costs O(d). Source: PhD thesis on multi-task learning (2024), section 4.6.1, Eq. 4.21.

    Examples
    --------
    >>> problem = ShiftedL1Ellipsoid(2)
    >>> problem([0.01, 0.01])
    array([0.  , 2.02])
    >>> problem.distance([3.01, -4.01])
    5.0
    """

    d: int
    n_objectives: ClassVar[int] = 2

    def __post_init__(self) -> None:
        integer("d", self.d, low=1)

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the objectives of a point (d,) as (2,), or of N points (N, d) as (N, 2)."""
        points = as_points(x, self.d)
        weights = ellipsoid_scales(self.d, 2.0)
        first = np.sum(weights * np.abs(points - 0.01), axis=-1)  # (4.21)
        second = np.sum(weights * np.abs(points + 0.01), axis=-1)  # (4.21)
        return np.stack((first, second), axis=-1)

    def distance(self, x: ArrayLike) -> NDArray[np.float64] | float:
        """Return the Euclidean distance to the Pareto set [-0.01, 0.01]^d.

        Parameters
        ----------
        x : array_like of shape (d,) or (N, d)
            One point or N points.

        Returns
        -------
        float or ndarray of shape (N,)
            The thesis's measure of error for this problem.
        """
        excess = np.maximum(np.abs(as_points(x, self.d)) - 0.01, 0.0)
        return root_sum_of_squares(excess)
