"""MoCo: multi-objective gradient correction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor

from .. import _core
from .._validate import number
from ._combination import combine, combine_pieces
from ._gradient import GradientBalancer, HeadWeights
from ._gram import EXACT_WORK, gram_matrix, host_array, is_exact, on_core
from ._host_matrix import host_matrix
from ._tensors import usual
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
    passes, and a matrix of m x d in memory beside that of the gradients. It cannot take `features`: a representation
    belongs to its batch, and has no running average.

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
    have no weights, :attr:`task_weights` is :math:`\lambda`.
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
        tracked = self._track(matrix, gram, losses)
        return combine(self._lambda, tracked), None

    def _pieces(
        self, matrix: Tensor, gram: FloatArray, losses: FloatArray, like: Sequence[Tensor]
    ) -> tuple[list[Tensor], FloatArray | None]:
        tracked = self._track(matrix, gram, losses)
        return combine_pieces(self._lambda, tracked, like), None

    def _track(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> Tensor:
        """Return the new Y, and update the weights."""
        step = self._n_steps + 1
        if self.normalization == "loss":
            norms = np.sqrt(np.diag(gram))
            factors = np.where(norms > 0.0, losses / np.where(norms > 0.0, norms, 1.0), 0.0)
            matrix *= torch.from_numpy(factors).to(matrix)[:, None]
        tracked, beta = self._tracked, self.beta / step**self.beta_decay
        slopes = usual.running_average(matrix, beta, tracked, self._lambda, EXACT_WORK)
        if slopes is None:  # the first step, a step after loading, or another device
            tracked = self._memory(matrix)
            slopes = _average(tracked, matrix, beta, self._lambda)
            self._tracked = tracked
        rate = self.gamma / step**self.gamma_decay
        moved = [
            weight - rate * (slope + self.rho * weight)
            for weight, slope in zip(self._lambda.tolist(), slopes.tolist(), strict=True)
        ]
        self._lambda = softmax(np.array(moved)) if self.projection == "softmax" else simplex_projection(moved)
        self._n_steps = step
        return cast("Tensor", tracked)

    def _memory(self, matrix: Tensor) -> Tensor:
        """Return Y as a matrix like that of the gradients."""
        tracked = self._tracked
        if tracked is None:
            on_host = matrix.device.type == "cpu"
            return host_matrix((len(matrix), matrix.shape[1]), matrix.dtype) if on_host else torch.zeros_like(matrix)
        if isinstance(tracked, np.ndarray):
            tracked = torch.from_numpy(tracked)
        if tracked.shape != matrix.shape:
            raise ValueError(
                f"`shared` must be the same parameters at each step: they had {tracked.shape[1]} entries; "
                f"got {matrix.shape[1]}."
            )
        return tracked.to(matrix)


def _average(tracked: Tensor, matrix: Tensor, rate: float, weights: FloatArray) -> FloatArray:
    """Let Y move by ``rate`` of its way to the gradients, in place, and return its Gram matrix times the weights."""
    if on_core(tracked) and tracked.is_contiguous():
        return _core.running_average(host_array(matrix), rate, tracked.numpy(), weights, is_exact(tracked))
    tracked.lerp_(matrix, rate)
    return np.asarray(gram_matrix(tracked) @ weights)


def simplex_projection(point: Sequence[float]) -> FloatArray:
    """Return the point of the simplex next to ``point``, by sorting."""
    return _core.simplex_projection(np.array(point, dtype=np.float64))
