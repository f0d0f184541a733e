"""The min-norm problem over the simplex: weights of the shortest convex combination of gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._validate import gram_matrix


def min_norm_weights(G: ArrayLike) -> NDArray[np.float64]:
    r"""Weights of the shortest vector in the convex hull of m gradients, from their Gram matrix.

    .. math:: \min_{\lambda \in \Delta^{m-1}} \lambda^\top G \lambda, \qquad G_{ij} = g_i^\top g_j

    This is problem (4.10) with :math:`G = \Lambda^\top \Lambda`, Eq. (4.11), and the problem of MGDA. The
    minimum is 0 where the gradients have no common descent direction.

    Parameters
    ----------
    G : array_like, shape (m, m)
        Gram matrix: real, symmetric, positive semi-definite up to rounding. Any rank, and any scaling of the
        gradients: norms from 1e-15 to 1e15 may stand side by side. Converted to float64; never modified.

    Returns
    -------
    numpy.ndarray, shape (m,)
        The weights: non-negative, float64, their sum 1 up to rounding. Where several are optimal (duplicates,
        a singular matrix), one of them, the same at every call. Where gradients are zero (``G[i, i] == 0``),
        equal weights on these and 0 elsewhere.

    Raises
    ------
    TypeError
        If the entries are boolean, complex, or no numbers.
    ValueError
        If `G` is not square, is empty, has an entry that is not finite or a negative diagonal entry, or is
        not symmetric: :math:`|G_{ij} - G_{ji}| > 10^{-5} \sqrt{G_{ii} G_{jj}}`, wide enough for a float32
        product. Below that, the mean of the two counts.

    Notes
    -----
    An active-set method (Lawson and Hanson, 1974, ch. 23) in float64 on the matrix of cosines, scaled by
    powers of two so that scaling costs no digit. Where float64 cannot prove its own result, double-double
    arithmetic continues from it. The number of pivots is bounded, and the result deterministic.

    With :math:`f^*` the minimum and :math:`\lambda^*` a point where it is taken, for every positive
    semi-definite float64 matrix that was tried (m up to 200, against a reference in 200 digits),

    .. math:: \lambda^\top G \lambda - f^* \le 10^{-12}
              \max\bigl(f^*, 2^{-52} \bigl(\textstyle\sum_i \lambda^*_i \sqrt{G_{ii}}\bigr)^2\bigr),

    where the second term is what one rounding of each entry can do to the value at :math:`\lambda^*`.
    Rounding may leave a computed matrix slightly indefinite, :math:`G + \eta\,\mathrm{diag}(G) \succeq 0`;
    then the excess over :math:`\max(f^*, 0)` is at most of the order
    :math:`\eta (\sum_i \lambda_i \sqrt{G_{ii}})^2`. A matrix further from any Gram matrix gives a point of
    the simplex, with no promise.

    Complexity: O(m k) per pivot for k active gradients, mostly about k pivots; O(m^2) memory.
    """
    weights: NDArray[np.float64] = _core.simplex_qp(gram_matrix(G))[0]
    return weights
