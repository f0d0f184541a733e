"""BiLB4MTL against autograd on the objectives as they are printed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pyasmg.mtl as mtl
from tests.mtl._problems import Linear, Network, batches, instance

M = 3


def shares_of(scores: Tensor, options: dict[str, Any]) -> Tensor:
    shares = scores.softmax(0) if options.get("gate", "softmax") == "softmax" else scores.sigmoid()
    return shares if options.get("clip") is None else shares.clamp(*options["clip"])


def normalized(losses: Tensor, reference: Tensor, options: dict[str, Any]) -> Tensor:
    if options.get("normalization") == "logarithmic":
        return (losses / reference).log()
    return losses / reference if options.get("normalization") == "rescaled" else losses


def upper(shares: Tensor, values: Tensor, options: dict[str, Any]) -> Tensor:
    """f of Eq. (1)."""
    weighted = shares * values if options.get("tau") == "sigma" else values
    return (weighted[:-1] - weighted[1:]).abs().sum()


def objective(scores: Tensor, losses: Tensor, reference: Tensor, options: dict[str, Any]) -> Tensor:
    """What x and W descend in Algorithm 1, or in the released code."""
    shares, values = shares_of(scores, options), normalized(losses, reference, options)
    penalty = options.get("penalty", 1.0)
    if options.get("released"):
        return (shares * values).sum() / shares.sum() + penalty * upper(shares, values, options)
    return upper(shares, values, options) + penalty * (shares * values).sum()


OPTIONS: list[dict[str, Any]] = [
    {},
    {"penalty": 0.1},
    {"tau": "sigma", "normalization": "rescaled"},
    {"tau": "sigma", "normalization": "logarithmic", "penalty": 5.0},
    {"normalization": "logarithmic"},
    {"tau": "sigma", "gate": "sigmoid", "penalty": 0.01, "released": True},
    {"tau": "sigma", "normalization": "rescaled", "clip": (0.2, 0.8), "penalty": 0.05, "released": True},
    {"tau": "one", "clip": (0.3, 0.34)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_formulas(options: dict[str, Any]) -> None:
    """Ten steps: the weights are the gradient by the losses, and W takes the steps of PyTorch's Adam."""
    balancer = mtl.BiLB4MTL(M, learning_rate=0.5, **options)
    scores = torch.zeros(M, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([scores], lr=0.5)
    reference = torch.ones(M, dtype=torch.float64)
    for step in range(10):
        losses = np.random.default_rng(step).uniform(0.5, 3.0, M)
        values = torch.from_numpy(losses).requires_grad_()
        if step == 0:
            relative = options.get("released") and options.get("normalization") == "rescaled"
            reference = values.detach() / (values.detach().min() if relative else 1.0)
        adam.zero_grad()
        objective(scores, values, reference, options).backward()
        np.testing.assert_allclose(balancer.weights(losses), values.grad, rtol=1e-9, atol=1e-12, err_msg=f"{step=}")
        adam.step()
        np.testing.assert_allclose(balancer.scores.detach(), scores.detach(), rtol=1e-8, atol=1e-10)


def test_the_double_loop() -> None:
    """Algorithm 2, line by line, on a network; parameters and graph are as before afterwards."""
    data, steps, rate = batches(4), 3, 0.05
    network, expected = Network(M), Network(M)
    balancer = mtl.BiLB4MTL(M, penalty=2.0, tau="sigma", inner_steps=steps, inner_learning_rate=rate, learning_rate=0.1)
    scores = torch.zeros(M, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([scores], lr=0.1)
    options = {"tau": "sigma", "penalty": 2.0}
    for batch in data:
        network.zero_grad()
        balancer.backward(
            network(batch)[1],
            shared=network.trunk.parameters(),
            heads=network.head_lists(),
            closure=lambda batch=batch: network(batch)[1],
        )
        inner = Network(M)
        inner.load_state_dict(expected.state_dict())
        for _ in range(steps):
            inner.zero_grad()
            (scores.detach().softmax(0) * torch.stack(inner(batch)[1])).sum().backward()
            with torch.no_grad():
                for parameter in inner.parameters():
                    parameter -= rate * parameter.grad
        last = torch.stack(inner(batch)[1]).detach()
        expected.zero_grad()
        adam.zero_grad()
        values = torch.stack(expected(batch)[1])
        (objective(scores, values, values, options) - 2.0 * (scores.softmax(0) * last).sum()).backward()
        adam.step()
        np.testing.assert_allclose(balancer.scores.detach(), scores.detach(), rtol=1e-8, atol=1e-10)
        with torch.no_grad():
            for found, wanted in zip(network.parameters(), expected.parameters(), strict=True):
                torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-9, atol=1e-12)
                found -= 0.1 * found.grad
                wanted -= 0.1 * wanted.grad


def test_the_double_loop_restores_the_parameters_after_an_error() -> None:
    network, batch = Network(M), batches(1)[0]
    balancer = mtl.BiLB4MTL(M, inner_steps=2)
    before, state = [p.detach().clone() for p in network.parameters()], repr(balancer.state_dict())
    calls = []

    def closure() -> list[Tensor]:
        calls.append(1)
        losses = network(batch)[1]
        return losses if len(calls) < 2 else [losses[0] * np.nan, *losses[1:]]

    with pytest.raises(ValueError, match=r"task 0 has the loss nan\."):
        balancer.backward(network(batch)[1], closure=closure)
    assert len(calls) == 2
    for parameter, kept in zip(network.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.detach(), kept, rtol=0, atol=0)
        assert parameter.grad is None
    assert repr(balancer.state_dict()) == state


def router_step(learning_rate: float | None, steps: int = 1) -> tuple[mtl.BiLB4MTL, Network]:
    torch.manual_seed(0)
    router = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, M)).double()
    network = Network(M)
    balancer = mtl.BiLB4MTL(M, tau="sigma", router=router, learning_rate=learning_rate)
    for batch in batches(steps):
        features, losses = network(batch)
        balancer.backward(losses, features=features, shared=network.trunk.parameters(), heads=network.head_lists())
    return balancer, network


