"""GradNorm."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from .. import _core
from .._validate import integer, number, vector
from ._gradient import GramBalancer, HeadWeights
from ._state import Adam
from ._types import FloatArray
from .rlw import softmax

Parametrization = Literal["free", "softmax"]


class GradNorm(GramBalancer):
    r"""GradNorm (Chen et al., 2018): learned weights that draw the norms of the gradients together.

    .. math:: \min_w \sum_i \bigl| w_i \|g_i\| - \bar G\, r_i^\alpha \bigr|, \qquad
              \bar G = \frac1m \sum_j w_j \|g_j\|, \qquad
              r_i = \frac{\ell_i / \ell_i^{(0)}}{\frac1m \sum_j \ell_j / \ell_j^{(0)}}   \qquad (1), (2)

    with the target :math:`\bar G r_i^\alpha` held constant (Algorithm 1). :math:`d = \sum_i w_i g_i` with the weights
    from before the step; then w takes a step of Adam, and is scaled to the sum m. Tasks that train slowly get longer
    gradients. m backward passes, or one through the trunk with ``features=``; the paper takes the norms on the last
    shared layer only, which is what passing its output as `features` comes next to.

    Parameters
    ----------
    n_tasks : int
        m.
    alpha : float
        1.5 as in the paper's experiments on NYUv2, and in LibMTL.
    learning_rate : float
        0.025, of the paper's experiments.
    parametrization : {"free", "softmax"}
        "free" as in the paper: w itself. "softmax": :math:`w = m \operatorname{softmax}(p)` with p from 0, LibMTL's.
    initial_losses : array_like, shape (m,), optional
        :math:`\ell^{(0)}`, such as the logarithm of the number of classes, which the paper recommends where the first
        losses depend on chance. By default those of the first call.
    warmup_steps : int
        In so many steps the weights are 1, and :math:`\ell^{(0)}` is the mean of their losses. 0 as in the paper;
        LibMTL takes one epoch.
    head_weights : {"weighted", "one"}
        "weighted" by default, as in the paper, whose total loss is :math:`\sum_i w_i \ell_i`.

    Raises
    ------
    ValueError
        By ``backward``, for a negative loss, or a first one that is not positive.

    Notes
    -----
    Deviations: a free weight that a step would make negative is 0, and grows again from there. A `preference` scales
    the losses, and cancels in r.
    """

    default_head_weights = "weighted"
    looks_at_losses = True
    _state_fields: ClassVar[tuple[str, ...]] = ("_adam", "_variables", "_initial", "_sum", "_n_steps")

    def __init__(
        self,
        n_tasks: int,
        *,
        alpha: float = 1.5,
        learning_rate: float = 0.025,
        parametrization: Parametrization = "free",
        initial_losses: Any = None,
        warmup_steps: int = 0,
        head_weights: HeadWeights | None = None,
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        self.alpha = number("alpha", alpha, low=0.0)
        if parametrization not in ("free", "softmax"):
            raise ValueError(f"`parametrization` must be 'free' or 'softmax'; got {parametrization!r}.")
        self.parametrization: Parametrization = parametrization
        self.warmup_steps = integer("warmup_steps", warmup_steps, 0)
        self._adam = Adam(number("learning_rate", learning_rate, low=0.0))
        self._variables: FloatArray = np.zeros(n_tasks) if parametrization == "softmax" else np.ones(n_tasks)
        self._initial: FloatArray | None = None
        self._sum: FloatArray = np.zeros(n_tasks)
        self._n_steps = 0
        if initial_losses is not None:
            initial = vector("initial_losses", initial_losses, n_tasks)
            if initial.min() <= 0.0:
                task = int(initial.argmin())
                raise ValueError(f"`initial_losses` must be positive; got {initial[task]:g} for task {task}.")
            self._initial = initial

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        smallest = min(losses.tolist())
        if smallest < 0.0 or (smallest == 0.0 and self._initial is None):
            bound = "losses >= 0" if self._initial is not None else "positive first losses"
            raise ValueError(f"GradNorm needs {bound}; task {int(losses.argmin())} has the loss {smallest:g}.")
        self._n_steps += 1
        if self._n_steps <= self.warmup_steps:
            self._sum = self._sum + losses
            return np.ones(self.n_tasks)
        if self._initial is None:
            self._initial = self._sum / self.warmup_steps if self.warmup_steps else losses.copy()
        weights = self._weights()
        self._update(weights, _core.gradnorm_slopes(gram, self.alpha, weights, losses, self._initial))
        return weights

    def _weights(self) -> FloatArray:
        if self.parametrization == "softmax":
            return self.n_tasks * softmax(self._variables)
        return self._variables

    def _update(self, weights: FloatArray, gradient: FloatArray) -> None:
        if self.parametrization == "softmax":
            gradient = weights * (gradient - float(weights @ gradient) / self.n_tasks)
            self._adam.step(self._variables, gradient)
            return
        moved = self._variables.copy()
        self._adam.step(moved, gradient)
        positive = [max(value, 0.0) for value in moved.tolist()]
        total = sum(positive)
        if total > 0.0:
            self._variables = np.array([value * (self.n_tasks / total) for value in positive])
