"""Fair weights of m gradients: Nash-MTL, FairGrad and PIVRG are one convex problem."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._validate import gram_matrix, number, vector


def fair_weights(G: ArrayLike, alpha: float = 1.0, preference: ArrayLike | None = None) -> NDArray[np.float64]:
    r"""Weights w > 0 with :math:`G w = (c / w)^{1/\alpha}`, elementwise, from the Gram matrix of m gradients.

    With :math:`d = \sum_i w_i g_i`, and :math:`(G w)_i = g_i^\top d` the rate at which loss i falls along -d, this is
    the stationarity of

    .. math:: \min_{w > 0} \tfrac12 w^\top G w - \sum_i c_i^{1/\alpha} \varphi(w_i),
              \qquad \varphi'(w) = w^{-1/\alpha},

    which is convex. Along d the losses fall in an :math:`\alpha`-fair way:

    ============  =====================  ======================================================
    alpha         preference             method
    ============  =====================  ======================================================
    1             None                   Nash-MTL (Navon et al., 2022), :math:`G w = 1 / w`
    any           None                   FairGrad (Ban and Ji, 2024)
    2             performance weights    PIVRG, Eq. (8): :math:`(G w)^2 = \omega / w`, with
                                         :math:`\omega` of Eq. (5)
    to infinity   None                   w / sum(w) tends to :func:`min_norm_weights` (MGDA)
    ============  =====================  ======================================================

    Parameters
    ----------
    G : array_like, shape (m, m)
        Gram matrix: real, symmetric, positive semi-definite up to rounding. Any rank, and any scaling of the
        gradients. Converted to float64; never modified.
    alpha : float, default 1.0
        Fairness, > 0. The larger, the more counts the loss that falls slowest. Towards 0, w tends to c.
    preference : array_like, shape (m,), optional
        c, positive; ones by default. A scalar stands for m equal entries.

    Returns
    -------
    numpy.ndarray, shape (m,)
        The weights, float64. Their sum is not 1, and their length matters: ``w @ G @ w``, the squared norm of d, is
        ``sum(c ** (1 / alpha) * w ** (1 - 1 / alpha))``, hence m for Nash-MTL.

        - A zero gradient (``G[i, i] == 0``) has no finite weight, and no share in d. It is left out: its weight is 0,
          and the others are those of the problem without it.
        - Where 0 is in the convex hull of the gradients (opposing gradients, a Pareto-stationary point) no w has
          positive ``G @ w``. Then the weights are those of :math:`G + \delta \operatorname{diag}(G)` with a tiny
          :math:`\delta`, see the notes: positive, finite and large (about 1e7 over the norms for alpha = 1), with d
          next to 0, and never longer than the sum above. The caller sees it in ``G @ w``, some of which is then far
          from ``(c / w) ** (1 / alpha)``. Weights that multiply anything but the gradients in `G`, such as the losses
          of separate heads, should be clipped.
        - Duplicates, and linearly dependent gradients otherwise, are nothing special: the weights are unique.

    Raises
    ------
    TypeError
        If the entries of `G` or `preference` are boolean, complex, or no numbers, or `alpha` is no number.
    ValueError
        If `G` is not a Gram matrix, as in :func:`min_norm_weights`; if `alpha` or an entry of `preference` is not
        positive and finite, or `preference` has another length.

    Notes
    -----
    Units. :math:`G \to s G` makes :math:`w \to s^{-\alpha/(1+\alpha)} w`, and :math:`c \to t c` makes
    :math:`w \to t^{1/(1+\alpha)} w`. Scaling gradient i by :math:`s_i`, :math:`G \to S G S`, makes
    :math:`w_i \to w_i / s_i` if c goes to :math:`c_i s_i^{\alpha-1}`; so d does not depend on the units of the losses
    for alpha = 1, and does for any other.

    Accuracy. The weights solve the problem to a few roundings of its terms,

    .. math:: |(G w)_i - (c_i / w_i)^{1/\alpha}| \le \varepsilon \bigl((|G| w)_i + (c_i / w_i)^{1/\alpha}\bigr),

    with :math:`\varepsilon` about 1e-14 in everything tried with alpha in [0.5, 5] and norms from 1e-15 to 1e15, and
    2e-12 where 0 is in the hull. That includes :math:`\delta = 2^{-50}`, which is larger, in steps of 64, only where
    rounding leaves no other way: singular matrices with 0 in the hull, and indefinite ones, such as a float32 product
    of opposing gradients (1e-7 or so). A weight that leaves the range of float64 (alpha = 50 with norms from 1e-8 to
    1e8, say) is held at its end.

    A primal-dual Newton method with the lengths taken out first: up to 20 steps of O(m^3) for alpha in [0.5, 5] and
    norms from 1e-8 to 1e8, a few hundred where 0 is in the hull; O(m^2) memory. The number of steps is bounded, and the
    result the same on every machine. The methods' authors solve the same system by up to 20 convex sub-problems
    (Nash-MTL) or by least squares (FairGrad, PIVRG).
    """
    gram = gram_matrix(G)
    if type(alpha) is not float or not 0.0 < alpha < np.inf:
        alpha = number("alpha", alpha, low=0.0, strict=True)
    m = len(gram)
    if preference is None:
        c = np.ones(m)
    else:
        c = vector("preference", preference, m)
        if c.min() <= 0.0:
            index = int(np.argmin(c))
            raise ValueError(f"`preference` must be positive; got {c[index]} at index {index}.")
    weights: NDArray[np.float64] = _core.fair_weights(gram, alpha, c)[0]
    return weights