def test_a_router() -> None:
    balancer, network = router_step(None)
    expected = Network(M)
    features, losses = expected(batches(1)[0])
    torch.manual_seed(0)
    router = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, M)).double()
    values = torch.stack(losses)
    objective(router(features.detach().mean(dim=0)), values, values, {"tau": "sigma"}).backward()
    for found, wanted in zip(
        [*network.parameters(), *balancer.parameters()], [*expected.parameters(), *router.parameters()], strict=True
    ):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-9, atol=1e-12)


def test_a_router_learns_by_itself_and_resumes() -> None:
    by_itself, _ = router_step(0.05, 6)
    by_hand, network = router_step(None, 0)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=0.05)
    for batch in batches(6):
        optimizer.zero_grad()
        features, losses = network(batch)
        by_hand.backward(losses, features=features, shared=network.trunk.parameters())
        optimizer.step()
    for found, expected in zip(by_itself.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        assert found.grad is None
    again, network = router_step(0.05, 1)
    again.load_state_dict(by_itself.state_dict())
    for balancer in (by_itself, again):
        features, losses = network(batches(1)[0])
        balancer.backward(losses, features=features)
    for found, expected in zip(again.parameters(), by_itself.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_images_are_averaged_over_batch_and_pixels() -> None:
    seen = []

    class Router(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, pooled: Tensor) -> Tensor:
            seen.append(pooled)
            return self.scores * 1.0

    image = torch.randn(4, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    features = image * 2.0
    balancer = mtl.BiLB4MTL(2, router=Router())
    balancer.backward([features.square().mean(), features.abs().mean()], features=features)
    torch.testing.assert_close(seen[0], features.detach().mean(dim=(0, 2, 3)))


def test_the_logarithmic_reference_is_new_at_each_epoch() -> None:
    balancer = mtl.BiLB4MTL(2, tau="sigma", normalization="logarithmic", learning_rate=0.0)
    for epoch in range(3):
        weights = balancer.weights(np.array([1.0, 4.0]) * (epoch + 1.0))  # no gaps: l / l0 = 1
        np.testing.assert_allclose(weights, 0.5 / np.array([1.0, 4.0]) / (epoch + 1.0), rtol=1e-12)
        assert balancer.weights(np.array([0.5, 4.0]))[0] != pytest.approx(1.0)
        balancer.end_epoch()


def test_a_smooth_absolute_value() -> None:
    weights = mtl.BiLB4MTL(2, smoothing=4.0).weights(np.array([1.0, 4.0]))
    np.testing.assert_allclose(weights, 0.5 + np.array([-1.0, 1.0]) * 3.0 / 13.0**0.5, rtol=1e-12)


def test_one_task() -> None:
    np.testing.assert_array_equal(mtl.BiLB4MTL(1, penalty=2.0).weights(np.array([3.0])), [2.0])


def test_bad_calls() -> None:
    network, batch = Network(M), batches(1)[0]
    features, losses = network(batch)
    cases: list[tuple[mtl.BiLB4MTL, dict[str, Any], str]] = [
        (mtl.BiLB4MTL(M, router=nn.Linear(5, M)), {}, r"with a `router` needs `features`; got None\."),
        (mtl.BiLB4MTL(M, inner_steps=3), {}, r"with inner_steps = 3 needs a `closure`\."),
        (mtl.BiLB4MTL(M), {"closure": lambda: losses}, r"with inner_steps = 0 takes no `closure`\."),
        (
            mtl.BiLB4MTL(M, router=nn.Linear(5, 2).double()),
            {"features": features},
            r"`router` must return 3 scores; got shape \(2,\)\.",
        ),
    ]
    for balancer, options, message in cases:
        with pytest.raises(ValueError, match=message):
            balancer.backward(losses, shared=network.trunk.parameters(), **options)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("normalization", ["rescaled", "logarithmic"])
def test_losses_without_a_reference(normalization: Any) -> None:
    problem = Linear(instance(2, 3, 0)[0], np.array([1.0, -1.0]))
    balancer = mtl.BiLB4MTL(2, normalization=normalization)
    state = repr(balancer.state_dict())
    with pytest.raises(ValueError, match=r"needs positive losses; task 1 has the loss -1\."):
        balancer.backward(problem.losses(), shared=problem.shared)
    assert repr(balancer.state_dict()) == state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": 0.0}, r"`penalty` must be a finite number > 0; got 0\."),
        ({"tau": 1}, r"`tau` must be one of 'one', 'sigma'; got 1\."),
        ({"normalization": "log"}, r"`normalization` must be one of 'identical', 'rescaled', 'logarithmic'; got 'log'"),
        ({"gate": "relu"}, r"`gate` must be one of 'softmax', 'sigmoid'; got 'relu'\."),
        ({"clip": (0.8, 0.2)}, r"`clip` must be \(low, high\) with low < high; got \(0\.8, 0\.2\)\."),
        ({"inner_steps": -1}, r"`inner_steps` must be an integer >= 0; got -1\."),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.BiLB4MTL(2, **options)


def test_a_router_that_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"`router` must be a torch.nn.Module; got 3\."):
        mtl.BiLB4MTL(2, router=3)


def test_a_call_that_fails_leaves_no_closure() -> None:
    balancer = mtl.BiLB4MTL(2, router=torch.nn.Linear(3, 2), inner_steps=1)
    parameter = torch.nn.Parameter(torch.ones(3))

    def losses() -> list[torch.Tensor]:
        return [parameter.sum(), parameter.square().sum()]

    with pytest.raises(ValueError, match="needs `features`"):
        balancer.backward(losses(), closure=losses)
    assert balancer._descend is None
    assert parameter.grad is None
