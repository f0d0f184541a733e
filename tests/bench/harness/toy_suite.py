"""A suite for the tests: a shifted sphere and its mirror image, which runs in no time."""

import numpy as np

from bench.harness import Problem

RUNS_VERSION = 1


def make_problem(name, d):
    def evaluate(X):
        return np.stack([((X - 0.25) ** 2).sum(axis=1), ((X + 0.25) ** 2).sum(axis=1)], axis=1)

    def measures(points):
        return {"distance": float(np.ptp(points, axis=1).min()), "points": float(len(points))}

    bounds = (-1.0, 1.0) if name == "box" else None
    return Problem(
        name=name,
        d=d,
        n_objectives=2,
        evaluate=evaluate,
        start=lambda seed: np.random.default_rng(seed).random(d),
        measures=measures,
        sigma0=0.3,
        bounds=bounds,
        target=None if name == "no target" else 1e-2,
        reference=np.full(2, 9.0),
    )
