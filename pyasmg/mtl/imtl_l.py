"""Impartial multi-task learning, the balance of the losses."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import nn

from .._validate import number
from ._base import LossBalancer
from ._learned import LearnedVector
from ._state import Adam
from ._types import FloatArray


class IMTLL(LossBalancer):
    r"""IMTL-L (Liu et al., ICLR 2021, sec. 3.2): learned scales s that bring all losses to 1.

    .. math:: \min_{\theta, s} \sum_i \bigl(e^{s_i} \ell_i(\theta) - s_i\bigr)

    The gradient of loss i is multiplied by :math:`e^{s_i}`; at the optimum of s, by :math:`1 / \ell_i`. This is twice
    the objective of :class:`UW` with the opposite sign of s. One backward pass. A `preference` multiplies the losses:
    the scaled losses then tend to 1 all the same, and its effect wears off as s is learned.

    Parameters
    ----------
    n_tasks : int
        m.
    learning_rate : float or None
        The scales take a step of Adam by themselves at each ``backward``; 0.025 as for :class:`UW`, the paper gives no
        value of its own. None: ``log_scales.grad`` is filled instead, and ``log_scales`` belongs into your optimizer
        (as in the paper and in LibMTL, where all parameters share one).

    Attributes
    ----------
    log_scales : torch.nn.Parameter, shape (m,), float64
        s, 0 at the start.

    Notes
    -----
    For positive losses, as in the paper: the scale of a loss that stays negative grows without bound.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_adam",)

    def __init__(self, n_tasks: int, *, learning_rate: float | None = 0.025) -> None:
        super().__init__(n_tasks)
        self.log_scales = nn.Parameter(torch.zeros(n_tasks, dtype=torch.float64))
        self._by_itself = learning_rate is not None
        self._learned = LearnedVector()
        self._adam = Adam(0.0 if learning_rate is None else number("learning_rate", learning_rate, low=0.0))

    def weights(self, losses: FloatArray) -> FloatArray:
        scales = self._parameter("log_scales")
        weights = np.exp(self._learned.read(scales))
        self._learned.descend(scales, weights * losses - 1.0, self._adam if self._by_itself else None)
        return np.asarray(weights)
