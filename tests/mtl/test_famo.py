"""FAMO against a transcription of its formulas with autograd, and against TorchJD's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from tests.mtl._problems import Network, batches

M = 3


def train(balancer: mtl.FAMO, network: Network, data: list[torch.Tensor], update: bool = True) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for batch in data:
        optimizer.zero_grad()
        balancer.backward(network(batch)[1], shared=network.trunk.parameters(), heads=network.head_lists())
        optimizer.step()
        if update:
            with torch.no_grad():
                balancer.update(network(batch)[1])


def reference(network: Network, data: list[torch.Tensor], bounds: torch.Tensor, gamma: float) -> None:
    """The objective as it stands, and Adam of PyTorch on the logits."""
    logits = torch.zeros(M, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.025, weight_decay=gamma)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for batch in data:
        above = torch.stack(network(batch)[1]) - bounds + 1e-8
        shares = logits.softmax(0)
        factor = (shares / above).sum().detach()
        optimizer.zero_grad()
        ((shares.detach() * above.log()).sum() / factor).backward()
        optimizer.step()
        with torch.no_grad():
            decrease = above.log() - (torch.stack(network(batch)[1]) - bounds + 1e-8).log()
        logits.grad = torch.autograd.grad(shares, logits, decrease)[0]
        adam.step()


@pytest.mark.parametrize("gamma", [0.0, 1e-3, 0.5])
def test_formulas(gamma: float) -> None:
    bounds = torch.tensor([0.0, -0.5, -2.0], dtype=torch.float64)
    found, expected, data = Network(M), Network(M), batches(15)
    train(mtl.FAMO(M, gamma=gamma, lower_bounds=bounds.numpy()), found, data)
    reference(expected, data, bounds, gamma)
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_against_torchjd() -> None:
    scalarization = pytest.importorskip("torchjd.scalarization")
    balancer, peer = mtl.FAMO(M), scalarization.FAMO(M).double()
    for seed in range(20):
        before, after = np.random.default_rng(seed).uniform(0.1, 5.0, (2, M))
        values = torch.from_numpy(before).requires_grad_()
        peer(values).backward()
        peer.update(torch.from_numpy(after))
        np.testing.assert_allclose(balancer.weights(before), values.grad, rtol=1e-9)
        balancer.update(torch.from_numpy(after))


def test_consecutive_steps_stand_in_for_the_update() -> None:
    """On one batch, the losses of the next step are those after this one."""
    networks, data = (Network(M), Network(M)), batches(1) * 10
    for network, update in zip(networks, (True, False), strict=True):
        train(mtl.FAMO(M), network, data, update)
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_the_loss_that_falls_slowly_gains_weight() -> None:
    balancer = mtl.FAMO(2)
    shares = []
    for step in range(50):
        losses = np.array([0.99**step, 0.8**step])
        weights = balancer.weights(losses) * losses  # proportional to z
        shares.append(weights[0] / weights.sum())
    assert shares[0] == pytest.approx(0.5)
    assert (np.diff(shares[1:]) > 0).all()


def test_a_preference_changes_the_length_only() -> None:
    plain, preferred = mtl.FAMO(M), mtl.FAMO(M)
    preferred.preference = [0.5, 2.0, 0.25]
    networks = Network(M), Network(M)
    for balancer, network in zip((plain, preferred), networks, strict=True):
        for batch in batches(5):
            balancer.backward(network(batch)[1], shared=network.trunk.parameters(), heads=network.head_lists())
            with torch.no_grad():
                balancer.update(network(batch + 0.1)[1])
    found, expected = (balancer.diagnostics.weights for balancer in (preferred, plain))
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), rtol=1e-12)
    np.testing.assert_allclose((found / preferred.preference).sum(), 1.0, rtol=1e-12)


def test_resume_between_backward_and_update() -> None:
    (batch,), network = batches(1), Network(M)
    balancer, again = mtl.FAMO(M), mtl.FAMO(M)
    balancer.backward(network(batch)[1], shared=network.trunk.parameters())
    again.load_state_dict(balancer.state_dict())
    for one in (balancer, again):
        one.update([torch.tensor(0.5), torch.tensor(0.1), torch.tensor(3.0)])
    np.testing.assert_array_equal(balancer.weights(np.ones(M)), again.weights(np.ones(M)))


def test_bad_input() -> None:
    balancer = mtl.FAMO(2, lower_bounds=[0.0, -1.0])
    with pytest.raises(ValueError, match=r"`update` must follow a call of `backward`"):
        balancer.update(torch.ones(2))
    with pytest.raises(ValueError, match=r"task 1 has the loss -2, and the bound -1\."):
        balancer.weights(np.array([1.0, -2.0]))
    balancer.weights(np.ones(2))
    state = repr(balancer.state_dict())
    with pytest.raises(ValueError, match=r"task 0 has the loss -1, and the bound 0\."):
        balancer.update(torch.tensor([-1.0, 1.0]))
    with pytest.raises(ValueError, match=r"`losses` must have shape \(n_tasks,\) = \(2,\); got \(3,\)\."):
        balancer.update(torch.ones(3))
    with pytest.raises(ValueError, match=r"`losses` must be finite; task 1 has the loss nan\."):
        balancer.update(torch.tensor([1.0, np.nan]))
    assert repr(balancer.state_dict()) == state
    balancer.update([torch.tensor(1.0), torch.tensor(0.5)])
    with pytest.raises(ValueError, match=r"`update` must follow a call of `backward`"):
        balancer.update(torch.ones(2))


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`gamma` must be a finite number >= 0; got -1\."):
        mtl.FAMO(2, gamma=-1)
    with pytest.raises(ValueError, match=r"`lower_bounds` must be a scalar or of shape \(2,\)"):
        mtl.FAMO(2, lower_bounds=[1.0, 2.0, 3.0])
