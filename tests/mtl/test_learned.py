"""What a balancer learns beside the model: read and moved where it lies, wherever that is."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import pyasmg.mtl as mtl
from tests.mtl._problems import Linear, instance

LEARNED = {"UW": "log_variances", "IMTLL": "log_scales", "BiLB4MTL": "scores"}
M = 3


def problem(seed: int) -> Linear:
    rows, values = instance(M, 5, seed)
    return Linear(rows, np.abs(values) + 0.5)


def step(balancer: mtl.LossBalancer, seed: int) -> np.ndarray:
    balancer.backward(problem(seed).losses())
    return balancer.diagnostics.weights


def numbers(balancer: mtl.LossBalancer) -> np.ndarray:
    return getattr(balancer, LEARNED[type(balancer).__name__]).detach().double().numpy().copy()


@pytest.mark.parametrize("name", LEARNED)
def test_what_the_user_writes_counts(name: str) -> None:
    """In place, as ``load_state_dict`` does, and by another parameter in its place."""
    written, replaced = mtl.METHODS[name](M), mtl.METHODS[name](M)
    for balancer in (written, replaced):
        step(balancer, 0)
    values = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    with torch.no_grad():
        getattr(written, LEARNED[name]).copy_(values)
    setattr(replaced, LEARNED[name], nn.Parameter(values.clone()))
    for seed in (1, 2, 3):
        np.testing.assert_array_equal(step(written, seed), step(replaced, seed))
        np.testing.assert_array_equal(numbers(written), numbers(replaced))
        assert (numbers(written) != values.numpy()).any()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda balancer: pickle.loads(pickle.dumps(balancer))])
@pytest.mark.parametrize("name", LEARNED)
def test_copies_share_nothing(name: str, copied) -> None:
    balancer = mtl.METHODS[name](M)
    step(balancer, 0)
    before = numbers(balancer)
    other = copied(balancer)
    first = step(other, 1)
    np.testing.assert_array_equal(numbers(balancer), before)
    np.testing.assert_array_equal(step(balancer, 1), first)
    np.testing.assert_array_equal(numbers(balancer), numbers(other))


@pytest.mark.parametrize("name", LEARNED)
def test_single_precision(name: str) -> None:
    """After ``.float()``, and back: another memory each time, with what was learned."""
    exact, rounded = mtl.METHODS[name](M), mtl.METHODS[name](M)
    for seed in range(6):
        if seed == 2:
            rounded.float()
        if seed == 4:
            rounded.double()
        np.testing.assert_allclose(step(rounded, seed), step(exact, seed), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(numbers(rounded), numbers(exact), rtol=1e-5, atol=1e-7)
    assert getattr(rounded, LEARNED[name]).dtype is torch.float64


@pytest.mark.parametrize("name", LEARNED)
def test_by_the_optimizer_of_the_user(name: str) -> None:
    rate = 0.01
    alone, told = mtl.METHODS[name](M, learning_rate=rate), mtl.METHODS[name](M, learning_rate=None)
    optimizer = torch.optim.Adam(told.parameters(), lr=rate)
    for seed in range(5):
        optimizer.zero_grad()
        np.testing.assert_allclose(step(told, seed), step(alone, seed), rtol=1e-12)
        optimizer.step()
        np.testing.assert_allclose(numbers(told), numbers(alone), rtol=1e-12)
