"""The methods of the toy benchmark, with the settings of the papers and of the authors' scripts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import pyasmg.mtl as mtl
from bench.mtl.toy_problem import Problem


@dataclass(frozen=True)
class ToyMethod:
    """A balancer for the two losses, and what it is told beside their gradients.

    Attributes
    ----------
    make
        Makes the balancer of one start.
    before_step
        Called with the balancer, the losses and the number of the step, before the direction is computed.
    after_step
        Called with the balancer and the losses after the step.
    shift, divide
        The method sees the losses above their lower bounds; and divided by what these bounds are from 0.
    factor, max_norm
        What the direction is multiplied by, and the norm at which it is clipped then: the code of CAGrad in FAMO's
        repository, of Nash-MTL and of FairGrad clips at 1, and FairGrad's multiplies by the number of tasks. Without
        the clipping, Adam gives more weight to the steps where their directions are long, and ends elsewhere.
    """

    make: Callable[[Problem], mtl.Balancer]
    before_step: Callable[[Any, np.ndarray, int], None] | None = None
    after_step: Callable[[Any, np.ndarray], None] | None = None
    shift: bool = False
    divide: bool = False
    factor: float = 1.0
    max_norm: float = np.inf


def famo(gamma: float) -> ToyMethod:
    """FAMO with the bounds of the authors' toy script."""

    def after(balancer: Any, losses: np.ndarray) -> None:
        balancer.update(torch.from_numpy(losses))

    return ToyMethod(lambda problem: mtl.FAMO(2, gamma=gamma, lower_bounds=1.05 * problem.lowest), after_step=after)


def pivrg(every: int) -> ToyMethod:
    """PIVRG, told the losses as metrics at every so many steps; the baselines are what a loss has alone."""

    def make(problem: Problem) -> mtl.Balancer:
        return mtl.PIVRG(2, performance=mtl.Performance(problem.lowest))

    def before(balancer: Any, losses: np.ndarray, step: int) -> None:
        if (step - 1) % every == 0:
            balancer.update(losses)

    return ToyMethod(make, before_step=before, factor=2.0, max_norm=1.0)


def bilb(penalty: float, *, shift: bool = False, divide: bool = False, **options: Any) -> ToyMethod:
    """BiLB4MTL; one learning rate for x and W."""
    return ToyMethod(lambda _: mtl.BiLB4MTL(2, penalty=penalty, **options), shift=shift, divide=divide)


METHODS: dict[str, ToyMethod] = {
    "LS": ToyMethod(lambda _: mtl.EW(2)),
    "MGDA": ToyMethod(lambda _: mtl.MGDA(2)),
    "CAGrad 0.4": ToyMethod(lambda _: mtl.CAGrad(2, c=0.4, rescale="square", reduction="sum"), max_norm=1.0),
    "NashMTL": ToyMethod(lambda _: mtl.NashMTL(2), max_norm=1.0),
    "FairGrad 1": ToyMethod(lambda _: mtl.FairGrad(2, alpha=1.0), factor=2.0, max_norm=1.0),
    "FairGrad 2": ToyMethod(lambda _: mtl.FairGrad(2, alpha=2.0), factor=2.0, max_norm=1.0),
    "FAMO": famo(0.0),
    "FAMO 1e-3": famo(1e-3),
    "PIVRG": pivrg(100),
}

#: What was tried for the sentence that BiLB4MTL reaches the same balanced point from all starts. "by first losses" is
#: the rescaled normalization of the paper, on the losses above their bounds, as it needs positive ones; "by bounds"
#: divides them by the distance of their bounds from 0, the same from all starts.
BILB: dict[str, ToyMethod] = {
    **{
        f"BiLB4MTL by first losses, tau {tau}, {penalty:g}": bilb(
            penalty, shift=True, normalization="rescaled", tau=tau
        )
        for tau in ("one", "sigma")
        for penalty in (0.1, 1.0, 10.0)
    },
    **{
        f"BiLB4MTL released, by first losses, {penalty:g}": bilb(
            penalty, shift=True, normalization="rescaled", tau="sigma", released=True
        )
        for penalty in (0.1, 1.0, 10.0)
    },
    "BiLB4MTL identical, tau one, 1": bilb(1.0),
    **{
        f"BiLB4MTL by bounds, tau {tau}, {penalty:g}": bilb(penalty, divide=True, tau=tau)
        for tau, penalties in (("one", (0.1, 0.5, 1.0, 2.0, 10.0)), ("sigma", (1.0,)))
        for penalty in penalties
    },
    "BiLB4MTL by bounds, tau one, 2, W fixed": bilb(2.0, divide=True, learning_rate=0.0),
}
METHODS |= BILB
