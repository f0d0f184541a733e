"""The methods of the toy benchmark, with the settings of the papers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

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
    shifted
        The method sees the losses above their lower bounds, which are positive.
    factor, max_norm
        What the direction is multiplied by, and the norm at which it is clipped then. The authors of Nash-MTL and
        FairGrad clip at 1; FairGrad's code multiplies by the number of tasks.
    """

    make: Callable[[], mtl.Balancer]
    shifted: bool = False
    factor: float = 1.0
    max_norm: float = np.inf
    before_step: Callable[[Any, np.ndarray, int], None] | None = None
    after_step: Callable[[Any, np.ndarray], None] | None = None


def informed(**options: Any) -> mtl.Performance:
    """Baselines of the toy problem: the lower bound of each loss, what training on it alone reaches."""
    return mtl.Performance(BEST, **options)


def bilb(penalty: float, **options: Any) -> ToyMethod:
    """BiLB4MTL on the losses above their bounds; the paper's figure says "rescale normalization" and no more."""
    chosen = {"normalization": "rescaled", **options}
    return ToyMethod(lambda: mtl.BiLB4MTL(2, penalty=penalty, **chosen), shifted=True)


def every(n: int) -> Callable[[Any, np.ndarray, int], None]:
    """Tell the losses as metrics at every n-th step, from the first."""

    def update(balancer: Any, losses: np.ndarray, step: int) -> None:
        if step % n == 1 or n == 1:
            balancer.update(losses)

    return update


def after(balancer: Any, losses: np.ndarray) -> None:
    """Tell the losses after the step."""
    balancer.update(torch.from_numpy(losses))


METHODS: dict[str, ToyMethod] = {
    "LS": ToyMethod(lambda: mtl.EW(2)),
    "MGDA": ToyMethod(lambda: mtl.MGDA(2)),
    "NashMTL": ToyMethod(lambda: mtl.NashMTL(2), max_norm=1.0),
    "FairGrad 1": ToyMethod(lambda: mtl.FairGrad(2, alpha=1.0), factor=2.0, max_norm=1.0),
    "FairGrad 2": ToyMethod(lambda: mtl.FairGrad(2, alpha=2.0), factor=2.0, max_norm=1.0),
    "PIVRG, no metrics": ToyMethod(lambda: mtl.PIVRG(2), factor=2.0, max_norm=1.0),
    "PIVRG": ToyMethod(lambda: mtl.PIVRG(2, performance=informed()), factor=2.0, max_norm=1.0, before_step=every(100)),
    "FAMO": ToyMethod(lambda: mtl.FAMO(2, gamma=0.0, lower_bounds=1.05 * BEST), after_step=after),
    "FAMO, decay": ToyMethod(lambda: mtl.FAMO(2, lower_bounds=1.05 * BEST), after_step=after),
}

#: What was tried for the sentence that the same balanced point is reached from all starts.
BILB: dict[str, ToyMethod] = {
    f"BiLB4MTL {tau} {penalty:g}": bilb(penalty, tau=tau)
    for tau in ("one", "sigma")
    for penalty in (0.01, 0.1, 1.0, 10.0)
}
BILB |= {f"BiLB4MTL released {penalty:g}": bilb(penalty, released=True) for penalty in (0.1, 1.0, 10.0)}
METHODS |= BILB
