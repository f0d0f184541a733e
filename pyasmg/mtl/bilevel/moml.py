"""MOML: hypergradients of every objective, combined by a multi-objective method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..._validate import integer, number
from .._base import Balancer
from .._types import FloatArray
from ..mgda import MGDA
from ._diagnostics import BilevelDiagnostics
from ._hypergradient import implicit_rows, unrolled
from ._lower import partial, write_row
from ._method import BilevelMethod, Update
from ._solver import aggregate, check_solver
from .problem import Batches

Hypergradient = Literal["iterative", "implicit"]


class MOML(BilevelMethod):
    r"""MOML (thesis, Algorithm 1): T lower steps, the hypergradient of each objective, and MGDA on these.

    .. math:: \omega_{t+1}(\alpha) = \omega_t(\alpha) - \eta \nabla_\omega f(\omega_t(\alpha), \alpha), \qquad
              d = \sum_i \gamma_i \nabla_\alpha F_i(\omega_T(\alpha), \alpha)

    Iterative differentiation goes back through the T steps: time O(mp(n + p)T) as the thesis counts it, m backward
    passes of T steps here, memory O(mn + pT). Implicit differentiation takes the derivative at
    :math:`\omega_T` as if it were a minimum, by conjugate gradients on Hessian-vector products: memory that does not
    depend on T.

    Parameters
    ----------
    problem, alpha, omega, alpha_optimizer, lower_steps, lower_learning_rate, lower_start, constraint
        See :class:`BilevelMethod`. The lower steps are plain gradient descent, without momentum: that is what is
        differentiated.
    omega_optimizer : torch.optim.Optimizer, optional
        None: omega becomes :math:`\omega_T`, as in Algorithm 1. Otherwise the lower steps are a look-ahead only, and
        this optimizer takes one step on f at :math:`(\alpha_k, \omega_k)`, as the authors train their model
        (theirs comes after the step in alpha).
    hypergradient : {"iterative", "implicit"}
        Which differentiation.
    solver : Balancer, optional
        The multi-objective method, a balancer of ``pyasmg.mtl`` on losses or gradients; ``MGDA(m)`` by default. The
        authors' code: ``MGDA(m, normalization="l2")``.
    cg_steps, cg_tolerance, damping : int, float, float
        Of the conjugate-gradient method: at most so many steps per objective, the relative residual that ends it, and
        what is added to the diagonal of the Hessian. It stops early where the Hessian is not positive.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_solver",)
    _needs_omega_optimizer = False

    def __init__(
        self,
        *arguments: Any,
        hypergradient: Hypergradient = "iterative",
        solver: Balancer | None = None,
        cg_steps: int = 50,
        cg_tolerance: float = 1e-10,
        damping: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        if hypergradient not in ("iterative", "implicit"):
            raise ValueError(f"`hypergradient` must be 'iterative' or 'implicit'; got {hypergradient!r}.")
        self.hypergradient: Hypergradient = hypergradient
        self._solver = None if solver is None else check_solver(solver)
        self.cg_steps = integer("cg_steps", cg_steps, 1)
        self.cg_tolerance = number("cg_tolerance", cg_tolerance, low=0.0)
        self.damping = number("damping", damping, low=0.0)
        self.cg_residual: float | None = None

    @property
    def solver(self) -> Balancer | None:
        """The multi-objective method; None before the first step where it is made then."""
        return self._solver

    def hypergradients(self, batches: Batches | None = None) -> Tensor:
        """Return the hypergradients at the current alpha and omega, shape (m, n), without a step."""
        return self._differentiate(Batches() if batches is None else batches)[0].clone()

    def _compute(self, batches: Batches) -> Update:
        matrix, upper, losses, reached = self._differentiate(batches)
        gram = self._gram(matrix)
        if self._solver is None:
            raise RuntimeError("no solver was made.")
        omega: Tensor | None = None
        if self.omega_optimizer is not None:
            omega, loss = self._training_gradient(batches)
            losses = [loss, *losses]
        direction, weights = aggregate(self._solver, matrix, gram, upper)  # last: it may have a state
        if direction.untyped_storage().data_ptr() == matrix.untyped_storage().data_ptr():
            direction = direction.clone()
        diagnostics = BilevelDiagnostics(
            self.iteration,
            upper,
            losses[0],
            losses[-1],
            weights,
            None,
            None,
            np.sqrt(np.diag(gram)),
            None,
            float(torch.linalg.vector_norm(direction)),
        )
        return Update(diagnostics, direction, omega, None if omega is not None else reached)

    def _set_n_objectives(self, m: int) -> None:
        super()._set_n_objectives(m)
        if self._solver is None:
            self._solver = self._default_solver(m)

    def _default_solver(self, m: int) -> Balancer:
        return MGDA(m)

    def _differentiate(self, batches: Batches) -> tuple[Tensor, FloatArray, list[float], list[Tensor]]:
        """Return the hypergradients, the objectives, the losses of the lower level, and omega after the steps."""
        return self._iterative(batches) if self.hypergradient == "iterative" else self._implicit(batches)

    def _iterative(self, batches: Batches) -> tuple[Tensor, FloatArray, list[float], list[Tensor]]:
        alpha = self.alpha.leaves()
        view = self.alpha.view(alpha)

        def loss_of(omega: Sequence[Tensor], batch: Any) -> Tensor:
            return self.problem.lower(view, self.omega.view(omega), batch)

        omega, lower = unrolled(
            loss_of, self._lower_origin(), batches.next_lower, self.lower_steps, self.lower_learning_rate
        )
        losses = self._check_lower(lower)
        values = self._upper(alpha, omega, batches.next_upper())
        upper = self._upper_array(values)
        matrix = self._new_matrix(len(upper), self.alpha.size)
        for i, value in enumerate(values.unbind()):
            write_row(matrix[i], partial(value, alpha, retain_graph=i < len(upper) - 1), alpha)
        return matrix, upper, losses, [tensor.detach() for tensor in omega]

    def _implicit(self, batches: Batches) -> tuple[Tensor, FloatArray, list[float], list[Tensor]]:
        reached, lower = self._solve_lower(batches)
        alpha, omega = self.alpha.leaves(), [tensor.requires_grad_() for tensor in reached]
        values = self._upper(alpha, omega, batches.next_upper())
        upper = self._upper_array(values)
        variables, n, m = [*alpha, *omega], self.alpha.size, len(upper)
        matrix = self._new_matrix(m, n + self.omega.size)
        for i, value in enumerate(values.unbind()):
            write_row(matrix[i], partial(value, variables, retain_graph=i < m - 1), variables)
        loss = self._lower(alpha, omega, batches.next_lower())
        losses = self._check_lower([*lower, loss])
        gradients = partial(loss, omega, create_graph=True)
        rows, options = matrix[:, :n].clone(), (self.cg_steps, self.cg_tolerance, self.damping)
        self.cg_residual = implicit_rows(rows, gradients, alpha, omega, matrix[:, n:], options)
        return rows, upper, losses, [tensor.detach() for tensor in omega]

    def _training_gradient(self, batches: Batches) -> tuple[Tensor, float]:
        """Return the gradient of f by omega, and f."""
        omega = self.omega.leaves()
        loss = self._lower(self.alpha.constants(), omega, batches.next_lower())
        row = torch.empty(self.omega.size, dtype=omega[0].dtype, device=omega[0].device)
        write_row(row, partial(loss, omega), omega)
        return row, self._check_lower([loss])[0]
