"""The upper level alone, as a baseline."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from .._base import Balancer
from ._diagnostics import BilevelDiagnostics
from ._lower import partial, write_row
from ._method import BilevelMethod, Update
from ._solver import aggregate, check_solver
from .problem import Batches


class SingleLevel(BilevelMethod):
    """Minimise the objectives in alpha and omega at once, without the lower level: a baseline.

    Parameters
    ----------
    problem, alpha, omega, alpha_optimizer, omega_optimizer, constraint
        See :class:`BilevelMethod`; the lower steps are not taken.
    balancer : Balancer
        What combines the gradients on z = (alpha, omega): ``EW(m)``, ``MGDA(m)``, or another balancer of
        ``pyasmg.mtl`` on losses or gradients.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("balancer",)

    def __init__(self, *arguments: Any, balancer: Balancer, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.balancer = check_solver(balancer)

    def _compute(self, batches: Batches) -> Update:
        alpha, omega = self.alpha.leaves(), self.omega.leaves()
        values = self._upper(alpha, omega, batches.next_upper())
        upper = self._upper_array(values)
        variables, n, m = [*alpha, *omega], self.alpha.size, len(upper)
        matrix = self._new_matrix(m, n + self.omega.size)
        for i, value in enumerate(values.unbind()):
            write_row(matrix[i], partial(value, variables, retain_graph=i < m - 1), variables)
        gram = self._gram(matrix)
        direction, weights = aggregate(self.balancer, matrix, gram, upper)
        norm = float(torch.linalg.vector_norm(direction))
        with torch.no_grad():
            lower = float(self._lower(alpha, omega, batches.next_lower()))
        norms = np.sqrt(np.diag(gram))
        diagnostics = BilevelDiagnostics(self.iteration, upper, lower, None, weights, None, None, norms, None, norm)
        direction = direction.clone()
        return Update(diagnostics, direction[:n], direction[n:])
