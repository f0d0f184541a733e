"""MoCo: multi-objective gradient correction."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from .. import _core
from .._validate import number
from ._combination import combine, combine_pieces
from ._diagnostics import Diagnostics
from ._gradient import GradientBalancer, HeadWeights, all_finite
from ._gram import gram_matrix
from ._host_matrix import kept_matrix
from ._running_average import Goal, follow
from ._task_gradients import TaskGradients
from ._types import FloatArray
from .rlw import softmax

Projection = Literal["simplex", "softmax"]
Normalization = Literal["none", "loss"]


class MoCo(GradientBalancer):
    r"""MoCo (Fernando et al., 2023): running averages of the gradients, and of the weights of MGDA.

    .. math:: Y \leftarrow Y - \frac{\beta}{t^{s_\beta}} (Y - [g_1, \dots, g_m]), \qquad
              \lambda \leftarrow \Pi_\Delta\Bigl(\lambda - \frac{\gamma}{t^{s_\gamma}} (Y^\top Y + \rho I) \lambda
              \Bigr), \qquad d = Y \lambda

    at step t = 1, 2, ..., from Y = 0 and equal :math:`\lambda`, with the projection onto the simplex. m backward
    passes. It cannot take `features`: a representation belongs to its batch, and has no running average.

    Memory: one matrix, Y. Each row moves as the pass of its task ends, and that gradient is gone. Where a step fails,
    because a gradient is not finite or a pass raises, the rows of the gradients that came and are finite have moved;
    t and :math:`\lambda` are as before.

    Parameters
    ----------
    n_tasks : int
        m.
    beta, gamma : float
        Rates of Y and of :math:`\lambda`: 0.99 and 0.1, as in the authors' runs on NYUv2. LibMTL: 0.5 and 0.1.
    beta_decay, gamma_decay : float
        The exponents :math:`s_\beta` and :math:`s_\gamma`, 0.5 as in LibMTL.
    rho : float
        Regularisation; 0 as in LibMTL.
    projection : {"simplex", "softmax"}
        "simplex" as in the paper. "softmax" as in LibMTL, which draws :math:`\lambda` towards equal weights at each
        step.
    normalization : {"none", "loss"}
        "none" as in the paper. "loss" as in LibMTL: each gradient is scaled to the length of its loss beforehand. A
        zero gradient stays zero.
    head_weights : {"one"}
        The heads are trained on the plain losses.

    Notes
    -----
    The order of the three updates is that of the public codes: d is made of the new Y and the new :math:`\lambda`.
    Neither does the direction scale with the losses, nor is it a combination of the present gradients: diagnostics
    have no weights, and norms and cosines of the rows of Y; :attr:`task_weights` is :math:`\lambda`.
    """

    supports_features = False
    _state_fields: ClassVar[tuple[str, ...]] = ("_tracked", "_lambda", "_n_steps")

    def __init__(
        self,
        n_tasks: int,
        *,
        beta: float = 0.99,
        beta_decay: float = 0.5,
        gamma: float = 0.1,
        gamma_decay: float = 0.5,
        rho: float = 0.0,
        projection: Projection = "simplex",
        normalization: Normalization = "none",
        head_weights: HeadWeights | None = None,
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        if self.head_weights != "one":
            raise ValueError(
                "`head_weights` must be 'one' for MoCo, which has no weights of gradients; got 'weighted'."
            )
        self.beta = number("beta", beta, low=0.0, strict=True, high=1.0)
        self.beta_decay = number("beta_decay", beta_decay, low=0.0)
        self.gamma = number("gamma", gamma, low=0.0)
        self.gamma_decay = number("gamma_decay", gamma_decay, low=0.0)
        self.rho = number("rho", rho, low=0.0)
        if projection not in ("simplex", "softmax"):
            raise ValueError(f"`projection` must be 'simplex' or 'softmax'; got {projection!r}.")
        if normalization not in ("none", "loss"):
            raise ValueError(f"`normalization` must be 'none' or 'loss'; got {normalization!r}.")
        self.projection: Projection = projection
        self.normalization: Normalization = normalization
        self.looks_at_losses = normalization == "loss"
        self._tracked: Tensor | FloatArray | None = None  # an array after loading
        self._lambda: FloatArray = np.full(n_tasks, 1.0 / n_tasks)
        self._n_steps = 0

    @property
    def task_weights(self) -> FloatArray:
        r""":math:`\lambda`, shape (m,)."""
        return np.array(self._lambda)

    def aggregate(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> tuple[Tensor, FloatArray | None]:
        tracked = self._keep(kept_matrix(self._tracked, (len(matrix), matrix.shape[1]), matrix.dtype, matrix.device))
        for task, goal in enumerate(self._goals(losses, None, 1.0)):
            follow(tracked[task], matrix[task], goal)  # finite, as their Gram matrix is
        self._move_weights(gram_matrix(tracked))
        return combine(self._lambda, tracked), None

    def _step(
        self, gradients: TaskGradients, values: FloatArray, scale: float, *, overflow: bool
    ) -> tuple[list[Tensor], FloatArray | None]:
        tracked = self._keep(gradients.memory(self._tracked if isinstance(self._tracked, Tensor) else None))
        goals = self._goals(values, self._preference, scale)
        if not all_finite(gradients.follow(tracked, goals), overflow):
            return [torch.full_like(target, torch.inf) for target in gradients.targets], None
        gram = gram_matrix(tracked)
        self._move_weights(gram)
        self._diagnostics = Diagnostics(values, None, gram)
        return combine_pieces(self._lambda * scale, tracked, gradients.targets), None

    def _goals(self, losses: FloatArray, preference: FloatArray | None, scale: float) -> list[Goal]:
        """Return where the rows of Y go in this step, for gradients that are multiplied by ``scale``."""
        rate = self.beta / (self._n_steps + 1) ** self.beta_decay
        factors = [1.0] * self.n_tasks if preference is None else preference.tolist()
        if self.normalization == "loss":
            return [Goal(rate, length=factor * loss) for factor, loss in zip(factors, losses.tolist(), strict=True)]
        return [Goal(rate, factor / scale) for factor in factors]

    def _move_weights(self, gram: FloatArray) -> None:
        """Take the step of the weights on the Gram matrix of Y, which ends that of the method."""
        rate = self.gamma / (self._n_steps + 1) ** self.gamma_decay
        moved = _core.moved_weights(gram, self._lambda, rate, self.rho)
        self._lambda = softmax(moved) if self.projection == "softmax" else _core.simplex_projection(moved)
        self._n_steps += 1

    def _keep(self, memory: Tensor) -> Tensor:
        """Keep Y in this memory, and return it."""
        tracked = self._tracked
        if tracked is memory:
            return memory
        if tracked is not None:  # loaded, or of another type or device
            if tracked.shape != memory.shape:
                raise ValueError(
                    f"`shared` must be the same parameters at each step: they had {tracked.shape[1]} entries; "
                    f"got {memory.shape[1]}."
                )
            memory.copy_(torch.from_numpy(tracked) if isinstance(tracked, np.ndarray) else tracked)
        self._tracked = memory
        return memory
