"""Uncertainty weighting."""

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


class UW(LossBalancer):
    r"""Uncertainty weighting (UW; Kendall et al., 2018): learned log-variances s.

    .. math:: \min_{\theta, s} \tfrac12 \sum_i \bigl(e^{-s_i} \ell_i(\theta) + s_i\bigr)

    The gradient of loss i is multiplied by :math:`e^{-s_i} / 2`. One backward pass. In PI-UW (PIVRG, Table 5) the
    losses are those times the `preference`.

    Parameters
    ----------
    n_tasks : int
        m.
    learning_rate : float or None
        The log-variances take a step of Adam by themselves at each ``backward``, with the learning rate 0.025 of
        Nash-MTL's code. None: ``log_variances.grad`` is filled instead, and ``log_variances`` belongs into your
        optimizer (as in the paper, where all parameters share one).
    start : float
        First value of each log-variance: 0 as in Nash-MTL's code; LibMTL starts at -0.5.

    Attributes
    ----------
    log_variances : torch.nn.Parameter, shape (m,), float64
        s.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_adam",)

    def __init__(self, n_tasks: int, *, learning_rate: float | None = 0.025, start: float = 0.0) -> None:
        super().__init__(n_tasks)
        self.log_variances = nn.Parameter(torch.full((n_tasks,), float(start), dtype=torch.float64))
        rate = 0.0 if learning_rate is None else number("learning_rate", learning_rate, low=0.0)
        self._adam = Adam(rate)
        self._by_itself = learning_rate is not None
        self._learned = LearnedVector()

    def weights(self, losses: FloatArray) -> FloatArray:
        variables = self._parameter("log_variances")
        weights = 0.5 * np.exp(-self._learned.read(variables))
        self._learned.descend(variables, 0.5 - weights * losses, self._adam if self._by_itself else None)
        return np.asarray(weights)
