"""BOME, BVFIM, and the upper level alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from bench.bilevel.synthetic import STARTS, run
from tests.mtl.bilevel._problems import Quadratic, method_of


def gradients(problem: Quadratic, a: torch.Tensor, w: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """By (alpha, omega): of the objectives, and of f."""
    upper = torch.cat([0.5 * (a - problem.e), w - problem.c], dim=1)
    return upper.numpy(), torch.cat([-problem.B.T @ w, problem.H @ w - problem.B @ a]).numpy()


@pytest.mark.parametrize("barrier", ["gradient", "value"])
@pytest.mark.parametrize("weights", [None, [0.2, 0.0, 3.0]])
def test_bome(barrier: str, weights: list[float] | None) -> None:
    problem = Quadratic()
    a, w = problem.alpha0.clone(), problem.omega0.clone()
    optimizers = {"alpha_optimizer": torch.optim.SGD([a], 0.1), "omega_optimizer": torch.optim.SGD([w], 0.1)}
    method = method_of("BOME", problem, a, w, rho=0.4, barrier=barrier, weights=weights, **optimizers)
    for _ in range(5):
        inner = w.clone()
        for _ in range(3):
            inner -= 0.1 * (problem.H @ inner - problem.B @ a)
        rows, slope = gradients(problem, a, w)
        slope[:4] -= gradients(problem, a, inner)[1][:4]
        q = float(problem.lower(a, w, None) - problem.lower(a, inner, None))
        total = np.asarray(weights or [1 / 3] * 3) @ rows
        squared = float(slope @ slope)
        nu = max((0.4 * (squared if barrier == "gradient" else q) - float(total @ slope)) / squared, 0.0)
        expected = torch.cat([a, w]).numpy() - 0.1 * (total + nu * slope)
        found = method.step()
        np.testing.assert_allclose(torch.cat([a, w]).numpy(), expected, rtol=1e-9, atol=1e-12)
        assert found.multiplier == pytest.approx(nu, rel=1e-9)
        assert found.constraint == pytest.approx(q, rel=1e-9)


def test_bvfim_stays_inside_the_barrier() -> None:
    """Each omega has f below v(alpha); the gradient is that of the barrier problem with z held."""
    problem = Quadratic()
    a, w = problem.alpha0.clone(), problem.omega0.clone() * 30.0
    optimizer = torch.optim.SGD([a], 0.01)
    options = {"barrier": 0.5, "slack": 0.7, "regularization": 0.1, "upper_steps": 3}
    method = method_of("BVFIM", problem, a, w, alpha_optimizer=optimizer, **options)
    for k in range(8):
        before, start = a.clone(), w.clone()
        found = method.step()
        factor = 1.0 / math.log(1.1 * (k + 2))
        inner = start
        for _ in range(3):
            inner = inner - 0.1 * (problem.H @ inner - problem.B @ before + 0.1 * factor * inner)
        ridge = 0.05 * factor * float(inner.square().sum())
        bound = float(problem.lower(before, inner, None)) + ridge + 0.7 * factor
        at_omega = float(problem.lower(before, w, None))
        assert at_omega < bound
        multiplier = 0.5 * factor / (bound - at_omega)
        assert found.multiplier == pytest.approx(multiplier, rel=1e-9)
        rows, slope = gradients(problem, before, w)
        step = rows.mean(axis=0)[:4] + multiplier * (slope - gradients(problem, before, inner)[1])[:4]
        np.testing.assert_allclose(a.numpy(), before.numpy() - 0.01 * step, rtol=1e-9, atol=1e-12)


def test_bvfim_with_an_optimizer() -> None:
    problem = Quadratic()
    a, w = problem.alpha0.clone(), problem.omega0.clone()
    method = method_of("BVFIM", problem, a, w, omega_optimizer=torch.optim.Adam([w], 0.05))
    for _ in range(300):
        found = method.step()
    assert found.upper.mean() < float(problem.upper(problem.alpha0, problem.omega0, None).mean())
    assert float(problem.lower(a, w, None)) - float(problem.lower(a, problem.solution(a), None)) < 1.0


@pytest.mark.parametrize("name", ["BOME", "BVFIM", "MOML", "MoCo"])
def test_synthetic_problem(name: str) -> None:
    """All of them end on the Pareto set of (A.32)."""
    n, tolerance = (400, 0.05) if name == "BVFIM" else (200, 1e-3)
    assert run(name, STARTS[1], n).distance[-1] < tolerance


def test_single_level() -> None:
    problem = Quadratic()
    for balancer in (mtl.EW(3), mtl.MGDA(3)):
        a, w = problem.alpha0.clone(), problem.omega0.clone()
        optimizers = {"alpha_optimizer": torch.optim.SGD([a], 0.1), "omega_optimizer": torch.optim.SGD([w], 0.1)}
        method = method_of("SingleLevel", problem, a, w, balancer=balancer, **optimizers)
        rows, _ = gradients(problem, a, w)
        before = torch.cat([a, w]).numpy()
        found = method.step()
        np.testing.assert_allclose(torch.cat([a, w]).numpy(), before - 0.1 * found.weights @ rows, rtol=1e-12)
        assert found.lower == pytest.approx(float(problem.lower(problem.alpha0, problem.omega0, None)), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("BOME", {"rho": -1.0}, "`rho` must be"),
        ("BOME", {"barrier": "log"}, "`barrier` must be 'gradient' or 'value'; got 'log'"),
        ("BOME", {"weights": [1.0, -1.0, 1.0]}, "`weights` must not be negative; got -1"),
        ("BVFIM", {"barrier": 0.0}, "`barrier` must be"),
        ("BVFIM", {"slack": 0.0}, "`slack` must be"),
    ],
)
def test_bad_options(name: str, options: dict[str, object], message: str) -> None:
    problem = Quadratic()
    with pytest.raises(ValueError, match=message):
        method_of(name, problem, problem.alpha0, problem.omega0, **options)


def test_weights_of_another_length() -> None:
    problem = Quadratic()
    with pytest.raises(ValueError, match=r"`weights` must have shape \(3,\), one per objective; got \(2,\)"):
        method_of("BOME", problem, problem.alpha0, problem.omega0, weights=[1.0, 1.0]).step()
