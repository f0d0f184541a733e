"""BVFIM: a bilevel value-function-based interior-point method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..._validate import integer, number
from ._diagnostics import BilevelDiagnostics
from ._lower import descend, partial, subtract_from_row, write_row
from ._method import Update
from ._sum import WeightedSum
from .problem import Batches

HALVINGS = 30


class BVFIM(WeightedSum):
    r"""BVFIM (Liu et al., 2021) on a weighted sum :math:`F_0` of the objectives: a baseline of Tables 3.3 to 3.5.

    The constraint on the value of the lower level becomes a logarithmic barrier:

    .. math:: v(\alpha) = \min_z f(\alpha, z) + \tfrac{\mu_1}2 \|z\|^2 + \mu_2, \qquad
              \min_{\alpha, \omega} F_0(\alpha, \omega) + \tfrac{\mu_1}2 \|\omega\|^2
              - \tau \log(v(\alpha) - f(\alpha, \omega))

    T lower steps find z, `upper_steps` steps on the barrier problem omega, and alpha takes one step on it.
    :math:`\mu_1, \mu_2` and :math:`\tau` fall by :math:`1 / \log(1.1 (k + 2))`. First order.

    Parameters
    ----------
    problem, alpha, omega, alpha_optimizer, lower_steps, lower_learning_rate, lower_start, constraint
        See :class:`BilevelMethod`.
    omega_optimizer : torch.optim.Optimizer, optional
        None: gradient descent in omega with `lower_learning_rate`, each step halved until it stays where the
        barrier is finite. Otherwise one step of this optimizer on the barrier problem.
    barrier : float
        :math:`\tau`. The thesis tries 0.05, 0.1, 0.5 and 1.
    slack : float
        :math:`\mu_2 > 0`, by how much f may exceed its minimum.
    regularization : float
        :math:`\mu_1`.
    upper_steps : int
        Steps in omega without an `omega_optimizer`.
    weights : sequence of m floats, optional
        Of the objectives; 1/m by default.

    Notes
    -----
    Where omega lies beyond the barrier, :math:`f(\alpha, \omega) \ge v(\alpha)`, z takes its place. The decay of the
    coefficients is one choice of those the paper admits (all of them go to 0).
    """

    _needs_omega_optimizer = False

    def __init__(
        self,
        *arguments: Any,
        barrier: float = 0.1,
        slack: float = 1.0,
        regularization: float = 0.0,
        upper_steps: int = 1,
        weights: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, weights=weights, **options)
        self.barrier = number("barrier", barrier, low=0.0, strict=True)
        self.slack = number("slack", slack, low=0.0, strict=True)
        self.regularization = number("regularization", regularization, low=0.0)
        self.upper_steps = integer("upper_steps", upper_steps, 1)

    def _compute(self, batches: Batches) -> Update:
        factor = 1.0 / math.log(1.1 * (self.iteration + 2))
        ridge, tau = factor * self.regularization, factor * self.barrier
        reached, losses = self._regularized_lower(batches, ridge)
        lower_batch, upper_batch = batches.next_lower(), batches.next_upper()
        alpha = self.alpha.leaves()
        with self._buffers_kept():
            at_reached = self._lower(alpha, reached, lower_batch)
        there = partial(at_reached, alpha)
        *_, lower_reached = self._check_lower([*losses, at_reached])
        bound = lower_reached + _ridge(reached, ridge) + factor * self.slack

        omega = self.omega.copies()
        start = self._lower_at(omega, lower_batch)
        lower = self._check_lower([start])[0]
        if lower >= bound:
            omega, lower = reached, lower_reached
        if self.omega_optimizer is None:
            for _ in range(self.upper_steps):
                gradient = self._barrier_gradient(omega, upper_batch, lower_batch, bound, ridge, tau)
                omega = self._step_inside(omega, gradient, lower_batch, bound)
        gradient = self._barrier_gradient(omega, upper_batch, lower_batch, bound, ridge, tau)
        row, values, at_omega = gradient
        multiplier = tau / (bound - at_omega)
        subtract_from_row(row, there, alpha, multiplier)  # v depends on alpha
        n = self.alpha.size
        diagnostics = BilevelDiagnostics(
            self.iteration,
            self._upper_array(values),
            lower,
            lower_reached,
            self._sum_weights(len(values)),
            multiplier,
            lower - lower_reached,
            np.array([float(torch.linalg.vector_norm(row))]),
            None,
            float(torch.linalg.vector_norm(row)),
        )
        return Update(diagnostics, row[:n], row[n:] if self.omega_optimizer is not None else None, omega)

    def _regularized_lower(self, batches: Batches, ridge: float) -> tuple[list[Tensor], list[Tensor]]:
        if ridge == 0.0:
            return self._solve_lower(batches)
        alpha = self.alpha.view(self.alpha.constants())

        def loss_of(omega: Sequence[Tensor], batch: Any) -> Tensor:
            found: Tensor = self.problem.lower(alpha, self.omega.view(omega), batch)
            for tensor in omega:
                found = found + 0.5 * ridge * tensor.square().sum()
            return found

        origin = self._lower_origin()
        with self._buffers_kept():
            return descend(loss_of, origin, batches.next_lower, self.lower_steps, self.lower_learning_rate)

    def _lower_at(self, omega: Sequence[Tensor], batch: Any) -> Tensor:
        with torch.no_grad(), self._buffers_kept():
            return self._lower(self.alpha.constants(), omega, batch)

    def _barrier_gradient(
        self, omega: Sequence[Tensor], upper_batch: Any, lower_batch: Any, bound: float, ridge: float, tau: float
    ) -> tuple[Tensor, Tensor, float]:
        """Return the gradient by (alpha, omega) at constant v, the objectives, and f."""
        alpha, leaves = self.alpha.leaves(), [tensor.detach().requires_grad_() for tensor in omega]
        values = self._upper(alpha, leaves, upper_batch)
        self._upper_array(values)
        loss = self._lower(alpha, leaves, lower_batch)
        total = self._sum(values) - tau * torch.log(bound - loss)
        variables = [*alpha, *leaves]
        row = self._new_matrix(1, self.alpha.size + self.omega.size)[0].clone()
        write_row(row, partial(total, variables), variables)
        if ridge > 0.0:
            row[self.alpha.size :] += ridge * torch.cat([tensor.detach().reshape(-1) for tensor in leaves])
        if not bool(row.isfinite().all()):
            raise ValueError("the gradients must be finite; that of the barrier problem is not.")
        return row, values.detach(), float(loss.detach())

    def _step_inside(
        self, omega: list[Tensor], gradient: tuple[Tensor, Tensor, float], batch: Any, bound: float
    ) -> list[Tensor]:
        pieces = torch.split(gradient[0][self.alpha.size :], [tensor.numel() for tensor in omega])
        length = self.lower_learning_rate
        for _ in range(HALVINGS):
            moved = [
                tensor.detach() - length * piece.view_as(tensor).to(tensor)
                for tensor, piece in zip(omega, pieces, strict=True)
            ]
            if float(self._lower_at(moved, batch)) < bound:
                return moved
            length *= 0.5
        return omega


def _ridge(tensors: Sequence[Tensor], ridge: float) -> float:
    return 0.5 * ridge * sum(float(tensor.detach().square().sum()) for tensor in tensors) if ridge > 0.0 else 0.0
