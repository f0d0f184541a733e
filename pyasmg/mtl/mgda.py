"""The multiple-gradient descent algorithm."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .. import _core
from ..simplex_qp import min_norm_weights
from ._gradient import GramBalancer, HeadWeights
from ._types import FloatArray

Normalization = Literal["none", "l2", "loss", "loss+"]


class MGDA(GramBalancer):
    r"""Multiple-gradient descent (MGDA; Désidéri, 2012): the shortest convex combination of the gradients.

    .. math:: d = \sum_i \lambda_i g_i, \qquad \min_{\lambda \in \Delta^{m-1}} \Bigl\|\sum_i \lambda_i g_i\Bigr\|^2

    which is :math:`\max_d \min_i g_i^\top d - \frac12 \|d\|^2` (PIVRG, App. C.2), solved exactly by
    :func:`pyasmg.min_norm_weights`. m backward passes; with ``features=`` this is MGDA-UB (Sener and Koltun, 2018,
    sec. 3.3), one through the trunk. A zero gradient makes the direction zero: the point is Pareto stationary.

    Parameters
    ----------
    n_tasks : int
        m.
    normalization : {"none", "l2", "loss", "loss+"}
        What each gradient is divided by while the weights are computed: 1, its norm, its loss, or both (the code of
        Sener and Koltun). A zero divisor stands for 1.
    normalize_direction : bool
        False, as in their code: the weights multiply the raw gradients, and the direction need not descend all
        losses. True: they multiply the normalised gradients.
    head_weights : {"weighted", "one"}
        "weighted" by default, as in their code, where the heads are trained on :math:`\sum_i \lambda_i \ell_i`.

    Notes
    -----
    Deviations: exact, where the authors take up to 250 Frank-Wolfe steps. PI-MGDA of PIVRG's Table 5 is not spelt out
    there: with a `preference` :math:`\omega`, the rates :math:`g_i^\top d / \omega_i` are balanced,
    :math:`\max_d \min_i g_i^\top d / \omega_i - \frac12 \|d\|^2`, so that a task of more weight falls faster (the
    losses times :math:`\omega_i` would do the contrary).
    """

    default_head_weights = "weighted"

    def __init__(
        self,
        n_tasks: int,
        *,
        normalization: Normalization = "none",
        normalize_direction: bool = False,
        head_weights: HeadWeights | None = None,
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        if normalization not in ("none", "l2", "loss", "loss+"):
            raise ValueError(f"`normalization` must be 'none', 'l2', 'loss' or 'loss+'; got {normalization!r}.")
        self.normalization: Normalization = normalization
        self.normalize_direction = bool(normalize_direction)
        self.looks_at_losses = normalization in ("loss", "loss+")

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        if self.normalization == "none":
            return _core.simplex_qp(gram)[0]  # min_norm_weights() of a matrix that need not be checked
        return self._balanced(gram, losses, np.ones(self.n_tasks))

    def preferred_weights(self, gram: FloatArray, losses: FloatArray, preference: FloatArray) -> FloatArray:
        return self._balanced(gram, losses, preference)

    def _balanced(self, gram: FloatArray, losses: FloatArray, preference: FloatArray) -> FloatArray:
        divisor = np.ones(self.n_tasks)
        if self.normalization in ("l2", "loss+"):
            divisor *= np.sqrt(np.diag(gram))
        if self.normalization in ("loss", "loss+"):
            divisor *= np.abs(losses)
        divisor[divisor == 0.0] = 1.0
        scale = divisor * preference
        weights = min_norm_weights(gram / scale / scale[:, None]) / preference
        return np.asarray(weights / divisor) if self.normalize_direction else weights
