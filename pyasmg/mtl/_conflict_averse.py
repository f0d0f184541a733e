"""The small problem of CAGrad, solved exactly from the Gram matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _core
from ..simplex_qp import min_norm_weights
from ._nonnegative_qp import EPS, bounded_qp, cosine_matrix, nonnegative_qp, solve, without_zeros
from ._types import FloatArray


def conflict_averse_weights(gram: FloatArray, c: float) -> FloatArray:
    r"""Return v with :math:`d = g_0 + \sum_i v_i g_i` the direction of CAGrad, :math:`g_0` the mean of the gradients.

    .. math:: \max_d \min_i g_i^\top d \quad \text{s.t.} \quad \|d - g_0\| \le r, \qquad r = c \|g_0\|

    Its dual is :math:`\min_{w \in \Delta} g_w^\top g_0 + r \|g_w\|`, and :math:`v = r w / \|g_w\|`. Optimal is, with
    the worst rate :math:`\nu`,

    .. math:: v \ge 0, \quad g_i^\top d \ge \nu, \quad v_i (g_i^\top d - \nu) = 0, \quad \|\textstyle\sum v_i g_i\| = r,

    and that is solved: for a given :math:`\nu`, the first three say that d is the point of
    :math:`\{d : g_i^\top d \ge \nu\}` next to :math:`g_0`, a quadratic program. The distance to it is convex and
    increases with :math:`\nu`; on a face of the program its square is quadratic in :math:`\nu`, so that Newton's
    method ends with the exact step once it is on the right face. All of it on the matrix of cosines.

    Where no d has a positive worst rate, and some d within reach has a rate of 0 (a Pareto-stationary point, a zero
    gradient), :math:`\|g_w\| = 0` is optimal and leaves d open. Then d is the one next to :math:`g_0` with rates that
    are not negative: the projection of :math:`g_0` onto the dual cone; v is the shorter. Where :math:`g_0 = 0`, v is 0.

    Parameters
    ----------
    gram : ndarray, shape (m, m)
        Gram matrix; any rank, any scaling of the gradients.
    c : float
        >= 0.

    Returns
    -------
    ndarray, shape (m,)
        v, non-negative. The conditions hold to a few roundings of their terms, with rates over the norms.
    """
    found = _core.conflict_averse_weights(gram, c)
    if found is not None:
        return found
    m = len(gram)
    result = np.zeros(m)
    nonzero, gram = without_zeros(gram)
    if nonzero.size == 0 or c == 0.0:
        return result
    norms, cosines = cosine_matrix(gram)
    norms = norms / norms.max()
    inner = cosines @ norms / m  # u_i'g0
    squared = float(norms @ inner) / m
    if squared <= 64.0 * m * EPS * float(norms @ np.abs(cosines) @ norms) / m**2:
        return result
    length = float(np.sqrt(squared))
    result[nonzero] = _solve(norms, cosines, inner, c * length, (1.0 + c) * length, nonzero.size < m) / norms
    return result


def _solve(
    norms: FloatArray, cosines: FloatArray, inner: FloatArray, radius: float, longest: float, held: bool
) -> FloatArray:
    """Return y, the coefficients of the unit vectors; ``held``: a zero gradient keeps the rate at 0."""
    shares = norms.min() / norms  # g_i'd >= nu is u_i'd >= rate * shares_i, with nu = rate * smallest norm
    weights = min_norm_weights(cosines * norms * norms[:, None])
    y = _guess(cosines, inner, shares, radius, weights > 0.0, held)
    if y is not None:
        return y
    y = bounded_qp(cosines, inner)
    if _length(cosines, y) <= radius:
        if held:
            return y
        z = weights * norms
        shortest = float(z @ cosines @ z)
        if shortest <= 64.0 * len(norms) * EPS * float(z.sum()) ** 2:
            return y
        low, high = max(0.0, float((inner / shares).min())), longest * float(np.sqrt(shortest)) / float(norms.min())
        rate = high
    else:
        low, high = float((inner / shares).min()), 0.0
        rate = 0.0
    for _ in range(200):
        found = nonnegative_qp(cosines, inner - rate * shares)
        if found is None or not found.any():
            low, high = (low, rate) if found is None else (rate, high)
            following = 0.5 * (low + high)
        else:
            y = found
            distance = _length(cosines, y)
            low, high = (low, rate) if distance >= radius else (rate, high)
            face = y > 0.0
            growth = np.zeros_like(y)
            growth[face] = solve(cosines[np.ix_(face, face)], shares[face])
            missing = (radius - distance) * (radius + distance)
            slope, bend = float(shares @ y), float(shares @ growth)
            step = missing / (slope + float(np.sqrt(max(slope**2 + bend * missing, 0.0))))
            following = rate + step
            candidate = y + step * growth
            if _optimal(cosines, inner - following * shares, candidate, radius):
                return np.maximum(candidate, 0.0)
            if not low < following < high:
                following = 0.5 * (low + high)
        if following in (rate, low, high):
            break
        rate = following
    return y


def _guess(
    cosines: FloatArray, inner: FloatArray, shares: FloatArray, radius: float, inside: npt.NDArray[np.bool_], held: bool
) -> FloatArray | None:
    """Look for the face by letting every index that violates its condition change sides; None if that leads nowhere."""
    y, found = _core.conflict_averse_guess(cosines, inner, shares, radius, inside.view(np.uint8), held)
    return y if found else None


def _length(cosines: FloatArray, y: FloatArray) -> float:
    return float(np.sqrt(max(float(y @ cosines @ y), 0.0)))


def _optimal(cosines: FloatArray, linear: FloatArray, y: FloatArray, radius: float) -> bool:
    """Whether y is feasible and solves the program, at the distance of the radius; all of it up to rounding."""
    noise = 16.0 * (len(y) + 4) * EPS
    terms = np.abs(cosines) @ np.abs(y)
    missing = abs(float(y @ cosines @ y) - radius**2)
    return bool(
        (y >= -noise * np.abs(y).max()).all()
        and (cosines @ y + linear >= -noise * (terms + np.abs(linear))).all()
        and missing <= noise * (float(np.abs(y) @ terms) + radius**2)
    )
