"""A convex quadratic program over non-negative variables: projections onto what is dual to a set of gradients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._types import FloatArray

IndexArray = npt.NDArray[np.intp]
EPS = float(np.finfo(np.float64).eps)


def cosine_matrix(gram: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the norms of the gradients, and their cosines with a diagonal of ones; there must be no zero gradient."""
    norms = np.sqrt(np.diag(gram))
    cosines = np.clip(0.5 * (gram + gram.T) / norms / norms[:, None], -1.0, 1.0)
    np.fill_diagonal(cosines, 1.0)
    return norms, cosines


def nonnegative_qp(matrix: FloatArray, linear: FloatArray) -> FloatArray | None:
    r"""Solve a quadratic program over non-negative variables.

    .. math:: \min_{y \ge 0} \tfrac12 y^\top C y + q^\top y

    With unit vectors :math:`u_i` of cosines C and :math:`q_i = u_i^\top x - \beta_i`, :math:`x + \sum_i y_i u_i` is
    the point of :math:`\{d : u_i^\top d \ge \beta_i\}` that is next to x.

    Parameters
    ----------
    matrix : ndarray, shape (m, m)
        C, symmetric and positive semi-definite up to rounding, with a diagonal of ones. Of any rank.
    linear : ndarray, shape (m,)
        q.

    Returns
    -------
    ndarray, shape (m,), or None
        y, with :math:`y_i = 0` or :math:`(C y + q)_i = 0`, and :math:`C y + q \ge 0`, all of them to a few roundings
        of the terms. None where the value has no bound (that set is empty).

    Notes
    -----
    A primal active-set method (Lawson and Hanson, 1974, ch. 23). An index whose vector depends on those of the face
    enters along the null vector, in exchange for another one. No face is visited twice, so that rounding cannot make
    it cycle. O(m^3) per step, mostly about as many steps as there are positive entries.
    """
    y, bounded = _active_set(matrix, linear, False)
    return y if bounded else None


def bounded_qp(matrix: FloatArray, linear: FloatArray) -> FloatArray:
    """Solve a program that has a solution, see :func:`nonnegative_qp`: what says otherwise is rounding of C.

    A projection onto what is dual to all gradients has one; the matrix may hold single-precision products of opposing
    gradients, which deny it.
    """
    return _active_set(matrix, linear, True)[0]


def _active_set(matrix: FloatArray, linear: FloatArray, bounded: bool) -> tuple[FloatArray, bool]:
    """Return y, and False if the value falls without bound from there."""
    m = len(linear)
    unit = 8.0 * (m + 4) * EPS
    magnitude, size = np.abs(matrix), np.abs(linear)
    y, face = np.zeros(m), np.zeros(0, dtype=np.intp)
    banned = np.zeros(m, dtype=bool)
    seen = {face.tobytes()}
    for _ in range(20 * m + 50):
        slack = matrix @ y + linear
        wanted = slack < -unit * (magnitude @ y + size)
        wanted[face] = False
        wanted[banned] = False
        if not wanted.any():
            break
        entering = int(np.where(wanted, slack, 0.0).argmin())
        moved = _enter(matrix, linear, y, face, entering)
        if moved is None and not bounded:
            return y, False
        key = b"" if moved is None else np.sort(moved[1]).tobytes()
        if moved is None or key in seen:  # a violation that was rounding
            banned[entering] = True
            continue
        seen.add(key)
        y, face = moved
        banned[:] = False
    return y, True


def _enter(
    matrix: FloatArray, linear: FloatArray, start: FloatArray, face: IndexArray, entering: int
) -> tuple[FloatArray, IndexArray] | None:
    """Walk to the minimum on the face with one more index; None where the value falls for ever."""
    y, face = start.copy(), np.append(face, entering)
    while face.size:
        block = matrix[np.ix_(face, face)]
        target = None if _singular(block) else np.linalg.solve(block, -linear[face])
        if target is None or (y[entering] == 0.0 and target[-1] <= 0.0):  # the pivot of what enters is rounding
            # C z = 0, and the value falls along z as it does with the entering variable
            change = np.append(-solve(block[:-1, :-1], block[:-1, -1]), 1.0)
            falling = change < -1e-12 * np.abs(change).max()
            if not falling.any():
                return None
        else:
            if (target > 0.0).all():
                y[face] = target
                break
            change = target - y[face]
            falling = target <= 0.0
        steps = np.full(face.size, np.inf)
        steps[falling] = y[face[falling]] / np.maximum(-change[falling], np.finfo(np.float64).tiny)
        blocking = int(steps.argmin())
        y[face] = np.maximum(y[face] + steps[blocking] * change, 0.0)
        y[face[blocking]] = 0.0
        face = np.delete(face, blocking)
    return y, face


def solve(block: FloatArray, right: FloatArray) -> FloatArray:
    """Return the solution of a linear system, the shortest one in the mean square where the matrix is singular."""
    try:
        return np.asarray(np.linalg.solve(block, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(block, right, rcond=None)[0])


def _singular(block: FloatArray) -> bool:
    try:
        pivots = np.diag(np.linalg.cholesky(block)) ** 2
    except np.linalg.LinAlgError:
        return True
    return bool(pivots.min() <= 64.0 * len(block) * EPS)


def bounded_qps(matrix: FloatArray, linears: FloatArray) -> FloatArray:
    """Solve k programs with one matrix, see :func:`bounded_qp`; a row each.

    Block principal pivoting (Portugal, Judice and Vicente, 1994) on all of them at once: every index that violates its
    condition changes sides, which takes about five rounds. What it leaves open, and what it cannot prove because of a
    nearly singular face, is left to the active-set method.
    """
    k, m = linears.shape
    unit = 8.0 * (m + 4) * EPS
    result = np.full((k, m), np.nan)
    rows, inside = np.arange(k), linears < 0.0
    for _ in range(30):
        if rows.size == 0:
            break
        blocks = np.where(inside[:, :, None] & inside[:, None, :], matrix, np.eye(m))
        try:
            y = np.linalg.solve(blocks, np.where(inside, -linears[rows], 0.0)[:, :, None])[:, :, 0]
        except np.linalg.LinAlgError:
            break
        terms = np.abs(y) @ np.abs(matrix) + np.abs(linears[rows])
        bad = np.where(inside, y <= 0.0, y @ matrix + linears[rows] < -unit * terms)
        open_ = bad.any(axis=1)
        proven = ~open_ & (terms.max(axis=1) < 1e3 * np.abs(linears[rows]).max(axis=1, initial=1e-300))
        result[rows[proven]] = y[proven]
        rows, inside = rows[open_], inside[open_] ^ bad[open_]
    for row in np.flatnonzero(np.isnan(result[:, 0])):
        result[row] = bounded_qp(matrix, linears[row])
    return result
