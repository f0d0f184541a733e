"""The thesis's figures 4.1-4.4: distance to the Pareto set over evaluations, and its claims cell by cell.

Problems 4.21-4.23 at d = 100 with populations of N = 10, 50 and 100 (figures 4.1-4.3), and with N = 100 the shift
l1-ellipsoid (the caption of figure 4.4) and the shift l1/2-ellipsoid (its text) at d = 200, 500 and 1000. All methods
start at the same point, uniform in [0, 1]^d and drawn from the run's seed, with sigma0 = 1. A run succeeds when what
the method recommends (the mean of its search distribution) is within 1e-4 of the Pareto set.
"""

from __future__ import annotations

from typing import Any

from bench.harness import Problem

PROBLEMS = ("l1 (4.21)", "l1/2 (4.22)", "mixed (4.23)")
TARGET = 1e-4


def make_problem(name: str, d: int) -> Problem:
    """Return problem 4.21, 4.22 or 4.23 with the thesis's start and measure."""
    import numpy as np

    from pyasmg.problems import MixedEllipsoidRastrigin, ShiftedL1Ellipsoid, ShiftedLHalfEllipsoid

    kinds: tuple[Any, ...] = (ShiftedL1Ellipsoid, ShiftedLHalfEllipsoid, MixedEllipsoidRastrigin)
    problem = kinds[PROBLEMS.index(name)](d)
    return Problem(
        name=name,
        d=d,
        n_objectives=2,
        evaluate=problem,
        start=lambda seed: np.random.default_rng([seed, d]).uniform(0.0, 1.0, d),
        measures=lambda points: {"distance": float(np.min(problem.distance(points)))},
        sigma0=1.0,
        target=TARGET,
    )
