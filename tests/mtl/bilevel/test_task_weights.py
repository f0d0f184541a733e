"""Learned task weights: what the two levels are, every method around a model, and loaders of several tasks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pyasmg.mtl as mtl
from pyasmg.mtl import bilevel
from pyasmg.mtl.bilevel import FORUM, Batches, Simplex, Softmax, TaskLoaders, TaskWeights

M = 3


class Model(nn.Module):
    """A trunk with batch normalisation, and a head per task."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(M))
        self.double()

    def forward(self, inputs: Tensor, *, scale: float = 1.0) -> list[Tensor]:
        """Return the outputs of each head."""
        features = scale * self.trunk(inputs)
        return [head(features) for head in self.heads]


def losses(forward, batch) -> list[Tensor]:
    inputs, targets = batch
    return [(out[:, 0] - targets[:, i]).square().mean() for i, out in enumerate(forward(inputs, scale=1.5))]


def data(n: int = 24, seed: int = 0) -> TensorDataset:
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 4, generator=rng, dtype=torch.float64)
    targets = torch.stack([torch.sin((i + 1.0) * inputs.sum(dim=1)) for i in range(M)], dim=1)
    return TensorDataset(inputs, targets)


def test_the_two_levels() -> None:
    """Upper: the losses. Lower: their sum with the weights of softmax(alpha), or of alpha itself."""
    model, batch = Model(), data()[:]
    own = torch.stack(losses(model, batch)).detach()
    omega = {name: value.detach() for name, value in model.named_parameters()}
    for parametrization, constraint in (("softmax", Softmax), ("simplex", Simplex)):
        problem = TaskWeights(model, losses, M, weights=[1.0, 2.0, 5.0], parametrization=parametrization)
        assert isinstance(problem.constraint, constraint)
        np.testing.assert_allclose(problem.weights, [0.125, 0.25, 0.625], rtol=1e-12)
        seen = problem.constraint.transform(problem.alpha)
        torch.testing.assert_close(problem.upper(seen, omega, batch), own, rtol=1e-12, atol=0)
        expected = torch.tensor([0.125, 0.25, 0.625], dtype=torch.float64) @ own
        torch.testing.assert_close(problem.lower(seen, omega, batch), expected, rtol=1e-12, atol=0)


def test_the_gradient_in_the_weights_is_the_losses() -> None:
    problem = TaskWeights(Model(), losses, M, parametrization="simplex")
    batch, omega = data()[:], dict(problem.model.named_parameters())
    (gradient,) = torch.autograd.grad(problem.lower(problem.alpha, omega, batch), problem.alpha)
    torch.testing.assert_close(gradient, problem.upper(problem.alpha, omega, batch), rtol=1e-10, atol=1e-12)


OPTIONS: dict[str, dict] = {
    "SingleLevel": {"balancer": mtl.MGDA(M)},
    "MOML": {"lower_steps": 2},
    "MoCo": {"lower_steps": 2},
    "FORUM": {"lower_steps": 3},
    "BOME": {"lower_steps": 3},
    "BVFIM": {"lower_steps": 3},
}


@pytest.mark.parametrize("parametrization", ["softmax", "simplex"])
@pytest.mark.parametrize("name", bilevel.METHODS)
def test_every_method_trains_the_model(name: str, parametrization: str) -> None:
    model = Model()
    problem = TaskWeights(model, losses, M, parametrization=parametrization)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    options = {"omega_optimizer": optimizer, "lower_learning_rate": 0.02, **OPTIONS[name]}
    method = problem.method(bilevel.METHODS[name], weights_lr=1e-2, **options)
    rng = torch.Generator().manual_seed(0)
    training = DataLoader(data(seed=0), batch_size=8, shuffle=True, generator=rng)
    validation = DataLoader(data(seed=1), batch_size=12)
    batches = Batches(upper=validation, lower=training)
    values = [method.step(batches).upper for _ in range(25)]
    assert np.mean(values[-4:]) < 0.9 * np.mean(values[:4])
    assert problem.weights.sum() == pytest.approx(1.0, rel=1e-9)
    assert problem.weights.min() >= 0.0
    if name != "SingleLevel":
        assert np.abs(problem.weights - 1.0 / M).max() > 1e-4


def test_five_lines() -> None:
    """The example of the docstring."""
    model = Model()
    validation_loader, training_loader = (DataLoader(data(seed=seed), batch_size=8) for seed in (1, 0))
    problem = TaskWeights(model, losses, n_tasks=M)
    method = problem.method(FORUM, weights_lr=1e-3, omega_optimizer=torch.optim.Adam(model.parameters()))
    batches = Batches(upper=validation_loader, lower=training_loader)
    for _ in range(3):
        method.step(batches)
    assert method.iteration == 3


