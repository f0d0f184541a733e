"""Fast adaptive multi-task optimization."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._validate import number, vector
from ._base import LossBalancer
from ._losses import Losses
from ._state import Adam
from ._types import FloatArray, LossesLike
from .rlw import softmax, softmax_slopes


class FAMO(LossBalancer):
    r"""Fast adaptive multi-task optimization (FAMO; Liu et al., NeurIPS 2023): all losses fall at the same rate.

    .. math:: \min_\theta c \sum_i z_i \log(\ell_i(\theta) - b_i + \epsilon), \qquad z = \operatorname{softmax}(\xi),
              \qquad c = \Bigl(\sum_i \frac{z_i}{\ell_i - b_i + \epsilon}\Bigr)^{-1}

    with c held fixed: the direction is a convex combination of the gradients. It solves
    :math:`\max_d \min_i (\ell_{i,t} - \ell_{i,t+1}) / \ell_{i,t} - \frac12 \|d\|^2` (PIVRG, App. C.1) over the steps,
    as :math:`\xi` follows the relative decrease of each loss by one step of Adam:

    .. math:: \nabla_\xi = J(\xi)^\top \bigl(\log(\ell_t - b + \epsilon) - \log(\ell_{t+1} - b + \epsilon)\bigr)
              + \gamma\,\xi, \qquad J = \partial z / \partial \xi

    One backward pass, and a forward pass for :meth:`update`::

        balancer.backward(losses(batch), ...)
        optimizer.step()
        with torch.no_grad():
            balancer.update(losses(batch))  # the same batch

    Parameters
    ----------
    n_tasks : int
        m.
    learning_rate : float
        Of the logits :math:`\xi`; 0.025 as in the paper.
    gamma : float
        Decay of the logits; 1e-3 as in the paper and in most of the authors' scripts. Their code has 1e-5 as its own
        default, and 0 for the toy problem.
    lower_bounds : float or sequence of m floats
        b; the losses must stay above it.
    epsilon : float
        1e-8 as in the authors' code; 0 in the paper.

    Notes
    -----
    Without a call of :meth:`update`, the decrease is taken from one ``backward`` to the next: free of the forward
    pass, and the same thing where all steps see the same batch; with mini-batches, their noise enters. Call
    :meth:`update` where gradients are accumulated over micro-batches: the decrease is else measured between these.
    A `preference` cancels in the differences of the logarithms, it only changes the length of the direction.

    Raises
    ------
    ValueError
        By ``backward`` and :meth:`update`, for a loss that is not above its bound.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_logits", "_adam", "_before")

    def __init__(
        self,
        n_tasks: int,
        *,
        learning_rate: float = 0.025,
        gamma: float = 1e-3,
        lower_bounds: Any = 0.0,
        epsilon: float = 1e-8,
    ) -> None:
        super().__init__(n_tasks)
        self.lower_bounds = vector("lower_bounds", lower_bounds, n_tasks)
        self.epsilon = number("epsilon", epsilon, low=0.0)
        self._logits: FloatArray = np.zeros(n_tasks)
        self._adam = Adam(number("learning_rate", learning_rate, low=0.0), weight_decay=number("gamma", gamma, low=0.0))
        self._before: FloatArray | None = None

    def update(self, losses: LossesLike, *, group: Any = None) -> None:
        """Tell what the losses are after the step of the optimizer, on the batch of the last ``backward``.

        Parameters
        ----------
        losses : sequence of m scalar tensors, or a tensor of shape (m,)
            No gradient is needed.
        group : torch.distributed.ProcessGroup, optional
            That of ``backward``.
        """
        if self._before is None:
            raise ValueError("`update` must follow a call of `backward`; there is none since the last update.")
        checked = Losses(losses, self.n_tasks, group, gradients=False)
        self._follow(np.log(self._above(checked.values)))

    def weights(self, losses: FloatArray) -> FloatArray:
        raw = losses if self._preference is None else losses / self._preference
        above = self._above(raw)
        logarithms = np.log(above)
        if self._before is not None:
            self._follow(logarithms)
        self._before = logarithms
        shares: FloatArray = softmax(self._logits) / above
        if self._preference is not None:
            shares = shares / self._preference  # the base multiplies by it again
        return np.asarray(shares / sum(shares.tolist()))

    def _above(self, losses: FloatArray) -> FloatArray:
        """Return the losses above their bounds, positive."""
        above: FloatArray = losses - self.lower_bounds + self.epsilon
        if min(above.tolist()) <= 0.0:
            task = int(above.argmin())
            raise ValueError(
                f"FAMO needs losses above `lower_bounds`; task {task} has the loss {losses[task]:g}, "
                f"and the bound {self.lower_bounds[task]:g}."
            )
        return above

    def _follow(self, after: FloatArray) -> None:
        """Move the logits along the relative decrease."""
        if self._before is None:
            return
        self._adam.step(self._logits, softmax_slopes(softmax(self._logits), self._before - after))
        self._before = None
