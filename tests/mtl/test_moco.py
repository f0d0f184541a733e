"""MoCo against a transcription, its projection, and its state."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import pyasmg.mtl as mtl
from pyasmg import _core
from pyasmg.mtl import _running_average, _task_gradients
from tests.mtl._problems import direction, instance

OPTIONS = [
    {},
    {"beta": 0.5, "beta_decay": 0.0, "gamma": 1.0, "gamma_decay": 0.3, "rho": 0.2},
    {"projection": "softmax", "normalization": "loss", "beta": 0.5},
]


def project(point: np.ndarray) -> np.ndarray:
    """Bisection for the level at which what is above it sums to 1."""
    low, high = point.min() - 1.0, point.max()
    for _ in range(200):
        level = 0.5 * (low + high)
        low, high = (level, high) if np.maximum(point - level, 0.0).sum() > 1.0 else (low, level)
    return np.maximum(point - low, 0.0)


@pytest.mark.parametrize("options", OPTIONS)
def test_several_steps(options: dict) -> None:
    m, d = 3, 6
    beta, s_beta = options.get("beta", 0.99), options.get("beta_decay", 0.5)
    gamma, s_gamma = options.get("gamma", 0.1), options.get("gamma_decay", 0.5)
    balancer, tracked, weights = mtl.MoCo(m, **options), np.zeros((m, d)), np.full(m, 1 / m)
    for t in range(1, 9):
        rows, values = instance(m, d, t)
        used = rows
        if options.get("normalization") == "loss":
            used = rows * (values / np.linalg.norm(rows, axis=1))[:, None]
        tracked = tracked - beta / t**s_beta * (tracked - used)
        moved = weights - gamma / t**s_gamma * (tracked @ tracked.T + options.get("rho", 0.0) * np.eye(m)) @ weights
        powers = np.exp(moved - moved.max())
        weights = powers / powers.sum() if options.get("projection") == "softmax" else project(moved)
        np.testing.assert_allclose(direction(balancer, rows, values), weights @ tracked, rtol=1e-10, err_msg=f"{t=}")
        np.testing.assert_allclose(balancer.task_weights, weights, rtol=1e-10, atol=1e-13)
        assert balancer.diagnostics.weights is None


def test_projection_onto_the_simplex() -> None:
    rng = np.random.default_rng(0)
    for m in (1, 2, 5, 40):
        for scale in (1e-3, 1.0, 1e6, 1e20):
            point = scale * rng.standard_normal(m)
            found = _core.simplex_projection(point)
            assert found.min() >= 0.0
            assert found.sum() == pytest.approx(1.0, abs=1e-12)
            if scale < 1e10:
                np.testing.assert_allclose(found, project(point), rtol=0, atol=1e-9)


def test_it_finds_the_weights_of_mgda() -> None:
    """On gradients that stay: with a decaying rate, the shortest combination."""
    rows, values = instance(3, 5, 0)
    balancer = mtl.MoCo(3, gamma=0.5)
    for _ in range(3000):
        found = direction(balancer, rows, values)
    np.testing.assert_allclose(found, direction(mtl.MGDA(3), rows, values), atol=1e-3)


def test_a_state_from_before_the_first_step() -> None:
    """It resets what the balancer has tracked since."""
    balancer = mtl.MoCo(2)
    state = balancer.state_dict()
    rows, values = instance(2, 4, 0)
    first = direction(balancer, rows, values)
    direction(balancer, -rows, values)
    balancer.load_state_dict(state)
    np.testing.assert_array_equal(direction(balancer, rows, values), first)


def test_a_zero_gradient_with_the_lengths_of_losses() -> None:
    rows, values = instance(3, 5, 1)
    rows[1] = 0.0
    balancer = mtl.MoCo(3, normalization="loss")
    assert np.isfinite(direction(balancer, rows, values)).all()


def test_what_is_tracked_must_stay_the_same() -> None:
    balancer = mtl.MoCo(2)
    direction(balancer, *instance(2, 4, 0))
    state = repr(balancer.state_dict())
    with pytest.raises(ValueError, match=r"the same parameters at each step: they had 4 entries; got 5\."):
        direction(balancer, *instance(2, 5, 0))
    assert repr(balancer.state_dict()) == state


def failing_losses(trunk: nn.Parameter) -> list[torch.Tensor]:
    """Task 1 has a finite loss whose gradient is not."""
    return [trunk.sum(), (trunk - trunk.detach()).sum().sqrt(), (2.0 * trunk).sum()]


@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_step_that_fails_moves_the_rows_of_finite_gradients_only(steps_before: int) -> None:
    trunk, balancer = nn.Parameter(torch.ones(4)), mtl.MoCo(3, beta=0.5)
    for _ in range(steps_before):
        balancer.backward([trunk.sum(), trunk.square().sum(), trunk.exp().sum()], shared=[trunk])
    trunk.grad = None
    before = copy.deepcopy(balancer).get_extra_state()
    with pytest.raises(ValueError, match=r"the gradients must be finite; that of task 1 is not\."):
        balancer.backward(failing_losses(trunk), shared=[trunk])
    assert trunk.grad is None
    after = balancer.get_extra_state()
    rate = 0.5 / (steps_before + 1) ** 0.5
    start = torch.zeros(3, 4) if steps_before == 0 else before["_tracked"]
    goals = torch.tensor([1.0, 0.0, 2.0])[:, None].expand(3, 4)
    expected = start + rate * (goals - start)
    expected[1] = start[1]
    torch.testing.assert_close(after.pop("_tracked"), expected)
    before.pop("_tracked")
    assert repr(after) == repr(before)
    balancer.backward([trunk.sum(), trunk.square().sum(), trunk.exp().sum()], shared=[trunk])
    assert torch.isfinite(trunk.grad).all()


class Scaler:
    def scale(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs * 1024.0


def test_an_overflow_reaches_the_scaler() -> None:
    trunk, balancer = nn.Parameter(torch.ones(4)), mtl.MoCo(3)
    balancer.backward(failing_losses(trunk), shared=[trunk], scaler=Scaler())
    assert not torch.isfinite(trunk.grad).any()
    assert balancer.get_extra_state()["_n_steps"] == 0
    assert torch.isfinite(balancer.get_extra_state()["_tracked"]).all()


@pytest.mark.parametrize("options", OPTIONS)
def test_on_a_device(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations of PyTorch that stand in for the core's kernel elsewhere, here on the host."""
    results = []
    for blind in (False, True):
        if blind:
            monkeypatch.setattr(_task_gradients, "usual", _core.Tensors(object, object, torch.empty_like))
            monkeypatch.setattr(_running_average, "on_core", lambda matrix: False)
        balancer = mtl.MoCo(3, **options)
        found = [direction(balancer, *instance(3, 6, t)) for t in range(3)]
        trunk = nn.Parameter(torch.ones(4))
        balancer = mtl.MoCo(3, **options)
        with pytest.raises(ValueError, match=r"that of task 1 is not\."):
            balancer.backward(failing_losses(trunk), shared=[trunk])
        found.append(balancer.get_extra_state()["_tracked"].numpy().ravel())
        results.append(np.concatenate(found))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


