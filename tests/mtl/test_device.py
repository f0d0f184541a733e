"""On a GPU, every method does what it does on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.mtl._cases import CASES
from tests.mtl._problems import Linear, Network, batches, instance

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
M = 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_the_same_direction(name: str, dtype: torch.dtype) -> None:
    rows, values = instance(M, 6, 0)
    found = []
    for device in ("cpu", "cuda"):
        problem, balancer = Linear(rows, values, dtype, device), CASES[name].make(M).to(device)
        balancer.backward(problem.losses(), shared=problem.shared, heads=problem.heads)
        assert all(parameter.grad.device.type == device for parameter in problem.shared)
        found.append((problem.gradient(), problem.head_gradients()))
    tolerance = 1e-9 if dtype is torch.float64 else 1e-4
    for on_cpu, on_gpu in zip(*found, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_state_moves_between_devices(name: str) -> None:
    """Saved on one device and loaded on the other: the steps go on as they would have."""
    data = batches(4)
    start, balancer = Network(M), CASES[name].make(M)
    for batch in data[:2]:
        balancer.backward(start(batch)[1], shared=start.trunk.parameters(), heads=start.head_lists())
    state, results = balancer.state_dict(), []
    for device in ("cpu", "cuda"):
        network, again = Network(M).to(device), CASES[name].make(M).to(device)
        again.load_state_dict(state)
        for batch in data[2:]:
            losses = network(batch.to(device))[1]
            again.backward(losses, shared=network.trunk.parameters(), heads=network.head_lists())
        results.append([parameter.grad.cpu() for parameter in network.parameters()])
    for on_cpu, on_gpu in zip(*results, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-7, atol=1e-9)
