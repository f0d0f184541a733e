"""Random loss weighting."""

from __future__ import annotations

from typing import ClassVar

from .. import _core
from ._base import LossBalancer
from ._state import generator
from ._types import FloatArray


class RLW(LossBalancer):
    r"""Random loss weighting (RLW; Lin et al., 2022): new weights at every step.

    .. math:: \min_\theta \sum_i \lambda_i \ell_i(\theta), \qquad \lambda = \operatorname{softmax}(z),
              \quad z \sim N(0, I)   \qquad \text{(PIVRG, App. C.1)}

    The weights sum to 1. One backward pass.

    Parameters
    ----------
    n_tasks : int
        m.
    seed : int
        Of the random numbers: the same ones on each process and device. The state of the generator is part of the
        balancer's state. Deviation: the authors' code draws from PyTorch's global generator.
    """

    looks_at_losses = False
    _state_fields: ClassVar[tuple[str, ...]] = ("_generator",)

    def __init__(self, n_tasks: int, *, seed: int = 0) -> None:
        super().__init__(n_tasks)
        self._generator = generator(seed)

    def weights(self, losses: FloatArray) -> FloatArray:
        return softmax(self._generator.standard_normal(self.n_tasks))


def softmax(values: FloatArray) -> FloatArray:
    """Return exponentials that sum to 1; large values do not overflow."""
    return _core.softmax(values)


def softmax_slopes(shares: FloatArray, gradient: FloatArray) -> FloatArray:
    """Return the gradient on what ``shares`` is the softmax of, from the gradient on the shares."""
    return _core.softmax_slopes(shares, gradient)
