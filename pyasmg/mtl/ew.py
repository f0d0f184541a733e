"""Equal weighting, also called linear scalarization."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ._base import LossBalancer
from ._types import FloatArray

Reduction = Literal["mean", "sum"]


def reduction_factor(reduction: Reduction, n_tasks: int) -> float:
    """Return what a sum over the tasks is multiplied by."""
    if reduction not in ("mean", "sum"):
        raise ValueError(f"`reduction` must be 'mean' or 'sum'; got {reduction!r}.")
    return 1.0 / n_tasks if reduction == "mean" else 1.0


class EW(LossBalancer):
    r"""Equal weighting (EW), also called linear scalarization (LS): the mean of the losses.

    .. math:: \min_\theta \frac1m \sum_{i=1}^m \ell_i(\theta)   \qquad \text{(PIVRG, Eq. 1)}

    One backward pass. With a `preference`, PI-LS of PIVRG's Table 5: loss i is multiplied by ``preference[i]``.

    Parameters
    ----------
    n_tasks : int
        m.
    reduction : {"mean", "sum"}
        The mean as in PIVRG, Eq. (1); the sum is what LibMTL and most of the authors' scripts compute.
    """

    looks_at_losses = False

    def __init__(self, n_tasks: int, *, reduction: Reduction = "mean") -> None:
        super().__init__(n_tasks)
        self._weights = np.full(n_tasks, reduction_factor(reduction, n_tasks))

    def weights(self, losses: FloatArray) -> FloatArray:
        return np.array(self._weights)


LS = EW
