"""MOML and MoCo: Algorithm 1, what becomes of omega, and the solvers of the upper level."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from pyasmg import min_norm_weights
from pyasmg.mtl.bilevel import MOML, MoCo
from tests.mtl.bilevel._problems import Quadratic, method_of


def plain(problem: Quadratic, kind: str = "MOML", **options: object) -> MOML:
    alpha, omega = problem.alpha0.clone(), problem.omega0.clone()
    optimizer = torch.optim.SGD([alpha], lr=0.1)
    method = method_of(kind, problem, alpha, omega, alpha_optimizer=optimizer, **options)
    assert isinstance(method, MOML)
    return method


def values(method: MOML) -> tuple[torch.Tensor, torch.Tensor]:
    return method.alpha.tensors[0].clone(), method.omega.tensors[0].clone()


@pytest.mark.parametrize("hypergradient", ["iterative", "implicit"])
def test_algorithm_1(hypergradient: str) -> None:
    """alpha goes along the shortest combination of the hypergradients; omega to omega_T."""
    problem = Quadratic(coupling=0.2)
    method = plain(problem, hypergradient=hypergradient)
    for _ in range(3):
        before, omega = values(method)
        rows = method.hypergradients()
        found = method.step()
        gram = (rows @ rows.T).numpy()
        weights = min_norm_weights(gram)
        after, reached = values(method)
        np.testing.assert_allclose(found.weights, weights, rtol=0, atol=1e-12)
        torch.testing.assert_close(after, before - 0.1 * torch.from_numpy(weights) @ rows, rtol=1e-12, atol=1e-12)
        for _ in range(3):
            omega = omega - 0.1 * torch.func.grad(lambda w, a=before: problem.lower(a, w, None))(omega)
        torch.testing.assert_close(reached, omega, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.upper, problem.upper(before, omega, None).numpy(), rtol=1e-12)
        np.testing.assert_allclose(found.gradient_norms, np.sqrt(np.diag(gram)), rtol=1e-12)
        assert (found.multiplier, found.constraint) == (None, None)


def test_restart_and_look_ahead() -> None:
    problem = Quadratic()
    restarted = plain(problem, lower_start="initial")
    for _ in range(2):
        before, _ = values(restarted)
        restarted.step()
        omega = problem.omega0
        for _ in range(3):
            omega = omega - 0.1 * (problem.H @ omega - problem.B @ before)
        torch.testing.assert_close(values(restarted)[1], omega, rtol=1e-12, atol=1e-12)

    alpha, omega = problem.alpha0.clone(), problem.omega0.clone()
    optimizer = torch.optim.SGD([omega], lr=0.05)
    ahead = method_of("MOML", problem, alpha, omega, omega_optimizer=optimizer)
    before = omega.clone()
    ahead.step()
    expected = before - 0.05 * (problem.H @ before - problem.B @ problem.alpha0)
    torch.testing.assert_close(omega, expected, rtol=1e-12, atol=1e-12)


def test_converges_to_a_pareto_point() -> None:
    """Where a convex combination of the hypergradients of the exact lower level vanishes."""
    problem = Quadratic()
    method = plain(problem, lower_steps=5, lower_learning_rate=0.3, hypergradient="implicit")
    for _ in range(60):
        method.step()
    alpha, _ = values(method)
    slope = torch.linalg.solve(problem.H, problem.B)
    rows = ((problem.solution(alpha) - problem.c) @ slope + 0.5 * (alpha - problem.e)).numpy()
    weights = min_norm_weights(rows @ rows.T)
    assert np.linalg.norm(weights @ rows) <= 1e-3 * np.linalg.norm(rows, axis=1).max()


def test_other_solvers() -> None:
    problem = Quadratic()
    for solver in (mtl.EW(3), mtl.NashMTL(3), mtl.PCGrad(3, seed=0), mtl.MGDA(3, normalization="l2")):
        method = plain(problem, solver=solver)
        before = values(method)[0]
        method.step()
        assert not torch.equal(values(method)[0], before)
        assert method.solver is solver
    rows = plain(problem).hypergradients()
    method = plain(problem, solver=mtl.EW(3, reduction="sum"))
    method.step()
    torch.testing.assert_close(values(method)[0], problem.alpha0 - 0.1 * rows.sum(dim=0), rtol=1e-12, atol=1e-12)


def test_moco_tracks_the_hypergradients() -> None:
    """The rule is that of pyasmg.mtl.MoCo on the rows of MOML."""
    problem = Quadratic()
    method = plain(problem, "MoCo", beta=0.5, gamma=0.2)
    twin = mtl.MoCo(3, beta=0.5, gamma=0.2)
    for _ in range(4):
        before = values(method)[0]
        rows = method.hypergradients()
        step, _ = twin.aggregate(rows, (rows @ rows.T).numpy(), np.zeros(3))
        found = method.step()
        torch.testing.assert_close(values(method)[0], before - 0.1 * step, rtol=1e-12, atol=1e-12)
        assert found.weights is None
    assert isinstance(method.solver, mtl.MoCo)


def test_bad_options() -> None:
    problem = Quadratic()
    with pytest.raises(ValueError, match="`hypergradient` must be 'iterative' or 'implicit'; got 'other'"):
        plain(problem, hypergradient="other")
    with pytest.raises(TypeError, match="must be a balancer on losses or gradients alone"):
        plain(problem, solver=mtl.FAMO(3))
    with pytest.raises(ValueError, match="n_tasks = 3, one per objective; got 2"):
        plain(problem, solver=mtl.MGDA(2)).step()
    with pytest.raises(ValueError, match="`beta` must be"):
        plain(problem, "MoCo", beta=2.0)
    with pytest.raises(TypeError, match="no option `solver`"):
        MoCo(problem, problem.alpha0, problem.omega0, alpha_optimizer=None, solver=mtl.MGDA(3))
