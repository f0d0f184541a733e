"""FairGrad, and what it shares with Nash-MTL and PIVRG."""

from __future__ import annotations

from .._validate import number
from ..fair_weights import fair_weights
from ._gradient import GramBalancer, HeadWeights
from ._types import FloatArray


class FairGrad(GramBalancer):
    r"""FairGrad (Ban and Ji, 2024): the rates at which the losses fall are :math:`\alpha`-fair.

    .. math:: d = \sum_i w_i g_i, \qquad G w = w^{-1/\alpha}, \quad w > 0   \qquad \text{(PIVRG, App. C.2)}

    with G the Gram matrix, solved to rounding by :func:`pyasmg.fair_weights`. alpha = 1 is Nash-MTL, and towards
    infinity the direction becomes that of MGDA. m backward passes. A `preference` c enters as
    :math:`G w = (c / w)^{1/\alpha}`.

    Parameters
    ----------
    n_tasks : int
        m.
    alpha : float
        2 as in all of the authors' scripts (1 is the default of their code).
    head_weights : {"one", "weighted"}
        "one" by default, as in the authors' code; LibMTL weighs the heads as well. The weights grow without bound
        towards a Pareto-stationary point: clip the gradients of weighted heads.

    Notes
    -----
    Deviation: the authors' code multiplies the direction by m; the paper does not. A zero gradient has weight 0. At a
    Pareto-stationary point, where the system has no solution, the direction has about :math:`2^{-50 / (1 + \alpha)}`
    of the length that it has elsewhere.
    """

    def __init__(self, n_tasks: int, *, alpha: float = 2.0, head_weights: HeadWeights | None = None) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        self.alpha = number("alpha", alpha, low=0.0, strict=True)

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        return fair_weights(gram, self.alpha)

    def preferred_weights(self, gram: FloatArray, losses: FloatArray, preference: FloatArray) -> FloatArray:
        return fair_weights(gram, self.alpha, preference)
