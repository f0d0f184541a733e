"""PCGrad: gradient surgery."""

from __future__ import annotations

import functools
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from .. import _core
from ._gradient import GramBalancer, HeadWeights
from ._state import generator
from ._types import FloatArray
from .ew import Reduction, reduction_factor

IndexArray = npt.NDArray[np.int64]


class PCGrad(GramBalancer):
    r"""PCGrad (Yu et al., 2020): each gradient is projected onto the normal planes of those it conflicts with.

    For each task i, :math:`v_i = g_i`, and then for the other tasks j in a random order

    .. math:: v_i \leftarrow v_i - \frac{v_i^\top g_j}{\|g_j\|^2} g_j \quad \text{if } v_i^\top g_j < 0,
              \qquad d = \sum_i v_i   \qquad \text{(Algorithm 1; PIVRG, App. C.2)}

    on coefficients with the Gram matrix: O(m^3) beside the m backward passes (one through the trunk with
    ``features=``). Two tasks need no order.

    Parameters
    ----------
    n_tasks : int
        m.
    reduction : {"sum", "mean"}
        The sum as in the paper's Algorithm 1 and the public codes; PIVRG's appendix has the mean.
    seed : int
        Of the random orders, anew for each i: the same ones on each process and device. The state of the generator is
        part of the balancer's state. Deviation: the public codes draw from a global generator.
    head_weights : {"one", "weighted"}
        "one" by default: the heads are trained on the plain losses.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_generator",)

    def __init__(
        self, n_tasks: int, *, reduction: Reduction = "sum", seed: int = 0, head_weights: HeadWeights | None = None
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        self._factor = reduction_factor(reduction, n_tasks)
        self._generator = generator(seed)

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        return _core.remove_conflicts(gram, orders(self._generator, self.n_tasks), self._factor)


def orders(random: np.random.Generator, n_tasks: int) -> IndexArray:
    """Return for each task the others in a random order of its own, shape (m, m - 1)."""
    return random.permuted(_others(n_tasks), axis=1)


@functools.cache
def _others(n_tasks: int) -> IndexArray:
    return (np.arange(n_tasks, dtype=np.int64)[:, None] + np.arange(1, n_tasks)) % n_tasks