def test_a_task_that_is_noise_loses_weight() -> None:
    """MOML on the plain sum: the labels of task 2 are noise in training, and its hypergradient says so."""
    model, rng = Model(), torch.Generator().manual_seed(3)
    inputs, targets = data(64, seed=0)[:]
    noisy = targets.clone()
    noisy[:, 2] = 3.0 * torch.randn(64, generator=rng, dtype=torch.float64)
    problem = TaskWeights(model, losses, M)
    method = problem.method(
        bilevel.MOML, weights_lr=2e-2, lower_steps=3, lower_learning_rate=0.1, solver=mtl.EW(M), constraint=Softmax()
    )
    batches = Batches(upper=[(inputs, targets)], lower=[(inputs, noisy)])
    for _ in range(60):
        method.step(batches)
    assert problem.weights[2] < 0.5 * problem.weights[:2].min()


# ---- loaders ----


def test_loaders_of_tasks() -> None:
    """As long as the longest; the others start again."""
    loaders = TaskLoaders([[1, 2, 3, 4, 5], "ab", (10,)])
    assert len(loaders) == 5
    expected = [[1, "a", 10], [2, "b", 10], [3, "a", 10], [4, "b", 10], [5, "a", 10]]
    assert list(loaders) == expected
    assert list(loaders) == expected
    assert list(TaskLoaders(["ab", [1, 2]])) == [["a", 1], ["b", 2]]


def test_bad_loaders() -> None:
    with pytest.raises(ValueError, match=r"`loaders` must hold at least one; got none\."):
        TaskLoaders([])
    with pytest.raises(
        TypeError, match=r"`loaders` must hold iterables that can be iterated anew; entry 1 is <list_it"
    ):
        TaskLoaders([[1], iter([2])])
    with pytest.raises(TypeError, match=r"entry 0 is 3\."):
        TaskLoaders([3])
    with pytest.raises(ValueError, match=r"the loader of task 1 is empty\."):
        list(TaskLoaders([[1, 2], []]))


# ---- bad input ----


def test_bad_problems() -> None:
    model = Model()
    with pytest.raises(TypeError, match=r"`model` must be a torch.nn.Module; got None\."):
        TaskWeights(None, losses, M)
    with pytest.raises(TypeError, match=r"`losses` must be a callable \(forward, batch\); got 3\."):
        TaskWeights(model, 3, M)
    with pytest.raises(ValueError, match=r"`n_tasks` must be an integer >= 1; got 0\."):
        TaskWeights(model, losses, 0)
    with pytest.raises(ValueError, match=r"`weights` must be positive; got 0 for task 1\."):
        TaskWeights(model, losses, M, weights=[1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match=r"`parametrization` must be 'softmax' or 'simplex'; got 'free'\."):
        TaskWeights(model, losses, M, parametrization="free")
    with pytest.raises(ValueError, match=r"`model` must have a parameter that requires a gradient; it has none\."):
        TaskWeights(nn.Tanh(), losses, M)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda found: found[:2], ValueError, r"`losses` must return n_tasks = 3 losses; got shape \(2,\)\."),
        (lambda found: [], ValueError, r"`losses` must return n_tasks = 3 losses; got shape \(0,\)\."),
        (lambda found: torch.stack(found)[:, None], ValueError, r"n_tasks = 3 losses; got shape \(3, 1\)\."),
        (lambda found: [*found[:2], torch.ones(4)], ValueError, r"that of task 2 has shape \(4,\)\."),
        (lambda found: 3.0, TypeError, r"`losses` must return 3 scalar tensors; got 3\.0\."),
        (lambda found: [*found[:2], 1.0], TypeError, r"`losses` must return 3 scalar tensors; got \[tensor"),
        (lambda found: [found[0], found[1], found[2] * torch.nan], ValueError, r"finite"),
    ],
)
def test_bad_losses_change_nothing(returned, error, message) -> None:
    model = Model()
    problem = TaskWeights(model, lambda forward, batch: returned(losses(forward, batch)), M)
    method = problem.method(FORUM, omega_optimizer=torch.optim.Adam(model.parameters()))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(error, match=message):
        method.step(Batches(upper=[data()[:]], lower=[data()[:]]))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    np.testing.assert_allclose(problem.weights, 1.0 / M, rtol=1e-12)
