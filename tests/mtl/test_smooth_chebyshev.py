"""Smooth Chebyshev scalarization against autograd on its formulas, and against TorchJD's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from tests.mtl._problems import Linear, instance


def test_the_other_name() -> None:
    assert mtl.STCH is mtl.SmoothChebyshev


@pytest.mark.parametrize("mu", [1e-3, 0.1, 1.0, 50.0])
def test_against_torchjd(mu: float) -> None:
    scalarization = pytest.importorskip("torchjd.scalarization")
    rng = np.random.default_rng(0)
    losses, ideal, preference = rng.uniform(0.1, 5.0, (3, 4))
    peer = scalarization.STCH(mu, torch.from_numpy(preference / 4), torch.from_numpy(ideal))
    values = torch.from_numpy(losses).requires_grad_()
    peer(values).backward()
    problem, balancer = Linear(instance(4, 6, 0)[0], losses), mtl.SmoothChebyshev(4, mu=mu, ideal=ideal)
    balancer.preference = preference
    balancer.backward(problem.losses(), shared=problem.shared)
    np.testing.assert_allclose(balancer.diagnostics.weights, values.grad, rtol=1e-9, atol=1e-200)


def test_limits() -> None:
    losses = np.array([1.0, 3.0, 2.0])
    np.testing.assert_allclose(mtl.SmoothChebyshev(3, mu=1e-4).weights(losses), [0.0, 1 / 3, 0.0], atol=1e-100)
    np.testing.assert_allclose(mtl.SmoothChebyshev(3, mu=1e9).weights(losses), 1 / 9, rtol=1e-8)


def test_of_logarithms() -> None:
    """A warm-up of two epochs with the sum of logarithms, then the smooth maximum against the second epoch's mean."""
    balancer = mtl.LogSmoothChebyshev(3, mu=0.3, warmup_epochs=2, steps_per_epoch=4)
    data = np.random.default_rng(0).uniform(0.5, 4.0, (12, 3))
    for step, losses in enumerate(data):
        values = torch.from_numpy(losses).requires_grad_()
        if step < 8:
            values.log().sum().backward()
        else:
            nadir = torch.from_numpy(data[4:8].mean(axis=0))
            (3 * 0.3 * torch.logsumexp((values / nadir).log() / 0.3, 0)).backward()
        np.testing.assert_allclose(balancer.weights(losses), values.grad, rtol=1e-12, err_msg=f"{step=}")


def test_epochs_by_hand() -> None:
    found, expected = (mtl.LogSmoothChebyshev(2, warmup_epochs=1, steps_per_epoch=n) for n in (None, 2))
    found.end_epoch()  # nothing has been seen: no epoch
    for step, losses in enumerate(np.random.default_rng(1).uniform(0.5, 4.0, (6, 2))):
        if step in (2, 4):
            found.end_epoch()
        np.testing.assert_array_equal(found.weights(losses), expected.weights(losses))


def test_a_preference_changes_nothing_for_logarithms() -> None:
    rows, _ = instance(2, 3, 0)
    balancers = [mtl.LogSmoothChebyshev(2, warmup_epochs=1, steps_per_epoch=1) for _ in range(2)]
    balancers[1].preference = [0.5, 4.0]
    for values in ([1.0, 2.0], [0.5, 3.0], [0.25, 0.75]):
        for balancer in balancers:
            problem = Linear(rows, np.array(values))
            balancer.backward(problem.losses(), shared=problem.shared)
        found, expected = (balancer.diagnostics.weights for balancer in reversed(balancers))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"`mu` must be a finite number > 0; got 0\."):
        mtl.SmoothChebyshev(2, mu=0.0)
    with pytest.raises(ValueError, match=r"`ideal` must be a scalar or of shape \(2,\)"):
        mtl.SmoothChebyshev(2, ideal=[0.0])
    with pytest.raises(ValueError, match=r"`warmup_epochs` must be an integer >= 1; got 0\."):
        mtl.LogSmoothChebyshev(2, warmup_epochs=0)
    with pytest.raises(ValueError, match=r"LogSmoothChebyshev needs positive losses; task 1 has the loss -1\."):
        mtl.LogSmoothChebyshev(2).weights(np.array([1.0, -1.0]))
