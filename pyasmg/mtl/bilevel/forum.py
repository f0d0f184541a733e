"""FORUM: first-order multi-gradient bilevel optimisation."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from ..._validate import number
from .._combination import combine
from .._types import FloatArray
from ._diagnostics import BilevelDiagnostics
from ._forum_problem import Multiplier, forum_multiplier, forum_weights
from ._method import Update
from ._value_function import ValueFunctionMethod
from .problem import Batches


class FORUM(ValueFunctionMethod):
    r"""FORUM (thesis, Algorithm 2): the lower level as a constraint on its value, descent on all objectives and on it.

    With :math:`z = (\alpha, \omega)`, T lower steps to :math:`\tilde\omega^T` (3.15),
    :math:`\tilde q(z) = f(z) - f(\alpha, \tilde\omega^T)` and :math:`\phi_k = \frac\rho2 \|\nabla \tilde q\|^2`,

    .. math:: d_k = -\Bigl(\sum_i \tilde\lambda_i^k \nabla F_i(z_k) + \nu(\tilde\lambda^k) \nabla \tilde q(z_k)\Bigr),
              \qquad \tilde\lambda^k = (1 - \beta_k) \tilde\lambda^{k-1} + \beta_k \lambda^k

    where :math:`\lambda^k` solves (3.29) exactly, :math:`\nu` is that of (3.27), and
    :math:`\beta_k = (k + 1)^{-3/4}` (3.30). The optimizers receive :math:`-d_k`.

    Time O(mn + p(m + T)) and memory O(mn + mp) with n and p the sizes of alpha and omega: no second derivatives, and
    memory that does not depend on T.

    Parameters
    ----------
    problem, alpha, omega, alpha_optimizer, omega_optimizer, lower_steps, lower_learning_rate, lower_start, constraint
        See :class:`BilevelMethod`.
    rho : float
        :math:`\rho`, how fast the constraint is to fall. The thesis: 0.5 for hyper-cleaning, 0.1 for task weights.
    momentum_exponent : float
        :math:`\beta_k = (k + 1)^{-e}`; 0 for no momentum.
    multiplier : {"paper", "derived"}
        "paper": :math:`\pi_i` as printed, with :math:`2 \phi`, which enforces
        :math:`\langle \nabla \tilde q, -d \rangle \ge 2 \phi`; the authors' experiments do so. "derived": with
        :math:`\phi`, the minimum of (3.24) over :math:`\nu`.
    released : bool
        True: as in the authors' code, the gradients of the objectives have no part in alpha and are divided by their
        norms, and (3.29) is solved without the factor 1/2.

    Notes
    -----
    With "paper", the bound :math:`\gamma \ge \sum_i \lambda_i \pi_i` of (3.29) is always active, so that
    :math:`\gamma = \nu(\lambda)` and the program is solved over :math:`\lambda` alone, see :func:`forum_weights`.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_weights",)

    def __init__(
        self,
        *arguments: Any,
        rho: float = 0.5,
        momentum_exponent: float = 0.75,
        multiplier: Multiplier = "paper",
        released: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.rho = number("rho", rho, low=0.0, strict=True)
        self.momentum_exponent = number("momentum_exponent", momentum_exponent, low=0.0)
        if multiplier not in ("paper", "derived"):
            raise ValueError(f"`multiplier` must be 'paper' or 'derived'; got {multiplier!r}.")
        self.multiplier: Multiplier = multiplier
        self.released = bool(released)
        self._weights: FloatArray | None = None

    def _compute(self, batches: Batches) -> Update:
        found = self._constrained(batches)
        matrix, m = found.matrix, len(found.upper)
        if self.released:
            matrix[:m, : self.alpha.size] = 0.0
            norms = torch.linalg.vector_norm(matrix[:m], dim=1, keepdim=True)
            matrix[:m] /= torch.where(norms > 0.0, norms, torch.ones_like(norms))
        gram = self._gram(matrix)
        phi = 0.5 * self.rho * float(gram[m, m])
        chosen = forum_weights(gram, phi, multiplier=self.multiplier, halved=not self.released)
        beta = (self.iteration + 1) ** -self.momentum_exponent
        before = np.full(m, 1.0 / m) if self._weights is None else self._weights
        weights = (1.0 - beta) * before + beta * chosen  # Eq. (3.30)
        nu = forum_multiplier(weights, gram, phi, self.multiplier)
        direction = combine(np.append(weights, nu), matrix)
        n = self.alpha.size
        diagnostics = BilevelDiagnostics(
            self.iteration,
            found.upper,
            found.lower,
            found.lower_reached,
            weights,
            nu,
            found.constraint,
            np.sqrt(np.diag(gram)[:m]),
            float(np.sqrt(gram[m, m])),
            float(torch.linalg.vector_norm(direction)),
        )
        return Update(diagnostics, direction[:n], direction[n:], fields={"_weights": weights})
