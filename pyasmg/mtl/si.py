"""Scale-invariant weighting: the mean of the logarithms."""

from __future__ import annotations

import numpy as np

from ._base import LossBalancer
from ._types import FloatArray
from .ew import Reduction, reduction_factor


class SI(LossBalancer):
    r"""Scale-invariant (SI): the mean of the logarithms of the losses.

    .. math:: \min_\theta \frac1m \sum_{i=1}^m \log \ell_i(\theta)   \qquad \text{(PIVRG, App. C.1)}

    The gradient of loss i is multiplied by :math:`1 / (m\,\ell_i)`: a loss times a constant changes nothing, and so a
    `preference` does not either. One backward pass.

    Parameters
    ----------
    n_tasks : int
        m.
    reduction : {"mean", "sum"}
        The mean as in PIVRG; the sum is what the public scripts compute.

    Raises
    ------
    ValueError
        By ``backward``, for a loss that is not positive.
    """

    def __init__(self, n_tasks: int, *, reduction: Reduction = "mean") -> None:
        super().__init__(n_tasks)
        self._factor = reduction_factor(reduction, n_tasks)

    def weights(self, losses: FloatArray) -> FloatArray:
        check_positive(losses, "SI")
        return np.asarray(self._factor / losses)


def check_positive(losses: FloatArray, method: str) -> None:
    """Refuse losses that have no logarithm."""
    if min(losses.tolist()) <= 0.0:
        task = int(losses.argmin())
        raise ValueError(f"{method} needs positive losses; task {task} has the loss {losses[task]:g}.")
