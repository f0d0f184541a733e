"""BOME: bilevel optimisation made easy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..._validate import number
from .._combination import combine
from ._diagnostics import BilevelDiagnostics
from ._method import Update
from ._sum import WeightedSum
from ._value_function import ValueFunctionMethod
from .problem import Batches

Barrier = Literal["gradient", "value"]


class BOME(WeightedSum, ValueFunctionMethod):
    r"""BOME (Liu et al., 2022) on a weighted sum :math:`F_0` of the objectives: a baseline of Tables 3.3 to 3.5.

    .. math:: d = -(\nabla F_0 + \nu \nabla \tilde q), \qquad
              \nu = \max\Bigl(\frac{\phi - \langle \nabla F_0, \nabla \tilde q \rangle}{\|\nabla \tilde q\|^2},
              0\Bigr)

    with :math:`\tilde q` as in :class:`FORUM`. First order: time O(n + p(1 + T)), memory that does not depend on T.

    Parameters
    ----------
    problem, alpha, omega, alpha_optimizer, omega_optimizer, lower_steps, lower_learning_rate, lower_start, constraint
        See :class:`BilevelMethod`. The authors: 10 lower steps from the current omega.
    rho : float
        :math:`\phi = \rho \|\nabla \tilde q\|^2`, or :math:`\rho \tilde q`. The thesis tries 0.1, 0.5 and 0.9.
    barrier : {"gradient", "value"}
        Which of the two; "value" is what the authors' code does, with :math:`\rho = 0.1`.
    weights : sequence of m floats, optional
        Of the objectives; 1/m by default.
    """

    def __init__(
        self, *arguments: Any, rho: float = 0.5, barrier: Barrier = "gradient", weights: Any = None, **options: Any
    ) -> None:
        super().__init__(*arguments, weights=weights, **options)
        self.rho = number("rho", rho, low=0.0)
        if barrier not in ("gradient", "value"):
            raise ValueError(f"`barrier` must be 'gradient' or 'value'; got {barrier!r}.")
        self.barrier: Barrier = barrier

    def _roots(self, values: Tensor) -> Sequence[Tensor]:
        return [self._sum(values)]

    def _compute(self, batches: Batches) -> Update:
        found = self._constrained(batches)
        gram = self._gram(found.matrix)
        squared = float(gram[1, 1])
        phi = self.rho * (squared if self.barrier == "gradient" else max(found.constraint, 0.0))
        nu = max((phi - float(gram[0, 1])) / squared, 0.0) if squared > 0.0 else 0.0
        direction = combine(np.array([1.0, nu]), found.matrix)
        n = self.alpha.size
        diagnostics = BilevelDiagnostics(
            self.iteration,
            found.upper,
            found.lower,
            found.lower_reached,
            self._sum_weights(len(found.upper)),
            nu,
            found.constraint,
            np.sqrt(np.diag(gram)[:1]),
            float(np.sqrt(squared)),
            float(torch.linalg.vector_norm(direction)),
        )
        return Update(diagnostics, direction[:n], direction[n:])
