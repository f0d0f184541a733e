"""A reference front of a ``bbob-biobj`` problem, for the scalarised regret."""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ._coco_problem import TwoObjectives

FloatArray = npt.NDArray[np.float64]

WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
EVALUATIONS = 100  # per weight and parameter
SEGMENT = 2001


def non_dominated(values: FloatArray) -> FloatArray:
    """Return the rows of ``values`` (n, 2) that no other row dominates, by the first objective."""
    ordered = values[np.lexsort(values.T[::-1])]
    best = np.minimum.accumulate(ordered[:, 1])
    keep = np.concatenate(([True], ordered[1:, 1] < best[:-1]))
    return ordered[keep]


def regret(values: FloatArray, front: FloatArray) -> float:
    """Return the scalarised regret of an answer ``values`` (k, 2): that of its best point.

    For a point g it is max_r min_i (g_i - r_i) over the points r of the front: by how much both objectives can be
    lowered at once, in units of nadir - ideal. That is the regret under the achievement scalarising function
    max_i (f_i - g_i), whose weights suit wherever on the front the point is: a method that gives one Pareto point
    cannot be blamed for where. 0 on the front; negative beyond what the reference front knows.
    """
    if not len(values):
        return float("inf")
    gaps = (values[:, None, :] - front).min(axis=2).max(axis=1)
    return float(np.nanmin(gaps, initial=np.inf))


def reference_front(problem: TwoObjectives, cache: Path | None = None) -> FloatArray:
    """Return the best front known here, (n, 2), normalised.

    All non-dominated points of the segment between the two optima (the exact Pareto set for two spheres) and of five
    runs of pycma (full, seeds fixed) on weighted Chebyshev functions, which start from the best point of the segment;
    without pycma the segment alone. Kept in the file ``cache``.
    """
    if cache is not None and cache.exists():
        return np.load(cache)
    share = np.linspace(0.0, 1.0, SEGMENT)[:, None]
    points = (1.0 - share) * problem.optima[0] + share * problem.optima[1]
    values = problem(points)
    seen = [values]
    if find_spec("cma") is not None:
        for k, w in enumerate(WEIGHTS):
            seen.append(_descend(problem, np.array([w, 1.0 - w]), points, values, k))
    front = non_dominated(np.concatenate(seen))
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, front)
        partial.replace(cache)  # several processes may make the same front at once
    return front


def _descend(
    problem: TwoObjectives, weights: FloatArray, points: FloatArray, values: FloatArray, seed: int
) -> FloatArray:
    from bench.baselines import CmaFull

    scores = (values * weights).max(axis=1)
    d = points.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = CmaFull(points[scores.argmin()], 0.3, seed=seed)
        seen, spent = [np.empty((0, 2))], 0
        while spent < EVALUATIONS * d and not search.stop():
            X = search.ask()
            F = problem(X)
            search.tell(X, (F * weights).max(axis=1) + 1e-3 * F.sum(axis=1))
            seen.append(F)
            spent += len(X)
    return np.concatenate(seen)
