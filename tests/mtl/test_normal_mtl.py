"""NormalMTL: with every balancer, and what it degenerates to."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pyasmg.mtl as mtl

pytest.importorskip("torchdiffeq")

M, INPUTS, WIDTH = 3, 6, 5


def trunk() -> nn.Sequential:
    return nn.Sequential(nn.Linear(INPUTS, 8), nn.Tanh(), nn.Linear(8, WIDTH), nn.Tanh())


def model(seed: int = 0, **options) -> mtl.NormalMTL:
    torch.manual_seed(seed)
    heads = [nn.Linear(WIDTH, 1) for _ in range(M)]
    return mtl.NormalMTL(trunk(), heads, width=WIDTH, **options).double()


def batches(n: int, seed: int = 0) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(12, INPUTS, generator=rng, dtype=torch.float64) for _ in range(n)]


def losses_of(outputs: list[Tensor], batch: Tensor) -> list[Tensor]:
    targets = [torch.sin((i + 1.0) * batch.sum(dim=1, keepdim=True)) for i in range(M)]
    return [(out - target).square().mean() + 0.01 for out, target in zip(outputs, targets, strict=True)]


@pytest.mark.parametrize("method", mtl.METHODS)
@pytest.mark.parametrize("adjoint", [False, True])
def test_every_balancer_trains_every_part(method: str, adjoint: bool) -> None:
    made, balancer = model(adjoint=adjoint, positions=[0.8, 1.0, 1.2]), mtl.METHODS[method](M)
    optimizer = torch.optim.SGD([*made.parameters(), *balancer.parameters()], lr=1e-2)
    before = {name: value.detach().clone() for name, value in made.named_parameters()}
    for batch in batches(2):
        optimizer.zero_grad()
        losses = losses_of(made(batch), batch)
        balancer.backward(losses, shared=made.shared_parameters(), heads=made.head_parameters())
        optimizer.step()
        if isinstance(balancer, mtl.FAMO):
            with torch.no_grad():
                balancer.update(losses_of(made(batch), batch))
    for name, value in made.named_parameters():
        assert torch.isfinite(value).all(), name
        assert not torch.equal(value, before[name]), name


FEATURES = [name for name, method in mtl.METHODS.items() if getattr(method, "supports_features", True)]


@pytest.mark.parametrize("method", FEATURES)
def test_with_gradients_on_the_representation(method: str) -> None:
    made, balancer = model(), mtl.METHODS[method](M)
    (batch,) = batches(1)
    features = made.features(batch)
    losses = losses_of(made.predict(features), batch)
    shared, heads = made.shared_parameters(), made.head_parameters()
    balancer.backward(losses, shared=shared, heads=heads, features=features)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in made.parameters())


def test_what_a_balancer_sees() -> None:
    """The gradient of the sum, part by part; a position gets that of its own loss."""
    made, balancer = model(positions=[0.5, 1.0, 1.5]), mtl.EW(M, reduction="sum")
    (batch,) = batches(1)
    losses = losses_of(made(batch), batch)
    expected = torch.autograd.grad(sum(losses), list(made.parameters()), retain_graph=True)
    own = [torch.autograd.grad(losses[i], made.position_parameters()[i], retain_graph=True)[0] for i in range(M)]
    balancer.backward(losses, shared=made.shared_parameters(), heads=made.head_parameters())
    for parameter, gradient in zip(made.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-14)
    for parameter, gradient in zip(made.position_parameters(), own, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_shared_and_own_parameters_are_all() -> None:
    made = model()
    lists = [made.shared_parameters(), *made.head_parameters()]
    counted = [id(parameter) for found in lists for parameter in found]
    assert len(counted) == len(set(counted))
    assert set(counted) == {id(parameter) for parameter in made.parameters()}


class Folded(nn.Module):
    """Hard sharing: the trunk, four residual steps that are Euler's, and heads; no code of the block."""

    def __init__(self, made: mtl.NormalMTL, position: float) -> None:
        super().__init__()
        parts = copy.deepcopy((made.trunk, made.block.velocity, made.block.flow.function.network, made.heads))
        self.trunk, self.velocity, self.force, self.heads = parts
        self.omega = nn.Parameter(made.block.flow.omega.detach().clone())
        self.xi, self.step, self.n_steps = made.block.flow.xi, position / made.block.n_steps, made.block.n_steps

    def forward(self, batch: Tensor) -> list[Tensor]:
        z = self.trunk(batch)
        q = self.velocity(z)
        for _ in range(self.n_steps):
            z, q = (
                z - self.step * q,
                q + self.step * (self.force(z) + self.xi * z - torch.sigmoid(self.omega) * q),
            )
        return [head(z) for head in self.heads]


