"""The small problem of FORUM, solved exactly from a Gram matrix."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ...simplex_qp import min_norm_weights
from .._types import FloatArray
from ._simplex_program import equality_qp

Multiplier = Literal["paper", "derived"]


def forum_weights(gram: FloatArray, phi: float, *, multiplier: Multiplier = "paper", halved: bool = True) -> FloatArray:
    r"""Return :math:`\lambda` of problem (3.29), the weights of the objectives' gradients.

    .. math:: \min_{\lambda \in \Delta^{m-1}, \gamma} \tfrac12 \Bigl\|\sum_i \lambda_i g_i + \gamma g_q\Bigr\|^2
              - \gamma \phi \quad \text{s.t.} \quad \gamma \ge 0, \; \gamma \ge \sum_i \lambda_i \pi_i, \qquad
              \pi_i = \frac{2 \phi - g_q^\top g_i}{\|g_q\|^2}

    The bound of :math:`\gamma` is always active: :math:`\gamma = \nu(\lambda)` of Eq. (3.27). With
    :math:`a = \sum_i \lambda_i g_q^\top g_i` and P the projection orthogonal to :math:`g_q`, what remains is

    .. math:: \min_{\lambda \in \Delta^{m-1}} \tfrac12 \|P \textstyle\sum_i \lambda_i g_i\|^2 + h(a), \qquad
              h(a) = \begin{cases} \phi a / \|g_q\|^2 & a \le 2 \phi \\ a^2 / (2 \|g_q\|^2) & a \ge 2 \phi
              \end{cases}

    up to a constant: convex, with a kink at :math:`a = 2 \phi`. To the right, this is the shortest convex combination
    of the gradients; to the left a quadratic program over the simplex; else the solution lies at the kink, where the
    program has one equality more.

    Parameters
    ----------
    gram : ndarray, shape (m + 1, m + 1)
        Gram matrix of the gradients of the m objectives and, last, of the constraint.
    phi : float
        :math:`\phi \ge 0`.
    multiplier : {"paper", "derived"}
        "derived": with :math:`\phi` instead of :math:`2 \phi` in :math:`\pi_i`, the minimum over
        :math:`\gamma \ge 0`; h has no kink then.
    halved : bool
        False: without the factor 1/2, as in the authors' code.

    Returns
    -------
    ndarray, shape (m,)
        Non-negative, with the sum 1. The conditions of optimality hold to a few roundings of their terms in units of
        the gradients' norms.
    """
    m = len(gram) - 1
    objectives, products = gram[:m, :m], gram[:m, m]
    length = float(np.sqrt(gram[m, m]))
    weights: FloatArray = np.asarray(min_norm_weights(objectives))
    if length == 0.0 or m == 1:
        return weights
    norms = np.sqrt(np.diag(objectives))
    largest = float(norms.max())
    if largest == 0.0:
        return weights
    norms = np.where(norms > 0.0, norms, largest)
    shares = norms.min() / norms  # y_i = lambda_i norms_i, and sum_i y_i shares_i is constant
    cosines = objectives / norms / norms[:, None]
    leaning = products / norms / length
    level = (2.0 if multiplier == "paper" else 1.0) * phi / length / largest  # a there, in these units
    slope = (1.0 if halved else 0.5) * phi / length / largest  # of h to the left

    shortest = weights * norms / largest
    if float(leaning @ shortest) >= level:
        return weights
    matrix = cosines - np.outer(leaning, leaning)
    unit = 1.0 / max(1.0, slope)
    # from a point as small as the solution: a corner of the simplex may be larger, and leave its rounding behind
    y = equality_qp(unit * matrix, unit * slope * leaning, shares[None, :], shortest)
    reached = float(leaning @ y)
    if reached > level:
        part = (level - float(leaning @ shortest)) / (reached - float(leaning @ shortest))
        start = shortest + part * (y - shortest)
        y = equality_qp(matrix, np.zeros(m), np.stack([shares, leaning]), start)
    found = y / norms
    return np.asarray(found / found.sum())


def forum_multiplier(weights: FloatArray, gram: FloatArray, phi: float, multiplier: Multiplier = "paper") -> float:
    r"""Return :math:`\nu(\lambda)` of Eq. (3.27); 0 where the constraint has no gradient."""
    squared = float(gram[-1, -1])
    if squared == 0.0:
        return 0.0
    bound = (2.0 if multiplier == "paper" else 1.0) * phi
    return max((bound - float(weights @ gram[:-1, -1])) / squared, 0.0)
