"""Aligned-MTL: independent component alignment."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .. import _core
from ._gradient import GramBalancer, HeadWeights
from ._types import FloatArray
from .ew import Reduction, reduction_factor

Scale = Literal["min", "median", "rmse"]


class AlignedMTL(GramBalancer):
    r"""Aligned-MTL (Senushkin et al., 2023): the principal components of the gradients are made equally long.

    With :math:`G = V \Lambda V^\top` the Gram matrix, of rank r,

    .. math:: d = \sum_i w_i g_i, \qquad w = B \omega, \qquad
              B = \sqrt{\lambda_r} \sum_{k \le r} \frac{v_k v_k^\top}{\sqrt{\lambda_k}}   \qquad \text{(Algorithm 1)}

    so that the gradient matrix has all singular values equal to its smallest, and a condition number of 1. m backward
    passes, or one through the trunk with ``features=``. :math:`\omega` are equal weights, times the `preference`: the
    paper's task weights.

    Parameters
    ----------
    n_tasks : int
        m.
    scale : {"min", "median", "rmse"}
        Which eigenvalue stands in for :math:`\lambda_r`: the smallest that is not zero, as in the paper, the median,
        or the mean (an option of the authors' code).
    reduction : {"mean", "sum"}
        Equal weights of 1 / m, or of 1 as in LibMTL.
    head_weights : {"one", "weighted"}
        "one" by default: the heads are trained on the plain losses.

    Notes
    -----
    Deviations: float64; eigenvalues up to :math:`64 m \varepsilon \lambda_1` count as zero, where public codes have
    :math:`m \varepsilon \lambda_1`, which rounding may exceed. The smallest eigenvalue scales the whole direction:
    where gradients are nearly dependent, the direction is short.
    """

    def __init__(
        self,
        n_tasks: int,
        *,
        scale: Scale = "min",
        reduction: Reduction = "mean",
        head_weights: HeadWeights | None = None,
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        if scale not in ("min", "median", "rmse"):
            raise ValueError(f"`scale` must be 'min', 'median' or 'rmse'; got {scale!r}.")
        self.scale: Scale = scale
        self._factor = reduction_factor(reduction, n_tasks)

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        return self.preferred_weights(gram, losses, np.ones(self.n_tasks))

    def preferred_weights(self, gram: FloatArray, losses: FloatArray, preference: FloatArray) -> FloatArray:
        return _core.aligned_weights(gram, self.scale, self._factor * preference)
