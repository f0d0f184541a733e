"""FORUM: Algorithm 2 written out, its convergence on (A.32), options, and memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.bilevel.memory import peak_bytes
from bench.bilevel.synthetic import STARTS, run
from pyasmg.mtl.bilevel import FORUM
from pyasmg.mtl.bilevel._forum_problem import forum_multiplier, forum_weights
from tests.mtl.bilevel._problems import Classifier, Quadratic, method_of

RATE, ETA, T, RHO = 0.1, 0.05, 4, 0.3


@pytest.mark.parametrize("lower_start", ["current", "initial"])
@pytest.mark.parametrize("released", [False, True])
def test_algorithm_2(lower_start: str, released: bool) -> None:
    """Ten iterations, with gradients in closed form."""
    problem = Quadratic()
    H, B, c, e = (tensor.numpy() for tensor in (problem.H, problem.B, problem.c, problem.e))
    a, w = problem.alpha0.numpy().copy(), problem.omega0.numpy().copy()
    alpha, omega = problem.alpha0.clone(), problem.omega0.clone()
    method = FORUM(
        problem,
        alpha,
        omega,
        alpha_optimizer=torch.optim.SGD([alpha], lr=RATE),
        omega_optimizer=torch.optim.SGD([omega], lr=RATE),
        lower_steps=T,
        lower_learning_rate=ETA,
        lower_start=lower_start,
        rho=RHO,
        released=released,
    )
    smoothed = np.full(3, 1.0 / 3.0)
    for k in range(10):
        inner = w.copy() if lower_start == "current" else problem.omega0.numpy().copy()
        for _ in range(T):
            inner -= ETA * (H @ inner - B @ a)
        q = 0.5 * w @ H @ w - w @ B @ a - (0.5 * inner @ H @ inner - inner @ B @ a)
        slope_q = np.concatenate([-B.T @ w + B.T @ inner, H @ w - B @ a])
        slopes = np.hstack([0.5 * (a - e), w - c])
        if released:
            slopes[:, : len(a)] = 0.0
            slopes /= np.linalg.norm(slopes, axis=1, keepdims=True)
        gram = np.vstack([slopes, slope_q]) @ np.vstack([slopes, slope_q]).T
        phi = 0.5 * RHO * float(slope_q @ slope_q)
        beta = (k + 1.0) ** -0.75
        smoothed = (1.0 - beta) * smoothed + beta * forum_weights(gram, phi, halved=not released)
        nu = max(float(smoothed @ (RHO - slopes @ slope_q / (slope_q @ slope_q))), 0.0)
        step = smoothed @ slopes + nu * slope_q
        a -= RATE * step[: len(a)]
        w -= RATE * step[len(a) :]
        found = method.step()
        np.testing.assert_allclose(alpha.numpy(), a, rtol=1e-9)
        np.testing.assert_allclose(omega.numpy(), w, rtol=1e-9)
        np.testing.assert_allclose(found.weights, smoothed, rtol=0, atol=1e-10)
        assert found.multiplier == pytest.approx(nu, rel=1e-9)
        assert found.constraint == pytest.approx(q, rel=1e-9)
        assert found.direction_norm == pytest.approx(np.linalg.norm(step), rel=1e-9)
        assert found.constraint_norm == pytest.approx(np.linalg.norm(slope_q), rel=1e-9)
        assert found.iteration == k


@pytest.mark.parametrize("start", STARTS)
def test_synthetic_problem(start: tuple[float, tuple[float, float]]) -> None:
    """(A.32) with the thesis's settings: on the Pareto set, stationary and feasible."""
    trace = run("FORUM", start, 120)
    assert trace.distance[-1] < 1e-3
    assert trace.stationarity[-1] < 1e-3
    assert trace.constraint[-1] < 1e-3


def test_momentum_and_multiplier() -> None:
    """Without momentum the weights are those of each step; "derived" takes another multiplier."""
    multipliers = []
    for multiplier in ("paper", "derived"):
        problem = Quadratic(seed=3)
        alpha, omega = problem.alpha0.clone(), problem.omega0.clone()
        options = {"momentum_exponent": 0.0, "multiplier": multiplier, "rho": 5.0}
        method = method_of("FORUM", problem, alpha, omega, **options)
        for _ in range(3):
            found = method.step()
        gram = method._gram(method._workspace)
        phi = 2.5 * gram[-1, -1]
        np.testing.assert_array_equal(found.weights, forum_weights(gram, phi, multiplier=multiplier))
        assert found.multiplier == forum_multiplier(found.weights, gram, phi, multiplier)
        multipliers.append(found.multiplier)
    assert multipliers[0] > multipliers[1] > 0.0


def test_memory_does_not_depend_on_the_lower_steps() -> None:
    """Counted in bytes; that of MOML grows by the graph of each step."""
    peaks: dict[str, list[int]] = {"FORUM": [], "MOML": []}
    for name, found in peaks.items():
        for n_steps in (1, 2, 32):
            problem = Classifier()
            batches = problem.batches()
            method = method_of(name, problem, problem.alpha, problem.network, lower_steps=n_steps)
            method.step(batches)
            found.append(peak_bytes(lambda method=method, batches=batches: method.step(batches), torch.device("cpu")))
    one, two, many = peaks["FORUM"]
    assert max(two, many) <= 1.05 * one
    one, two, many = peaks["MOML"]
    assert many - one == pytest.approx(31 * (two - one), rel=0.25)
    assert many > 8 * one


@pytest.mark.parametrize("options", [{"rho": 0.0}, {"momentum_exponent": -1.0}, {"multiplier": "other"}])
def test_bad_options(options: dict[str, object]) -> None:
    problem = Quadratic()
    (name,) = options
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        method_of("FORUM", problem, problem.alpha0, problem.omega0, **options)
