"""IMTL-L against TorchJD's, learned by PyTorch's Adam."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from tests.mtl._problems import Network, batches


def test_against_torchjd() -> None:
    scalarization = pytest.importorskip("torchjd.scalarization")
    balancer, peer = mtl.IMTLL(3, learning_rate=0.1), scalarization.IMTLL(3).double()
    optimizer = torch.optim.Adam(peer.parameters(), lr=0.1)
    for seed in range(20):
        losses = np.random.default_rng(seed).uniform(0.1, 5.0, 3)
        values = torch.from_numpy(losses).requires_grad_()
        optimizer.zero_grad()
        peer(values).backward()
        optimizer.step()
        np.testing.assert_allclose(balancer.weights(losses), values.grad, rtol=1e-12)
    np.testing.assert_allclose(balancer.log_scales.detach(), next(peer.parameters()).detach(), rtol=1e-10)


def test_scales_in_the_optimizer() -> None:
    """As one objective for one optimizer: sum(exp(s) L - s)."""
    data, results = batches(8), []
    for by_hand in (True, False):
        network, balancer = Network(3), mtl.IMTLL(3, learning_rate=None)
        optimizer = torch.optim.Adam([*network.parameters(), *balancer.parameters()], lr=0.05)
        for batch in data:
            optimizer.zero_grad()
            _, losses = network(batch)
            if by_hand:
                scales = balancer.log_scales
                (scales.exp() * torch.stack(losses) - scales).sum().backward()
            else:
                balancer.backward(losses, shared=network.trunk.parameters(), heads=network.head_lists())
            optimizer.step()
        results.append([*map(torch.clone, network.parameters()), balancer.log_scales])
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_scaled_losses_tend_to_one() -> None:
    balancer, losses = mtl.IMTLL(3), np.array([1e-2, 1.0, 50.0])
    for _ in range(2000):
        weights = balancer.weights(losses)
    np.testing.assert_allclose(weights * losses, 1.0, rtol=1e-2)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`learning_rate` must be a finite number >= 0; got -1\."):
        mtl.IMTLL(2, learning_rate=-1)
