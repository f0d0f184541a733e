"""The mixed ellipsoid-Rastrigin 10, thesis problem (4.23)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._validate import integer
from .shifted_l1 import as_points, ellipsoid_scales, root_sum_of_squares


@dataclass(frozen=True)
class MixedEllipsoidRastrigin:
    """Mixed ellipsoid-Rastrigin 10: a weighted sum of square roots beside a scaled Rastrigin function.

    With u_i = 10^((i-1)/(d-1)) x_i and the weights w_i = 10^(2 (i-1)/(d-1))::

        F_1(x) = sum_i w_i |x_i|^(1/2)                           (4.23)
        F_2(x) = 10 d + sum_i (u_i^2 - 10 cos(2 pi u_i))         (4.23)

    The one Pareto-optimal point is x = 0, where both objectives are 0. F_1 is not convex, and F_2 has a
    local optimum near every integer u_i.

    Parameters
    ----------
    d : int
        Number of parameters, at least 1. For d = 1, where the printed exponents are 0/0, the scales are 1.

    Raises
    ------
    TypeError
        If `d` is not an int.
    ValueError
        If `d` is below 1, or a point has not the shape (d,) or (N, d).

    Notes
    -----
    F_2 is computed as sum_i (u_i^2 + 20 sin^2(pi u_i)), which is the same function without the cancellation
    of 10 d near the optimum. A query costs O(d). Source: PhD thesis on multi-task learning (2024),
    section 4.6.1, Eq. 4.23.

    Examples
    --------
    >>> problem = MixedEllipsoidRastrigin(2)
    >>> problem([0.25, 0.0])
    array([ 0.5   , 10.0625])
    >>> problem.distance([3.0, 4.0])
    5.0
    """

    d: int
    n_objectives: ClassVar[int] = 2

    def __post_init__(self) -> None:
        integer("d", self.d, low=1)

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the objectives of a point (d,) as (2,), or of N points (N, d) as (N, 2)."""
        points = as_points(x, self.d)
        scaled = points * ellipsoid_scales(self.d, 1.0)
        ellipsoid = np.sum(ellipsoid_scales(self.d, 2.0) * np.sqrt(np.abs(points)), axis=-1)  # (4.23)
        rastrigin = np.sum(scaled**2 + 20.0 * np.sin(np.pi * scaled) ** 2, axis=-1)  # (4.23)
        return np.stack((ellipsoid, rastrigin), axis=-1)

    def distance(self, x: ArrayLike) -> NDArray[np.float64] | float:
        """Return the Euclidean distance to the Pareto-optimal point 0.

        Parameters
        ----------
        x : array_like of shape (d,) or (N, d)
            One point or N points.

        Returns
        -------
        float or ndarray of shape (N,)
            The thesis's measure of error for this problem.
        """
        return root_sum_of_squares(as_points(x, self.d))
