"""Convex quadratic programs over non-negative variables with a few equalities, from a feasible point."""

from __future__ import annotations

import numpy as np

from .._types import FloatArray

EPS = float(np.finfo(np.float64).eps)


def equality_qp(matrix: FloatArray, linear: FloatArray, rows: FloatArray, start: FloatArray) -> FloatArray:
    r"""Solve a quadratic program over a bounded set.

    .. math:: \min_{y \ge 0} \tfrac12 y^\top H y + b^\top y \quad \text{s.t.} \quad A y = A y_0

    Parameters
    ----------
    matrix : ndarray, shape (m, m)
        H, symmetric and positive semi-definite up to rounding, of any rank; scaled so that its diagonal is about 1.
    linear : ndarray, shape (m,)
        b.
    rows : ndarray, shape (k, m)
        A, with entries up to about 1.
    start : ndarray, shape (m,)
        :math:`y_0 \ge 0`.

    Returns
    -------
    ndarray, shape (m,)

    Notes
    -----
    A primal active-set method in the null space of the equalities on the face; directions in which the value is
    linear are followed to the next face. O(m^3) per step, mostly about as many steps as there are positive entries.
    """
    m = len(linear)
    y = start.copy()
    free = y > 0.0
    banned = np.zeros(m, dtype=bool)
    magnitude, size, level = np.abs(matrix), np.abs(linear), rows @ start
    full_steps = 0  # on the present face: the second one refines, more would follow rounding
    for _ in range(50 * m + 50):
        gradient, terms = matrix @ y + linear, magnitude @ y + size
        face = np.flatnonzero(free)
        change, bounded = _newton(matrix[np.ix_(face, face)], gradient[face], rows[:, face], float(terms[face].max()))
        if full_steps == 2 or np.abs(change).max(initial=0.0) <= 16.0 * EPS * float(y.max()):
            multipliers = np.linalg.lstsq(rows[:, face].T, gradient[face], rcond=None)[0]
            costs = gradient - multipliers @ rows
            noise = 64.0 * m * EPS * (terms + np.abs(multipliers) @ np.abs(rows))
            wanted = (costs < -noise) & ~free & ~banned
            if not wanted.any():
                break
            entering = int(np.where(wanted, costs, 0.0).argmin())
            free[entering] = banned[entering] = True
            full_steps = 0
            continue
        falling = change < 0.0
        steps = np.full(face.size, np.inf)
        steps[falling] = y[face[falling]] / -change[falling]
        blocking = int(steps.argmin())
        length = float(steps[blocking])
        if bounded and length >= 1.0:
            y[face] = _restored(np.maximum(y[face] + change, 0.0), rows[:, face], level)
            full_steps += 1
        elif np.isfinite(length):
            y[face] = np.maximum(y[face] + length * change, 0.0)
            y[face[blocking]] = 0.0
            free[face[blocking]] = False
            full_steps = 0
        else:
            break  # rounding: a bounded set has no such direction
        if length > 0.0:
            banned[:] = False
    return np.asarray(y)


def _restored(y: FloatArray, rows: FloatArray, level: FloatArray) -> FloatArray:
    """Return y with what rounding took from the equalities, by the least relative change."""
    scaled = rows * y
    return np.asarray(y * (1.0 + np.linalg.lstsq(scaled, level - rows @ y, rcond=None)[0]))


def _newton(block: FloatArray, gradient: FloatArray, rows: FloatArray, terms: float) -> tuple[FloatArray, bool]:
    """Return the way to the minimum on a face, and False if it is a direction in which the value falls linearly.

    ``terms`` is how large the numbers are whose sums are the gradient.
    """
    _, values, right = np.linalg.svd(rows)
    rank = int((values > 32.0 * EPS * max(float(values.max(initial=0.0)), 1e-300)).sum())
    basis = right[rank:].T
    if basis.shape[1] == 0:
        return np.zeros(len(gradient)), True
    curvatures, axes = np.linalg.eigh(basis.T @ block @ basis)
    slopes = axes.T @ (basis.T @ gradient)
    flat = curvatures <= 64.0 * len(gradient) * EPS
    noise = 64.0 * len(gradient) * EPS * terms
    if (np.abs(slopes[flat]) > noise).any():
        return np.asarray(-basis @ (axes[:, flat] @ slopes[flat])), False
    curved = ~flat
    return np.asarray(-basis @ (axes[:, curved] @ (slopes[curved] / curvatures[curved]))), True
