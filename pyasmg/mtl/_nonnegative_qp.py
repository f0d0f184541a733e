"""A convex quadratic program over non-negative variables: projections onto what is dual to a set of gradients."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _core
from ._types import FloatArray

EPS = float(np.finfo(np.float64).eps)


def cosine_matrix(gram: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the norms of the gradients, and their cosines with a diagonal of ones; 0 for those of a zero gradient."""
    return _core.unit_gram(np.ascontiguousarray(gram))


def without_zeros(gram: FloatArray) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """Return which gradients are not zero, and the Gram matrix of these."""
    squares = gram.diagonal().tolist()
    if min(squares) > 0.0:
        return np.arange(len(squares)), gram
    nonzero = np.flatnonzero(np.array(squares) > 0.0)
    return nonzero, gram[np.ix_(nonzero, nonzero)]


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
    A primal active-set method in the core, ``csrc/nonnegative_qp.hpp``. O(m^3) per step, mostly about as many steps as
    there are positive entries.
    """
    y, has_bound = _core.nonnegative_qp(matrix, linear, False)
    return y if has_bound else None


def bounded_qp(matrix: FloatArray, linear: FloatArray) -> FloatArray:
    """Solve a program that has a solution, see :func:`nonnegative_qp`: what says otherwise is rounding of C.

    A projection onto what is dual to all gradients has one; the matrix may hold single-precision products of opposing
    gradients, which deny it.
    """
    return _core.nonnegative_qp(matrix, linear, True)[0]


def solve(block: FloatArray, right: FloatArray) -> FloatArray:
    """Return the solution of a linear system, the shortest one in the mean square where the matrix is singular."""
    try:
        return np.asarray(np.linalg.solve(block, right))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(block, right, rcond=None)[0])
