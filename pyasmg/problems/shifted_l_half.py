"""The shift l1/2-ellipsoid, thesis problem (4.22)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validate import integer
from .shifted_l1 import as_points, root_sum_of_squares


@dataclass(frozen=True)
class ShiftedLHalfEllipsoid:
    """Shift l1/2-ellipsoid: two sums of square roots, of the distances to +0.1 and to -0.1.

    The objectives are::

        F_1(x) = sum_i |x_i - 0.1|^(1/2),    F_2(x) = sum_i |x_i + 0.1|^(1/2)    (4.22)

    Neither is convex, and the Pareto front is concave, so that a weighted sum is least at the corners
    {-0.1, 0.1}^d only: on them F_1 + F_2 = d 0.2^(1/2). The thesis measures the distance to these corners,
    not to the whole Pareto set. It calls the problem an ellipsoid; every coordinate has the weight 1.

    Parameters
    ----------
    d : int
        Number of parameters, at least 1.

    Raises
    ------
    TypeError
        If `d` is not an int.
    ValueError
        If `d` is below 1, or a point has not the shape (d,) or (N, d).

    Notes
    -----
    A query costs O(d). Source: PhD thesis on multi-task learning (2024), section 4.6.1, Eq. 4.22.

    Examples
    --------
    >>> problem = ShiftedLHalfEllipsoid(2)
    >>> problem([0.1, -0.15]).round(4)
    array([0.5   , 0.6708])
    >>> round(problem.distance([0.1, -0.15]), 12)
    0.05
    """

    d: int
    n_objectives: ClassVar[int] = 2

    def __post_init__(self) -> None:
        integer("d", self.d, low=1)

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the objectives of a point (d,) as (2,), or of N points (N, d) as (N, 2)."""
        points = as_points(x, self.d)
        first = np.sqrt(np.abs(points - 0.1)).sum(axis=-1)  # (4.22)
        second = np.sqrt(np.abs(points + 0.1)).sum(axis=-1)  # (4.22)
        return np.stack((first, second), axis=-1)

    def distance(self, x: ArrayLike) -> NDArray[np.float64] | float:
        """Return the Euclidean distance to the nearest corner of {-0.1, 0.1}^d.

        Parameters
        ----------
        x : array_like of shape (d,) or (N, d)
            One point or N points.

        Returns
        -------
        float or ndarray of shape (N,)
            The thesis's measure of error for this problem.
        """
        return root_sum_of_squares(np.abs(as_points(x, self.d)) - 0.1)
