"""A balancer that is saved and loaded goes on bit for bit."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from pyasmg.mtl import Balancer
from tests.mtl._cases import CASES
from tests.mtl._problems import Network, batches

M = 3


def train(balancer: Balancer, network: Network, data: list[torch.Tensor]) -> None:
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for batch in data:
        optimizer.zero_grad()
        _, losses = network(batch)
        balancer.backward(losses, shared=network.trunk.parameters(), heads=network.head_lists())
        optimizer.step()


def bits(network: Network) -> list[np.ndarray]:
    return [parameter.detach().numpy().copy() for parameter in network.parameters()]


@pytest.mark.parametrize("name", CASES)
def test_resume_is_exact(name: str) -> None:
    data = batches(12)
    network, balancer = Network(M), CASES[name].make(M)
    train(balancer, network, data[:5])
    file = io.BytesIO()
    torch.save({"balancer": balancer.state_dict(), "network": network.state_dict()}, file)
    train(balancer, network, data[5:])

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other, again = Network(M, seed=1), CASES[name].make(M)
    train(again, other, data[2:4])  # what was there before is gone
    again.load_state_dict(saved["balancer"])
    other.load_state_dict(saved["network"])
    train(again, other, data[5:])
    for found, expected in zip(bits(other), bits(network), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CASES)
def test_a_copy_is_independent(name: str) -> None:
    data = batches(6)
    network, balancer = Network(M), CASES[name].make(M)
    train(balancer, network, data[:3])
    state = copy.deepcopy(balancer.state_dict())
    twin, other = copy.deepcopy(balancer), copy.deepcopy(network)
    train(twin, other, data[3:])
    again = CASES[name].make(M)
    again.load_state_dict(state)
    for found, expected in zip(_flat(balancer.state_dict()), _flat(again.state_dict()), strict=True):
        assert found == expected
    train(balancer, network, data[3:])
    for found, expected in zip(bits(network), bits(other), strict=True):
        np.testing.assert_array_equal(found, expected)


def _flat(state: object) -> list[object]:
    if isinstance(state, dict):
        return [entry for key, value in state.items() for entry in (key, *_flat(value))]
    return [state.tolist() if isinstance(state, torch.Tensor) else state]


def test_the_preference_is_part_of_the_state() -> None:
    balancer, again = mtl.PIVRG(2), mtl.PIVRG(2)
    balancer.preference = [0.5, 1.5]
    again.load_state_dict(balancer.state_dict())
    np.testing.assert_array_equal(again.preference, [0.5, 1.5])


@pytest.mark.parametrize("other", [mtl.FairGrad(2), mtl.PIVRG(3)])
def test_a_state_of_another_method_or_size_is_refused(other: Balancer) -> None:
    with pytest.raises(ValueError, match=r"must be of \(version, method, n_tasks\) = \(1, 'PIVRG', 2\); got \(1, "):
        mtl.PIVRG(2).load_state_dict(other.state_dict())