def test_its_norms_and_cosines_are_those_of_the_averages() -> None:
    balancer = mtl.MoCo(3)
    for t in range(3):
        direction(balancer, *instance(3, 6, t))
    assert balancer._workspace is None  # no matrix of gradients beside that of the averages
    tracked = balancer.get_extra_state()["_tracked"].numpy()
    np.testing.assert_allclose(balancer.diagnostics.gram, tracked @ tracked.T, rtol=1e-12)


def test_mixed_types_and_parameters_that_a_task_leaves_out() -> None:
    """Rows are of the wider type, zeros stand where a task has no gradient."""
    wide, narrow = nn.Parameter(torch.ones(2, dtype=torch.float64)), nn.Parameter(torch.ones(3))
    half = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
    balancer = mtl.MoCo(2, beta=0.5)
    losses = [wide.sum() + narrow.double().sum(), 3.0 * half.double().sum()]
    balancer.backward(losses, shared=[wide, narrow, half])
    tracked = balancer.get_extra_state()["_tracked"]
    expected = 0.5 * np.array([[1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 3, 3]])
    np.testing.assert_array_equal(tracked, expected)
    assert (wide.grad.dtype, narrow.grad.dtype, half.grad.dtype) == (torch.float64, torch.float32, torch.bfloat16)


def test_a_model_that_changes_its_type_takes_its_averages_along() -> None:
    results = []
    for change in (False, True):
        balancer, (rows, values) = mtl.MoCo(2), instance(2, 4, 0)
        direction(balancer, rows, values)
        if change:
            trunk = nn.Parameter(torch.zeros(4))
            losses = torch.from_numpy(rows).float() @ trunk + torch.from_numpy(values).float()
            balancer.backward(losses, shared=[trunk])
            results.append(trunk.grad.numpy())
        else:
            results.append(direction(balancer, rows, values))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-6)


def test_features_are_refused() -> None:
    trunk = nn.Parameter(torch.ones(3))
    features = trunk * 1.0
    with pytest.raises(ValueError, match=r"MoCo needs gradients on parameters; `features` must be None\."):
        mtl.MoCo(2).backward([features.sum(), features.square().sum()], features=features)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`beta` must be a finite number > 0 and <= 1; got 0\."):
        mtl.MoCo(2, beta=0)
    with pytest.raises(ValueError, match=r"`gamma` must be a finite number >= 0; got -1\."):
        mtl.MoCo(2, gamma=-1)
    with pytest.raises(ValueError, match=r"`projection` must be 'simplex' or 'softmax'; got 'ball'\."):
        mtl.MoCo(2, projection="ball")
    with pytest.raises(ValueError, match=r"`normalization` must be 'none' or 'loss'; got 'l2'\."):
        mtl.MoCo(2, normalization="l2")
    with pytest.raises(ValueError, match=r"`head_weights` must be 'one' for MoCo"):
        mtl.MoCo(2, head_weights="weighted")