@pytest.mark.parametrize("method", ["EW", "MGDA", "NashMTL"])
def test_identical_fixed_positions_are_hard_sharing(method: str) -> None:
    """Forward, gradients, and twenty steps of training."""
    made = model(positions=1.25, learn_positions=False, xi=0.4)
    folded = Folded(made, 1.25)
    networks = (made, folded)
    balancers = [mtl.METHODS[method](M) for _ in networks]
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-2) for network in networks]
    lists = [
        (made.shared_parameters(), made.head_parameters()),
        (
            [*folded.trunk.parameters(), *folded.velocity.parameters(), *folded.force.parameters(), folded.omega],
            [list(head.parameters()) for head in folded.heads],
        ),
    ]
    for batch in batches(20):
        found = []
        for network, balancer, optimizer, (shared, heads) in zip(networks, balancers, optimizers, lists, strict=True):
            outputs = network(batch)
            optimizer.zero_grad()
            balancer.backward(losses_of(outputs, batch), shared=shared, heads=heads)
            optimizer.step()
            found.append(torch.stack(outputs).detach())
        torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(made.positions, 1.25)
    assert float(found[0].abs().max()) > 0.1


def test_learned_positions_part() -> None:
    """They start alike; tasks that differ move them apart, two copies of one task with one head do not."""
    torch.manual_seed(0)
    head = nn.Linear(WIDTH, 1)
    made = mtl.NormalMTL(trunk(), [head, copy.deepcopy(head), nn.Linear(WIDTH, 1)], width=WIDTH).double()
    optimizer = torch.optim.Adam(made.parameter_groups(lr=1e-2, position_lr=1e-2))
    for batch in batches(30):
        outputs = made(batch)
        target = torch.sin(batch.sum(dim=1, keepdim=True))
        other = torch.cos(2.0 * batch[:, :1])
        losses = [(out - goal).square().mean() for out, goal in zip(outputs, (target, target, other), strict=True)]
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
    assert made.positions[0] == made.positions[1]
    assert abs(made.positions[0] - 1.0) > 1e-3
    assert abs(made.positions[0] - made.positions[2]) > 1e-3


def test_inputs_of_each_task_of_their_own() -> None:
    made = model(positions=[0.5, 1.0, 1.5])
    one, two = batches(2)
    found = made([one, None, two[:4]])
    assert found[1] is None
    torch.testing.assert_close(found[0], made(one)[0], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found[2], made(two[:4])[2], rtol=1e-13, atol=1e-13)


def test_groups_of_parameters() -> None:
    made = model()
    rest, positions = made.parameter_groups(lr=1e-3, position_lr=1e-1)
    assert rest["lr"] == 1e-3
    assert positions["lr"] == 1e-1
    assert positions["weight_decay"] == 0.0
    assert [id(p) for p in positions["params"]] == [id(p) for p in made.block.coordinates]
    assert len(rest["params"]) + M == len(list(made.parameters()))


def test_bad_input() -> None:
    heads = [nn.Linear(WIDTH, 1) for _ in range(M)]
    with pytest.raises(ValueError, match=r"`width`, of the representation, or `block` must be given; got neither\."):
        mtl.NormalMTL(trunk(), heads)
    with pytest.raises(ValueError, match=r"`heads` must have n_tasks = 2 entries, as `block`; got 3\."):
        mtl.NormalMTL(trunk(), heads, block=mtl.NormalBlock(2, WIDTH))
    with pytest.raises(ValueError, match=r"options of the block cannot stand beside `block`; got width\."):
        mtl.NormalMTL(trunk(), heads, block=mtl.NormalBlock(3, WIDTH), width=WIDTH)
    with pytest.raises(TypeError, match=r"`heads` must hold modules; entry 1 is 3\."):
        mtl.NormalMTL(trunk(), [heads[0], 3], width=WIDTH)
    with pytest.raises(TypeError, match=r"`heads` must be a sequence of modules; got one Linear\."):
        mtl.NormalMTL(trunk(), heads[0], width=WIDTH)
    with pytest.raises(TypeError, match=r"`trunk` must be a torch.nn.Module; got None\."):
        mtl.NormalMTL(None, heads, width=WIDTH)
    with pytest.raises(TypeError, match=r"`block` must be a NormalBlock; got 'block'\."):
        mtl.NormalMTL(trunk(), heads, block="block")
    with pytest.raises(ValueError, match=r"a list of inputs must have n_tasks = 3 entries; got 2\."):
        model()(batches(2))
