"""GradNorm against its objective with autograd, and Adam of PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from tests.mtl._problems import direction, instance

M = 3


def steps(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((M, 5)) * [[1.0], [3.0], [0.2]], rng.uniform(0.1, 4.0, M)) for _ in range(n)]


def reference(data: list, alpha: float, softmax: bool, initial: np.ndarray) -> list[np.ndarray]:
    """Return the weights of each step: (1), (2) and Algorithm 1 as they stand."""
    variables = (torch.zeros if softmax else torch.ones)(M, dtype=torch.float64).requires_grad_()
    adam = torch.optim.Adam([variables], lr=0.025)
    found = []
    for rows, values in data:
        weights = M * variables.softmax(0) if softmax else variables
        found.append(weights.detach().numpy().copy())
        norms = weights * torch.from_numpy(np.linalg.norm(rows, axis=1))
        progress = torch.from_numpy(values / initial)
        target = norms.mean() * (progress / progress.mean()) ** alpha
        adam.zero_grad()
        (norms - target.detach()).abs().sum().backward()
        adam.step()
        if not softmax:
            with torch.no_grad():
                variables *= M / variables.sum()
    return found


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_objective(alpha: float, softmax: bool) -> None:
    data = steps(30)
    balancer = mtl.GradNorm(M, alpha=alpha, parametrization="softmax" if softmax else "free")
    for (rows, values), weights in zip(data, reference(data, alpha, softmax, data[0][1]), strict=True):
        found = direction(balancer, rows, values)
        np.testing.assert_allclose(balancer.diagnostics.weights, weights, rtol=1e-10)
        np.testing.assert_allclose(found, weights @ rows, rtol=1e-10)
        assert balancer.diagnostics.weights.sum() == pytest.approx(M)


def test_norms_come_together() -> None:
    """With alpha = 0 all gradients become equally long, but for the step size."""
    rows, values = np.diag([1.0, 2.0, 0.5]), np.ones(M)
    balancer = mtl.GradNorm(M, alpha=0.0, learning_rate=0.01)
    for _ in range(2000):
        direction(balancer, rows, values)
    lengths = balancer.diagnostics.weights * np.diag(rows)
    assert lengths.max() / lengths.min() < 1.1


def test_initial_losses() -> None:
    data = steps(10)
    balancer = mtl.GradNorm(M, initial_losses=[1.0, 2.0, 3.0])
    for (rows, values), weights in zip(data, reference(data, 1.5, False, np.array([1.0, 2.0, 3.0])), strict=True):
        direction(balancer, rows, values)
        np.testing.assert_allclose(balancer.diagnostics.weights, weights, rtol=1e-10)


def test_warmup() -> None:
    """The weights are 1 in the first steps, whose mean losses are those that later ones are compared with."""
    data = steps(10)
    balancer = mtl.GradNorm(M, warmup_steps=4)
    for rows, values in data[:4]:
        np.testing.assert_allclose(direction(balancer, rows, values), rows.sum(axis=0), rtol=1e-12)
    initial = np.mean([values for _, values in data[:4]], axis=0)
    for (rows, values), weights in zip(data[4:], reference(data[4:], 1.5, False, initial), strict=True):
        direction(balancer, rows, values)
        np.testing.assert_allclose(balancer.diagnostics.weights, weights, rtol=1e-10)


def test_weights_stay_positive() -> None:
    """A step that is larger than a weight: it is 0, and comes back."""
    balancer = mtl.GradNorm(2, alpha=0.0, learning_rate=0.9)
    seen = []
    for _ in range(50):
        direction(balancer, np.diag([1.0, 50.0]), np.ones(2))
        seen.append(balancer.diagnostics.weights)
    assert np.min(seen) == 0.0
    assert np.max(np.array(seen)[:, 1]) > 0.0
    np.testing.assert_allclose(np.sum(seen, axis=1), 2.0)
    assert min(weights[1] for weights in seen[1:]) < max(weights[1] for weights in seen[2:])


def test_a_loss_may_become_zero() -> None:
    rows, values = instance(2, 4, 0)
    balancer = mtl.GradNorm(2)
    for losses in (values, np.array([0.0, 1.0]), np.zeros(2)):
        assert np.isfinite(direction(balancer, rows, losses)).all()


def test_bad_input() -> None:
    rows, _ = instance(2, 4, 0)
    balancer = mtl.GradNorm(2)
    with pytest.raises(ValueError, match=r"GradNorm needs positive first losses; task 1 has the loss 0\."):
        direction(balancer, rows, np.array([1.0, 0.0]))
    direction(balancer, rows, np.ones(2))
    with pytest.raises(ValueError, match=r"GradNorm needs losses >= 0; task 0 has the loss -2\."):
        direction(balancer, rows, np.array([-2.0, 1.0]))
    with pytest.raises(ValueError, match=r"`alpha` must be a finite number >= 0; got -1\."):
        mtl.GradNorm(2, alpha=-1)
    with pytest.raises(ValueError, match=r"`parametrization` must be 'free' or 'softmax'; got 'exp'\."):
        mtl.GradNorm(2, parametrization="exp")
    with pytest.raises(ValueError, match=r"`initial_losses` must be positive; got 0 for task 1\."):
        mtl.GradNorm(2, initial_losses=[1.0, 0.0])
    with pytest.raises(ValueError, match=r"`warmup_steps` must be an integer >= 0; got -1\."):
        mtl.GradNorm(2, warmup_steps=-1)
