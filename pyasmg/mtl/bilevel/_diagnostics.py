"""What a bilevel method knows of its last step."""

from __future__ import annotations

from typing import NamedTuple

from .._types import FloatArray


class BilevelDiagnostics(NamedTuple):
    r"""One step of a bilevel method, in float64 on the host; None where a method has no such thing.

    Attributes
    ----------
    iteration : int
        k, from 0.
    upper : ndarray, shape (m,)
        The objectives of the upper level, at omega (at the last lower step for those that differentiate through it).
    lower : float
        f at omega, before the step.
    lower_reached : float or None
        f after the lower steps.
    weights : ndarray, shape (m,), or None
        :math:`\tilde\lambda`, what the gradients of the objectives were multiplied by.
    multiplier : float or None
        :math:`\nu`, what the gradient of the constraint was multiplied by.
    constraint : float or None
        :math:`\tilde q = f(\alpha, \omega) - f(\alpha, \tilde\omega^T)`.
    gradient_norms : ndarray, shape (m,)
        Norms of the (hyper)gradients of the objectives.
    constraint_norm : float or None
        Norm of the gradient of the constraint.
    direction_norm : float
        Norm of the direction; its square is the measure :math:`K(z)` of stationarity for FORUM.
    """

    iteration: int
    upper: FloatArray
    lower: float
    lower_reached: float | None
    weights: FloatArray | None
    multiplier: float | None
    constraint: float | None
    gradient_norms: FloatArray
    constraint_norm: float | None
    direction_norm: float
