"""TorchJD: methods of pyasmg as its aggregators, and its aggregators inside ``backward``.

::

    from pyasmg.mtl.torchjd import TorchJD, as_aggregator

    aggregator = as_aggregator(pyasmg.mtl.NashMTL(3))        # for torchjd.autojac.jac_to_grad
    balancer = TorchJD(3, torchjd.aggregation.UPGrad())      # balancer.backward(losses, shared=..., heads=...)

This module needs TorchJD 0.18, whose minor releases break interfaces: ``pip install "pyasmg[torchjd]"``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._validate import describe, vector
from ._base import Balancer, LossBalancer
from ._combination import combine
from ._gradient import GradientBalancer, GramBalancer, HeadWeights
from ._gram import gram_matrix
from ._types import FloatArray
from .performance_informed import PerformanceInformed

try:
    from torchjd.aggregation import Aggregator, GramianWeightedAggregator, WeightedAggregator, Weighting
    from torchjd.linalg import Matrix, PSDMatrix
except ImportError as error:
    raise ImportError('pyasmg.mtl.torchjd needs TorchJD 0.18: pip install "pyasmg[torchjd]".') from error


def as_aggregator(balancer: Balancer) -> BalancerAggregator | MatrixAggregator:
    """Return an aggregator of TorchJD that weighs the rows of a Jacobian as a balancer weighs gradients.

    Parameters
    ----------
    balancer : Balancer
        The method, of as many tasks as the Jacobian has rows. Its state changes with each call; ``state_dict()`` of
        the aggregator holds it.

    Returns
    -------
    BalancerAggregator or MatrixAggregator
        The first for methods whose direction is a combination with weights from losses or the Gram matrix: its
        ``gramian_weighting`` also serves ``torchjd.autogram``.

    Notes
    -----
    An aggregator does not see the losses. Where a method looks at their values, assign them to ``losses`` of the
    aggregator before each call. Differentiation does not go through the weights.
    """
    if isinstance(balancer, PerformanceInformed):
        balancer = balancer.balancer
    if isinstance(balancer, (LossBalancer, GramBalancer)):
        return BalancerAggregator(balancer)
    if isinstance(balancer, GradientBalancer):
        return MatrixAggregator(balancer)
    raise TypeError(f"`balancer` must be a LossBalancer or GradientBalancer; got {describe(balancer)}.")


class BalancerWeighting(Weighting[PSDMatrix]):
    """Weights of a balancer from a Gramian; see :func:`as_aggregator`.

    Parameters
    ----------
    balancer : LossBalancer or GramBalancer
        The method.
    """

    def __init__(self, balancer: LossBalancer | GramBalancer) -> None:
        super().__init__()
        self.balancer = balancer
        self.losses: Any = None

    def forward(self, gramian: PSDMatrix, /) -> Tensor:
        losses = _losses(self.balancer, self.losses, gramian.shape[0])
        if isinstance(self.balancer, LossBalancer):
            weights = self.balancer._weigh(losses)
        else:
            gram = gramian.detach().double().cpu().numpy()
            weights = self.balancer._weigh(0.5 * (gram + gram.T), losses)
        return torch.from_numpy(weights).to(gramian)


class BalancerAggregator(GramianWeightedAggregator):
    """A balancer with weights from losses or the Gram matrix; see :func:`as_aggregator`.

    Parameters
    ----------
    balancer : LossBalancer or GramBalancer
        The method.
    """

    gramian_weighting: BalancerWeighting

    def __init__(self, balancer: LossBalancer | GramBalancer) -> None:
        super().__init__(BalancerWeighting(balancer))

    @property
    def losses(self) -> Any:
        """The losses that the method sees, shape (m,)."""
        return self.gramian_weighting.losses

    @losses.setter
    def losses(self, values: Any) -> None:
        self.gramian_weighting.losses = values


class MatrixAggregator(Aggregator):
    """A balancer that needs the whole matrix; see :func:`as_aggregator`.

    Parameters
    ----------
    balancer : GradientBalancer
        The method.
    """

    def __init__(self, balancer: GradientBalancer) -> None:
        super().__init__()
        self.balancer = balancer
        self.losses: Any = None

    def forward(self, matrix: Matrix, /) -> Tensor:
        losses = _losses(self.balancer, self.losses, matrix.shape[0])
        rows = matrix.detach().clone()
        return self.balancer._aggregate(rows, gram_matrix(rows), losses)[0]


class TorchJD(GradientBalancer):
    """Any aggregator of TorchJD as a balancer, with all options of ``backward``.

    Aggregators that weigh the Gramian get it in float64, and only the weights are theirs; the others get the matrix
    of the gradients. m backward passes, or one through the trunk with ``features=``.

    Parameters
    ----------
    n_tasks : int
        m.
    aggregator : torchjd.aggregation.Aggregator
        For example ``torchjd.aggregation.UPGrad()``.
    head_weights : {"one", "weighted"}
        "one" by default, as in ``torchjd.autojac.mtl_backward``.

    Notes
    -----
    Two things are as in TorchJD and not as in the rest of this package: aggregators draw random numbers from
    PyTorch's global generator, and what the stateful ones remember is not part of ``state_dict()``.
    """

    def __init__(self, n_tasks: int, aggregator: Aggregator, *, head_weights: HeadWeights | None = None) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        if not isinstance(aggregator, Aggregator):
            raise TypeError(f"`aggregator` must be an aggregator of TorchJD; got {describe(aggregator)}.")
        self.aggregator = aggregator

    def aggregate(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> tuple[Tensor, FloatArray | None]:
        if isinstance(self.aggregator, GramianWeightedAggregator):
            found = self.aggregator.gramian_weighting(torch.from_numpy(gram).to(matrix.device))
            weights = _array(found)
            return combine(weights, matrix), weights
        if isinstance(self.aggregator, WeightedAggregator):
            weights = _array(self.aggregator.weighting(matrix))
            return combine(weights, matrix), weights
        direction: Tensor = self.aggregator(matrix)
        return direction.detach().clone(), None


def _losses(balancer: Balancer, values: Any, m: int) -> FloatArray:
    """Return the losses that were assigned; ones for a method that does not look at them."""
    if m != balancer.n_tasks:
        raise ValueError(f"the matrix must have n_tasks = {balancer.n_tasks} rows; got {m}.")
    if values is not None:
        return vector("losses", values.detach().cpu().numpy() if isinstance(values, Tensor) else values, m)
    if balancer.looks_at_losses:
        raise ValueError(
            f"{type(balancer).__name__} looks at the values of the losses: assign them to `losses` of the aggregator "
            "before each call."
        )
    return np.ones(m)


def _array(weights: Tensor) -> FloatArray:
    return np.asarray(weights.detach().double().cpu().numpy())


__all__ = ["BalancerAggregator", "BalancerWeighting", "MatrixAggregator", "TorchJD", "as_aggregator"]
