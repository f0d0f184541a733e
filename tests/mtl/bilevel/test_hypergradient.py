"""Hypergradients: against finite differences, the closed form, and implicit differentiation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pyasmg.mtl.bilevel import MOML, Box, Constraint, Simplex, Softmax
from pyasmg.mtl.bilevel._hypergradient import conjugate_gradient
from tests.mtl.bilevel._problems import Quadratic, method_of


def reached(problem: Quadratic, alpha: Tensor, n_steps: int, rate: float) -> Tensor:
    """Omega after plain gradient descent, written out."""
    omega = problem.omega0.clone()
    for _ in range(n_steps):
        slope = problem.H @ omega - problem.B @ alpha + 0.5 * problem.coupling * alpha.square().sum() * omega
        omega = omega - rate * slope
    return omega


def differences(function: Callable[[Tensor], Tensor], alpha: Tensor, h: float = 1e-5) -> np.ndarray:
    """Central differences of a function to (m,), shape (m, n)."""
    columns = []
    for i in range(alpha.numel()):
        shift = torch.zeros_like(alpha)
        shift[i] = h
        columns.append(((function(alpha + shift) - function(alpha - shift)) / (2.0 * h)).numpy())
    return np.stack(columns, axis=1)


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Each hypergradient to a relative tolerance."""
    errors = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    assert errors.max() <= tolerance, errors


@pytest.mark.parametrize("n_steps", [1, 3, 20])
@pytest.mark.parametrize("constraint", [None, Softmax()])
def test_finite_differences(n_steps: int, constraint: Constraint | None) -> None:
    problem = Quadratic(coupling=0.3)
    alpha, omega = problem.alpha0.clone(), problem.omega0.clone()
    method = method_of("MOML", problem, alpha, omega, lower_steps=n_steps, constraint=constraint)

    def value(raw: Tensor) -> Tensor:
        seen = raw if constraint is None else torch.softmax(raw, dim=0)
        return problem.upper(seen, reached(problem, seen, n_steps, 0.1), None)

    assert_close(method.hypergradients().numpy(), differences(value, alpha), 1e-6)
    assert torch.equal(alpha, problem.alpha0)
    assert torch.equal(omega, problem.omega0)


def test_a_network() -> None:
    """With weights of samples and a perceptron, in double precision."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)).double()
    inputs, targets, held = (torch.randn(12, size, dtype=torch.float64) for size in (3, 1, 3))

    class Problem:
        def upper(self, alpha, omega, batch):
            out = torch.func.functional_call(network, omega, (held,))
            return [out.square().mean(), (out - 1.0).square().mean() + alpha.square().sum()]

        def lower(self, alpha, omega, batch):
            out = torch.func.functional_call(network, omega, (inputs,))
            return (torch.sigmoid(alpha)[:, None] * (out - targets).square()).mean()

    alpha = torch.randn(12, dtype=torch.float64)
    method = method_of("MOML", Problem(), alpha, network, lower_steps=5, lower_learning_rate=0.2)
    found = method.hypergradients().numpy()
    names = [name for name, _ in network.named_parameters()]

    def value(raw: Tensor) -> Tensor:
        omega = [parameter.detach().clone().requires_grad_() for parameter in network.parameters()]
        for _ in range(5):
            loss = Problem().lower(raw, dict(zip(names, omega, strict=True)), None)
            slopes = torch.autograd.grad(loss, omega)
            omega = [(w - 0.2 * s).detach().requires_grad_() for w, s in zip(omega, slopes, strict=True)]
        return torch.stack(Problem().upper(raw, dict(zip(names, omega, strict=True)), None)).detach()

    assert_close(found, differences(value, alpha, 1e-4), 1e-6)


def test_iterative_tends_to_implicit() -> None:
    """Both to the closed form d F(a, H^-1 B a) / d a, at the rate of the lower level."""
    problem = Quadratic()
    slope = torch.linalg.solve(problem.H, problem.B)
    omega = problem.solution(problem.alpha0)
    exact = ((omega - problem.c) @ slope + 0.5 * (problem.alpha0 - problem.e)).numpy()
    errors = []
    for n_steps in (10, 40, 160):
        for kind in ("iterative", "implicit"):
            options = {"lower_steps": n_steps, "lower_learning_rate": 0.3, "hypergradient": kind}
            method = method_of("MOML", problem, problem.alpha0.clone(), problem.omega0.clone(), **options)
            errors.append(np.abs(method.hypergradients().numpy() - exact).max())
    iterative, implicit = errors[::2], errors[1::2]
    assert iterative[0] > 10.0 * iterative[1] > 100.0 * iterative[2]
    assert implicit[0] > implicit[1] > implicit[2]
    assert max(iterative[-1], implicit[-1]) <= 1e-9


def test_implicit_at_any_point() -> None:
    """There, it is the formula at omega_T, with the second derivatives of f."""
    problem = Quadratic(coupling=0.3)
    alpha, omega = problem.alpha0.clone(), problem.omega0.clone()
    options = {"hypergradient": "implicit", "damping": 0.05, "lower_steps": 2}
    method = method_of("MOML", problem, alpha, omega, **options)
    at = reached(problem, alpha, 2, 0.1)
    eye = torch.eye(len(at), dtype=torch.float64)
    full = problem.H + (0.15 * alpha.square().sum() + 0.05) * eye
    mixed = 0.3 * torch.outer(at, alpha) - problem.B
    inverse = torch.linalg.solve(full, (at - problem.c).T)
    exact = 0.5 * (alpha - problem.e) - (mixed.T @ inverse).T
    assert_close(method.hypergradients().numpy(), exact.numpy(), 1e-9)
    method.step()
    assert isinstance(method, MOML)
    assert method.cg_residual is not None
    assert method.cg_residual <= 1e-9


def test_conjugate_gradients() -> None:
    rng = np.random.default_rng(0)
    root = torch.from_numpy(rng.standard_normal((6, 6)))
    matrix, right = root @ root.T + torch.eye(6), torch.from_numpy(rng.standard_normal(6))
    solution, residual = conjugate_gradient(lambda x: matrix @ x, right, 50, 1e-12)
    torch.testing.assert_close(matrix @ solution, right, rtol=0, atol=1e-10)
    assert residual <= 1e-12
    assert conjugate_gradient(lambda x: matrix @ x, 0.0 * right, 50, 1e-12)[1] == 0.0
    stopped, left = conjugate_gradient(lambda x: -x, right, 50, 1e-12)  # not positive: nothing was found
    assert not stopped.any()
    assert left == 1.0


@pytest.mark.parametrize("constraint", [Box(-1.0, 1.0), Simplex()])
def test_projections_do_not_enter(constraint: Constraint) -> None:
    problem = Quadratic()
    alpha = torch.full((4,), 0.25, dtype=torch.float64)
    free = method_of("MOML", problem, alpha.clone(), problem.omega0.clone())
    held = method_of("MOML", problem, alpha.clone(), problem.omega0.clone(), constraint=constraint)
    torch.testing.assert_close(held.hypergradients(), free.hypergradients(), rtol=0, atol=0)
