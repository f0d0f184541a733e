"""Nash-MTL."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from .._validate import integer, number
from ..fair_weights import fair_weights
from ._gradient import GramBalancer, HeadWeights
from ._types import FloatArray


class NashMTL(GramBalancer):
    r"""Nash-MTL (Navon et al., 2022): the Nash bargaining solution.

    .. math:: \max_d \sum_i \log(g_i^\top d) \;\Rightarrow\; d = \sum_i w_i g_i, \qquad G w = 1 / w, \quad w > 0

    (PIVRG, App. C.2), solved to rounding by :func:`pyasmg.fair_weights`. The direction does not depend on the units
    of the losses, and has the norm sqrt(m). m backward passes at the steps where the weights are new, one at the
    others. In PI-Nash-MTL (PIVRG, sec. 4.4) the logarithms are weighted by the `preference`,
    :math:`G w = \omega / w`.

    Parameters
    ----------
    n_tasks : int
        m.
    update_every : int
        The weights are computed anew at every so many steps, and stand in between.
    normalize : bool
        Divide G by its Frobenius norm before, as the authors' code does; then the direction has the norm
        :math:`\sqrt{m \|G\|_F}` instead.
    max_norm : float, optional
        Longer directions are shortened to this norm (the authors' code clips ``.grad`` at 1). Only at steps with new
        weights, where the norm is known.
    head_weights : {"weighted", "one"}
        "weighted" by default, as in the authors' code. The weights grow without bound towards a Pareto-stationary
        point: clip the gradients of the heads, or choose "one".

    Notes
    -----
    Deviation: exact, where the authors solve up to 20 convex sub-problems and return the iterate before the last.
    """

    default_head_weights = "weighted"
    _state_fields: ClassVar[tuple[str, ...]] = ("_age", "_last")

    def __init__(
        self,
        n_tasks: int,
        *,
        update_every: int = 1,
        normalize: bool = False,
        max_norm: float | None = None,
        head_weights: HeadWeights | None = None,
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        self.update_every = integer("update_every", update_every, 1)
        self.normalize = bool(normalize)
        self.max_norm = None if max_norm is None else number("max_norm", max_norm, low=0.0, strict=True)
        self._age = 0
        self._last: FloatArray | None = None

    def reused_weights(self) -> FloatArray | None:
        if self._last is None or self._age >= self.update_every:
            return None
        self._age += 1
        return self._last

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        return self._solve(gram, None)

    def preferred_weights(self, gram: FloatArray, losses: FloatArray, preference: FloatArray) -> FloatArray:
        return self._solve(gram, preference)

    def _solve(self, gram: FloatArray, preference: FloatArray | None) -> FloatArray:
        weights = fair_weights(gram, 1.0, preference)
        if self.normalize:
            weights = weights * math.sqrt(math.sqrt(float(np.vdot(gram, gram))))
        if self.max_norm is not None:
            norm = math.sqrt(max(float(weights @ gram @ weights), 0.0))
            weights = weights * min(1.0, self.max_norm / norm) if norm > 0.0 else weights
        self._age, self._last = 1, weights
        return weights
