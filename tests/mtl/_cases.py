"""Every method, and what it claims: the shared tests run over this table.

A new method is tested by adding one entry here. A claim that a method does not make is False or None, never adjusted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyasmg.mtl as mtl
from pyasmg.mtl import Balancer


@dataclass(frozen=True)
class Case:
    """A method and its claims.

    Attributes
    ----------
    make
        Makes a balancer for m tasks.
    degree
        Multiplying all losses by s multiplies the first direction by ``s**degree``; None where there is no such law.
    units
        The first direction does not depend on the units of the single losses (powers of two, so exactly up to 1e-9).
    symmetric
        The direction does not depend on the order of the tasks.
    twins
        A task that stands there twice gets the same weight twice.
    common_descent
        The direction is a descent direction for each loss wherever there is one.
    stationary
        The direction vanishes where 0 is in the convex hull of the gradients: its length over that of the shortest
        gradient is at most this.
    features
        Takes ``features=``.
    entrywise
        Where the representation is the shared parameters, the direction is the one without ``features=``.
    """

    make: Callable[[int], Balancer]
    degree: float | None = None
    units: bool = False
    symmetric: bool = True
    twins: bool = True
    common_descent: bool = False
    stationary: float | None = None
    features: bool = True
    entrywise: bool = True


CASES: dict[str, Case] = {
    "AlignedMTL": Case(mtl.AlignedMTL, degree=1),
    "AlignedMTL median": Case(lambda m: mtl.AlignedMTL(m, scale="median", reduction="sum"), degree=1),
    "BiLB4MTL": Case(mtl.BiLB4MTL, degree=1, symmetric=False, twins=False),
    "BiLB4MTL sigma": Case(
        lambda m: mtl.BiLB4MTL(m, tau="sigma", normalization="rescaled"),
        degree=0,
        units=True,
        symmetric=False,
        twins=False,
    ),
    "BiLB4MTL logarithmic": Case(
        lambda m: mtl.BiLB4MTL(m, penalty=0.1, normalization="logarithmic", steps_per_epoch=3, learning_rate=None),
        degree=0,
        units=True,
        symmetric=False,
        twins=False,
    ),
    "BiLB4MTL released": Case(
        lambda m: mtl.BiLB4MTL(
            m, tau="sigma", normalization="rescaled", penalty=0.05, clip=(0.2, 0.8), released=True, smoothing=1e-6
        ),
        degree=1,
        symmetric=False,
        twins=False,
    ),
    "CAGrad": Case(mtl.CAGrad, degree=1, twins=False),
    "CAGrad 1.5": Case(lambda m: mtl.CAGrad(m, c=1.5), degree=1, twins=False, common_descent=True, stationary=1e-4),
    "CAGrad released": Case(lambda m: mtl.CAGrad(m, rescale="square", reduction="sum"), degree=1, twins=False),
    "DWA": Case(lambda m: mtl.DWA(m, steps_per_epoch=2), degree=1),
    "EW": Case(mtl.EW, degree=1),
    "EW sum": Case(lambda m: mtl.EW(m, reduction="sum"), degree=1),
    "FairGrad": Case(mtl.FairGrad, degree=-1 / 3, common_descent=True, stationary=1e-4),
    "FairGrad 5": Case(lambda m: mtl.FairGrad(m, alpha=5), degree=1 - 10 / 6, common_descent=True, stationary=1e-2),
    "FairGrad weighted": Case(
        lambda m: mtl.FairGrad(m, head_weights="weighted"), degree=-1 / 3, common_descent=True, stationary=1e-4
    ),
    "FAMO": Case(mtl.FAMO),
    "FAMO as in the paper": Case(lambda m: mtl.FAMO(m, epsilon=0.0), degree=1),
    "GO4Align": Case(lambda m: mtl.GO4Align(m, step_size=0.1)),
    "GO4Align fixed": Case(lambda m: mtl.GO4Align(m, step_size=0.0), degree=1),
    "GradDrop": Case(mtl.GradDrop, degree=1, twins=False, entrywise=False),
    "GradDrop with a leak": Case(lambda m: mtl.GradDrop(m, leak=0.2, seed=1), degree=1, twins=False, entrywise=False),
    "GradNorm": Case(mtl.GradNorm, degree=1),
    "GradNorm softmax": Case(
        lambda m: mtl.GradNorm(m, parametrization="softmax", warmup_steps=2, head_weights="one"), degree=1
    ),
    "GradVac": Case(mtl.GradVac, degree=1, symmetric=False, twins=False),
    "GradVac on violation": Case(
        lambda m: mtl.GradVac(m, beta=0.1, update="violation", reduction="mean", seed=1),
        degree=1,
        symmetric=False,
        twins=False,
    ),
    "IMTLG": Case(mtl.IMTLG, degree=1, stationary=1e-4),
    "IMTLL": Case(mtl.IMTLL, degree=1),
    "IMTLL in the optimizer": Case(lambda m: mtl.IMTLL(m, learning_rate=None), degree=1),
    "LogSmoothChebyshev": Case(
        lambda m: mtl.LogSmoothChebyshev(m, warmup_epochs=2, steps_per_epoch=1), degree=0, units=True
    ),
    "MGDA": Case(mtl.MGDA, degree=1, twins=False, common_descent=True, stationary=1e-4),
    "MGDA l2": Case(
        lambda m: mtl.MGDA(m, normalization="l2", normalize_direction=True),
        degree=0,
        units=True,
        twins=False,
        common_descent=True,
        stationary=1e-4,
    ),
    "MGDA l2 raw": Case(lambda m: mtl.MGDA(m, normalization="l2"), degree=1, twins=False),
    "MGDA loss": Case(lambda m: mtl.MGDA(m, normalization="loss"), degree=1, twins=False),
    "MGDA loss+": Case(lambda m: mtl.MGDA(m, normalization="loss+", head_weights="one"), degree=1, twins=False),
    "MoCo": Case(mtl.MoCo, twins=False, features=False),
    "MoCo of LibMTL": Case(
        lambda m: mtl.MoCo(m, beta=0.5, projection="softmax", normalization="loss"), twins=False, features=False
    ),
    "NashMTL": Case(mtl.NashMTL, degree=0, units=True, common_descent=True, stationary=1e-4),
    "NashMTL normalized": Case(
        lambda m: mtl.NashMTL(m, normalize=True), degree=1, common_descent=True, stationary=1e-4
    ),
    "NashMTL every third": Case(
        lambda m: mtl.NashMTL(m, update_every=3, max_norm=1.0, head_weights="one"),
        degree=0,
        units=True,
        common_descent=True,
        stationary=1e-4,
    ),
    "PCGrad": Case(mtl.PCGrad, degree=1, symmetric=False, twins=False),
    "PCGrad mean": Case(
        lambda m: mtl.PCGrad(m, reduction="mean", seed=1, head_weights="weighted"),
        degree=1,
        symmetric=False,
        twins=False,
    ),
    "PIVRG": Case(mtl.PIVRG, degree=-1 / 3, common_descent=True, stationary=1e-4),
    "RLW": Case(mtl.RLW, degree=1, symmetric=False, twins=False),
    "RotoGrad": Case(mtl.RotoGrad, degree=1),
    "RotoGrad rotate only": Case(lambda m: mtl.RotoGrad(m, 2, rotate_only=True), degree=1),
    "SI": Case(mtl.SI, degree=0, units=True),
    "SmoothChebyshev": Case(mtl.SmoothChebyshev),
    "UPGrad": Case(mtl.UPGrad, degree=1, twins=False, common_descent=True),
    "UW": Case(mtl.UW, degree=1),
    "UW in the optimizer": Case(lambda m: mtl.UW(m, learning_rate=None), degree=1),
}


def named(claim: Callable[[Case], object]) -> list[str]:
    """Return the names of the cases that make a claim."""
    return [name for name, case in CASES.items() if claim(case)]
