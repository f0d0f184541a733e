"""The balancers of ``pyasmg.mtl`` on a matrix of gradients that someone else computed."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ..._validate import describe
from .._base import Balancer, LossBalancer
from .._combination import combine
from .._gradient import GradientBalancer
from .._types import FloatArray

#: These look at more than losses and gradients on given parameters.
UNFIT = ("FAMO", "BiLB4MTL", "GradNorm", "RotoGrad", "GradDrop")


def check_solver(solver: Any) -> Balancer:
    """Return the balancer if it can solve the upper level."""
    if not isinstance(solver, (LossBalancer, GradientBalancer)) or type(solver).__name__ in UNFIT:
        raise TypeError(
            f"`solver` must be a balancer on losses or gradients alone, such as MGDA; got {describe(solver)}."
        )
    return solver


def aggregate(
    solver: Balancer, matrix: Tensor, gram: FloatArray, losses: FloatArray
) -> tuple[Tensor, FloatArray | None]:
    """Return the direction of shape (d,), and the weights if it is a combination of the rows."""
    if len(losses) != solver.n_tasks:
        raise ValueError(f"`solver` must be one of n_tasks = {len(losses)}, one per objective; got {solver.n_tasks}.")
    if isinstance(solver, GradientBalancer):
        return solver._aggregate(matrix, gram, losses)
    weights = solver._weigh(losses) if isinstance(solver, LossBalancer) else np.ones(len(losses))
    return combine(weights, matrix), weights
