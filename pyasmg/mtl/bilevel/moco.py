"""MoCo for bilevel problems: tracked hypergradients."""

from __future__ import annotations

from typing import Any

from .. import moco
from .._base import Balancer
from ..moco import Projection
from .moml import MOML


class MoCo(MOML):
    r"""MoCo (Fernando et al., 2023) on hypergradients: :class:`MOML` with running averages instead of MGDA.

    A row :math:`y_i` per objective follows its hypergradient, and :math:`\lambda` takes one projected step on
    :math:`\|Y \lambda\|^2` in each iteration, see :class:`pyasmg.mtl.MoCo`. O(mn) memory more than :class:`MOML`.

    Parameters
    ----------
    problem, alpha, omega, alpha_optimizer, omega_optimizer, lower_steps, lower_learning_rate, lower_start, constraint
        See :class:`BilevelMethod`.
    beta, beta_decay, gamma, gamma_decay, rho, projection
        See :class:`pyasmg.mtl.MoCo`.
    hypergradient, cg_steps, cg_tolerance, damping
        See :class:`MOML`.
    """

    def __init__(
        self,
        *arguments: Any,
        beta: float = 0.99,
        beta_decay: float = 0.5,
        gamma: float = 0.1,
        gamma_decay: float = 0.5,
        rho: float = 0.0,
        projection: Projection = "simplex",
        **options: Any,
    ) -> None:
        if "solver" in options:
            raise TypeError("MoCo has no option `solver`; use MOML.")
        self._tracking: dict[str, Any] = {
            "beta": beta,
            "beta_decay": beta_decay,
            "gamma": gamma,
            "gamma_decay": gamma_decay,
            "rho": rho,
            "projection": projection,
        }
        moco.MoCo(1, **self._tracking)  # refuses what is wrong at once
        super().__init__(*arguments, **options)

    def _default_solver(self, m: int) -> Balancer:
        return moco.MoCo(m, **self._tracking)
