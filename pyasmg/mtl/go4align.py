"""Group optimization for multi-task alignment."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .. import _core
from .._validate import integer, number
from ._base import LossBalancer
from ._types import FloatArray
from .rlw import softmax
from .si import check_positive


class GO4Align(LossBalancer):
    r"""GO4Align (Shen et al., NeurIPS 2024): one weight per group of tasks that progress alike.

    .. math:: p_i \leftarrow \frac{p_i\, e^{-\beta \ell_i}}{\sum_j p_j\, e^{-\beta \ell_j}}, \qquad
              \gamma_i = p_i \frac{\sum_j \ell_j}{\ell_i}, \qquad
              \min_{\text{groups},\, \omega} \sum_i \bigl(\gamma_i - \omega_{k(i)}\bigr)^2

    The gradient of loss i is multiplied by the mean :math:`\omega_{k(i)}` of the indicators :math:`\gamma` in its
    group. One backward pass, and O(K u^2) for K groups of u different indicators.

    Parameters
    ----------
    n_tasks : int
        m.
    n_groups : int
        K, from 1 to m; fewer where fewer indicators differ. 2 here, the paper chooses it by data set. With 1, as
        their released scripts run, all tasks have the same weight; with m, each has its own indicator.
    step_size : float
        :math:`\beta`, 1e-4 as in the authors' code.

    Raises
    ------
    ValueError
        By ``backward``, for a loss that is not positive.

    Notes
    -----
    Deviation: the groups minimise the sum of squares exactly, by dynamic programming over the sorted indicators;
    the authors run k-means from random centres.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_logits",)

    def __init__(self, n_tasks: int, *, n_groups: int = 2, step_size: float = 1e-4) -> None:
        super().__init__(n_tasks)
        self.n_groups = integer("n_groups", n_groups, 1)
        self.step_size = number("step_size", step_size, low=0.0)
        self._logits: FloatArray = np.zeros(n_tasks)

    def weights(self, losses: FloatArray) -> FloatArray:
        check_positive(losses, "GO4Align")
        logits = self._logits - self.step_size * losses
        self._logits = logits - max(logits.tolist())
        indicators = softmax(self._logits) * (sum(losses.tolist()) / losses)
        return group_means(indicators, self.n_groups)


def group_means(values: FloatArray, n_groups: int) -> FloatArray:
    """Return the mean of the group of each value, in the grouping that is best in the sense of k-means.

    On a line, each group is an interval of the sorted values. Equal values share a group.
    """
    return _core.group_means(values, n_groups)
