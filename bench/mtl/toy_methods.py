"""The methods of the toy benchmark, with the settings of the papers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import pyasmg.mtl as mtl
from bench.mtl.toy_problem import BEST


@dataclass(frozen=True)
class ToyMethod:
    """A balancer for the two losses, and what it is told beside their gradients.

    Attributes
    ----------
    make
        Makes one balancer; each start has its own.
    before_step
        Called with the balancer, the losses and the number of the step, before the direction is computed.
    after_step
        Called with the balancer and the losses after the step.
    """

    make: Callable[[], mtl.Balancer]
    before_step: Callable[[Any, np.ndarray, int], None] | None = None
    after_step: Callable[[Any, np.ndarray], None] | None = None


def informed(**options: Any) -> mtl.Performance:
    """Baselines of the toy problem: the lower bound of each loss, what training on it alone reaches."""
    return mtl.Performance(BEST, **options)


def every(n: int) -> Callable[[Any, np.ndarray, int], None]:
    """Tell the losses as metrics at every n-th step, from the first."""

    def update(balancer: Any, losses: np.ndarray, step: int) -> None:
        if step % n == 1 or n == 1:
            balancer.update(losses)

    return update


METHODS: dict[str, ToyMethod] = {
    "LS": ToyMethod(lambda: mtl.EW(2)),
    "MGDA": ToyMethod(lambda: mtl.MGDA(2)),
    "NashMTL": ToyMethod(lambda: mtl.NashMTL(2)),
    "FairGrad 1": ToyMethod(lambda: mtl.FairGrad(2, alpha=1.0)),
    "FairGrad 2": ToyMethod(lambda: mtl.FairGrad(2, alpha=2.0)),
    "PIVRG, no metrics": ToyMethod(lambda: mtl.PIVRG(2)),
    "PIVRG": ToyMethod(lambda: mtl.PIVRG(2, performance=informed()), before_step=every(100)),
}
