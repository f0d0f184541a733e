"""CAGrad: conflict-averse gradients."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .._validate import number
from ._conflict_averse import conflict_averse_weights
from ._gradient import GramBalancer, HeadWeights
from ._types import FloatArray
from .ew import Reduction

Rescale = Literal["none", "square", "linear"]


class CAGrad(GramBalancer):
    r"""CAGrad (Liu et al., 2021): the best worst rate in a ball around the mean gradient.

    .. math:: \max_d \min_i g_i^\top d \quad \text{s.t.} \quad \|d - g_0\| \le c \|g_0\|, \qquad
              g_0 = \frac1m \sum_i g_i   \qquad \text{(PIVRG, App. C.2)}

    .. math:: d = g_0 + \frac{\sqrt\varphi}{\|g_w\|} g_w, \qquad
              w = \arg\min_{w \in \Delta} g_w^\top g_0 + \sqrt\varphi \|g_w\|, \qquad
              \varphi = c^2 \|g_0\|^2, \quad g_w = \sum_i w_i g_i   \qquad \text{(Algorithm 1)}

    solved exactly, see the notes. c = 0 gives the mean. m backward passes, or one through the trunk with
    ``features=``.

    Parameters
    ----------
    n_tasks : int
        m.
    c : float
        >= 0, in the paper below 1, where the iterates converge to a stationary point of the mean loss. 0.4 as in the
        authors' scripts for NYUv2 and Cityscapes.
    rescale : {"none", "square", "linear"}
        d is divided by 1, as in the paper, by :math:`1 + c^2` (the authors' code), or by :math:`1 + c` (an option of
        it).
    reduction : {"mean", "sum"}
        "mean" as in the paper; "sum" multiplies by m, as the authors' code does and LibMTL does not.
    head_weights : {"one", "weighted"}
        "one" by default, as in the authors' code.

    Notes
    -----
    Deviation: exact, where the authors take up to 20 steps of gradient descent or a general solver on w, with 1e-4 or
    1e-8 added to norms; the result is optimal to a few roundings of its terms for any rank and any scaling of the
    gradients. Where :math:`g_w = 0` is optimal (0 is in the convex hull of the gradients, or one of them is zero, and
    c is large enough), d is not determined by w: it is the direction next to :math:`g_0` along which no loss rises,
    hence 0 at a Pareto-stationary point with :math:`c \ge 1`. About 0.15 ms at m = 40,
    and some milliseconds for singular matrices.
    """

    def __init__(
        self,
        n_tasks: int,
        *,
        c: float = 0.4,
        rescale: Rescale = "none",
        reduction: Reduction = "mean",
        head_weights: HeadWeights | None = None,
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        self.c = number("c", c, low=0.0)
        divisors = {"none": 1.0, "square": 1.0 + self.c**2, "linear": 1.0 + self.c}
        if rescale not in divisors:
            raise ValueError(f"`rescale` must be 'none', 'square' or 'linear'; got {rescale!r}.")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"`reduction` must be 'mean' or 'sum'; got {reduction!r}.")
        self._factor = (n_tasks if reduction == "sum" else 1.0) / divisors[rescale]

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        return np.asarray(self._factor * (1.0 / self.n_tasks + conflict_averse_weights(gram, self.c)))
