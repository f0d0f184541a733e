"""RotoGrad: the lengths, the rotations, and what the heads see."""

from __future__ import annotations

import copy
import gc
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import pyasmg.mtl as mtl
from tests.mtl._problems import Network, batches, direction, instance

M, SIZE = 3, 5  # SIZE is the width of the network's representation


def turned(balancer: mtl.RotoGrad, seed: int = 0) -> mtl.RotoGrad:
    """Give it rotations that are not the identity."""
    with torch.no_grad():
        angles = torch.randn(balancer.angles.shape, generator=torch.Generator().manual_seed(seed))
        balancer.angles.copy_(angles)
    return balancer.double()


def losses_of(network: Network, batch: torch.Tensor, balancer: mtl.RotoGrad) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The network's losses, with a rotation before each head."""
    features = network.trunk(batch)
    targets = [torch.sin((i + 1.0) * batch.sum(dim=1, keepdim=True)) for i in range(M)]
    return features, [
        (head(view) - target).square().mean()
        for head, view, target in zip(network.heads, balancer.rotate(features), targets, strict=True)
    ]


# ---- lengths ----


def test_lengths() -> None:
    """C sum_k U_k with the ratios to the first norms, and from step 3 on to those of step 3."""
    balancer = mtl.RotoGrad(M, burn_in=2)
    first = None
    for step in range(6):
        rows, values = instance(M, 6, step)
        norms = np.linalg.norm(rows, axis=1)
        if step in (0, 2):
            first = norms
        ratios = norms / first
        expected = (ratios / ratios.sum() @ norms) * (rows / norms[:, None]).sum(axis=0)
        np.testing.assert_allclose(direction(balancer, rows, values), expected, rtol=1e-12, err_msg=f"{step=}")


def test_rotate_only_adds_up() -> None:
    rows, values = instance(M, 6, 0)
    np.testing.assert_allclose(direction(mtl.RotoGrad(M, rotate_only=True), rows, values), rows.sum(axis=0), rtol=1e-12)


def test_a_gradient_that_is_zero_at_first() -> None:
    rows, values = instance(M, 6, 1)
    balancer = mtl.RotoGrad(M)
    before = rows.copy()
    before[0] = 0.0
    assert np.isfinite(direction(balancer, before, values)).all()
    assert np.isfinite(direction(balancer, rows, values)).all()


# ---- rotations ----


def test_they_are_rotations() -> None:
    balancer = mtl.RotoGrad(M, SIZE)
    torch.testing.assert_close(balancer.rotations.detach(), torch.eye(SIZE).expand(M, -1, -1))
    rotations = turned(balancer).rotations.detach()
    torch.testing.assert_close(rotations @ rotations.transpose(1, 2), torch.eye(SIZE).double().expand(M, -1, -1))
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(M).double())
    assert (rotations - torch.eye(SIZE)).abs().max() > 0.1


@pytest.mark.parametrize(
    ("shape", "dim", "size"), [((4, 5), -1, 5), ((4, 5), 1, 3), ((2, 4, 3, 3), 1, 4), ((6,), 0, 2)]
)
def test_what_the_heads_see(shape: tuple[int, ...], dim: int, size: int) -> None:
    balancer = turned(mtl.RotoGrad(2, size, dim=dim))
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for rotation, view in zip(balancer.rotations.detach(), balancer.rotate(z), strict=True):
        assert view.shape == z.shape
        vectors, seen = (x.movedim(dim, -1).reshape(-1, shape[dim]).numpy() for x in (z, view))
        np.testing.assert_allclose(seen[:, :size], vectors[:, :size] @ rotation.numpy().T, rtol=1e-12)
        np.testing.assert_array_equal(seen[:, size:], vectors[:, size:])


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("rotate_only", [False, True])
def test_gradients(rotate_only: bool, scaled: bool) -> None:
    """Of the trunk, the heads and the rotations, against a transcription with the gradients on the rotated views."""

    class Scaler:
        def scale(self, outputs: torch.Tensor) -> torch.Tensor:
            return outputs * 64.0

    factor = 64.0 if scaled else 1.0
    balancer = turned(mtl.RotoGrad(M, SIZE, rotate_only=rotate_only))
    network, batch = Network(M), batches(1)[0]
    features, losses = losses_of(network, batch, balancer)
    balancer.backward(
        losses,
        shared=network.trunk.parameters(),
        heads=network.head_lists(),
        features=features,
        scaler=Scaler() if scaled else None,
    )

    other = Network(M)
    z = other.trunk(batch)
    rotations = balancer.rotations.detach().requires_grad_()
    on_views, on_z = [], []
    for i, head in enumerate(other.heads):
        view = (z.detach() @ rotations[i].detach().T).requires_grad_()
        loss = (head(view) - torch.sin((i + 1.0) * batch.sum(dim=1, keepdim=True))).square().mean()
        grads = torch.autograd.grad(loss, [view, *head.parameters()])
        on_views.append(grads[0])
        on_z.append(grads[0] @ rotations[i].detach())
        for parameter, gradient in zip(network.heads[i].parameters(), grads[1:], strict=True):
            torch.testing.assert_close(parameter.grad, factor * gradient)
    units = [g / g.norm() for g in on_z]
    length = sum(g.norm() for g in on_z) / M
    total = sum(on_z) if rotate_only else length * sum(units)
    expected = torch.autograd.grad(z, list(other.trunk.parameters()), factor * total)
    for parameter, gradient in zip(network.trunk.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)

    v = sum(units) / M
    objective = -sum(((g @ rotations[k]) * v).sum() for k, g in enumerate(on_views))  # rows of g R are R'g
    on_rotations = torch.autograd.grad(objective, rotations)[0]
    (expected_angles,) = torch.autograd.grad(balancer.rotations, balancer.angles, factor * on_rotations)
    torch.testing.assert_close(balancer.angles.grad, expected_angles)
    assert balancer.angles.grad.abs().max() > 0.0


@pytest.mark.parametrize(("dim", "size"), [(1, 4), (1, 3), (-1, 3)])
def test_gradients_of_images(dim: int, size: int) -> None:
    """Rotations of the channels, or of a part of them: each pixel is a sample."""
    balancer = turned(mtl.RotoGrad(2, size, dim=dim))
    z = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    features = z * 1.0
    slopes = torch.randn(2, 2, 4, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    losses = [(slope * view).sum() for slope, view in zip(slopes, balancer.rotate(features), strict=True)]
    on_z = [torch.autograd.grad(loss, features, retain_graph=True)[0] for loss in losses]
    balancer.backward(losses, features=features)
    units = [(g / g.norm()).movedim(dim, -1)[..., :size].reshape(-1, size) for g in on_z]
    rotations = balancer.rotations.detach().requires_grad_()
    objective = -sum(
        ((slope.movedim(dim, -1)[..., :size].reshape(-1, size) @ r) * sum(units) / 2).sum()
        for slope, r in zip(slopes, rotations, strict=True)
    )
    on_rotations = torch.autograd.grad(objective, rotations)[0]
    (expected,) = torch.autograd.grad(balancer.rotations, balancer.angles, on_rotations)
    torch.testing.assert_close(balancer.angles.grad, expected)


def test_directions_come_together() -> None:
    """Trained on a network that stays, the rotations raise the mean cosine of the gradients."""
    balancer, network, batch = mtl.RotoGrad(M, SIZE).double(), Network(M), batches(1)[0]
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.02)
    seen = []
    for _ in range(60):
        optimizer.zero_grad()
        features, losses = losses_of(network, batch, balancer)
        balancer.backward(losses, features=features)
        optimizer.step()
        seen.append(balancer.diagnostics.cosines[np.triu_indices(M, 1)].mean())
    assert seen[-1] > seen[0] + 0.1


def test_the_losses_do_not_train_the_rotations() -> None:
    balancer, network = turned(mtl.RotoGrad(M, SIZE)), Network(M)
    _, losses = losses_of(network, batches(1)[0], balancer)
    sum(losses).backward()
    assert balancer.angles.grad is None


def test_gradients_accumulate_and_frozen_rotations_get_none() -> None:
    balancer, network = turned(mtl.RotoGrad(M, SIZE)), Network(M)
    single = []
    for batch in batches(2):
        balancer.angles.grad = None
        features, losses = losses_of(network, batch, balancer)
        balancer.backward(losses, features=features)
        single.append(balancer.angles.grad)
    again = turned(mtl.RotoGrad(M, SIZE))
    for batch in batches(2):
        features, losses = losses_of(network, batch, again)
        again.backward(losses, features=features)
    torch.testing.assert_close(again.angles.grad, single[0] + single[1])
    frozen = turned(mtl.RotoGrad(M, SIZE)).requires_grad_(False)
    features, losses = losses_of(network, batches(1)[0], frozen)
    frozen.backward(losses, features=features)
    assert frozen.angles.grad is None


def test_without_rotate_there_is_nothing_to_turn() -> None:
    balancer, network = turned(mtl.RotoGrad(M, SIZE)), Network(M)
    features, losses = network(batches(1)[0])
    balancer.backward(losses, features=features)
    assert balancer.angles.grad is None


def test_an_overflow_reaches_the_rotations() -> None:
    """So that a scaler skips their step, in an optimizer of their own too."""
    balancer, network = turned(mtl.RotoGrad(M, SIZE)), Network(M, dtype=torch.float32)
    scaler = torch.amp.GradScaler("cpu", init_scale=3e38)
    optimizer = torch.optim.SGD(balancer.parameters(), lr=0.1)
    before = balancer.angles.detach().clone()
    features, losses = losses_of(network, 100.0 * batches(1, dtype=torch.float32)[0], balancer)
    balancer.backward([1e6 * loss for loss in losses], features=features, scaler=scaler)
    assert balancer.angles.grad.isnan().all()
    scaler.step(optimizer)
    torch.testing.assert_close(balancer.angles.detach(), before, rtol=0, atol=0)


def test_state() -> None:
    """Angles and first norms; a balancer can be copied and saved between the forward and the backward pass."""
    balancer, network = turned(mtl.RotoGrad(M, SIZE)), Network(M)
    features, losses = losses_of(network, batches(1)[0], balancer)
    twin = copy.deepcopy(balancer)
    torch.save(balancer, io.BytesIO())
    balancer.backward(losses, features=features)
    again = mtl.RotoGrad(M, SIZE).double()
    again.load_state_dict(balancer.state_dict())
    torch.testing.assert_close(again.rotations, balancer.rotations, rtol=0, atol=0)
    np.testing.assert_array_equal(again._initial, balancer._initial)
    assert twin.angles.grad is None
    del features, losses
    gc.collect()
    assert balancer._rotated() is None  # nothing of the graph is kept


# ---- several processes ----


def step(part: slice, group: object = None) -> list[torch.Tensor]:
    balancer, network = turned(mtl.RotoGrad(M, SIZE)), Network(M)
    features, losses = losses_of(network, batches(1)[0][part], balancer)
    balancer.backward(
        losses, shared=network.trunk.parameters(), heads=network.head_lists(), features=features, group=group
    )
    return [parameter.grad for parameter in (*network.parameters(), balancer.angles)]


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        torch.save(step(slice(rank, None, 2), dist.group.WORLD), Path(folder, f"{rank}.pt"))
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this PyTorch has no torch.distributed")
def test_two_processes_are_one(tmp_path: Path) -> None:
    mp.spawn(process, (str(tmp_path),), nprocs=2)
    joined = step(slice(None))
    for rank in range(2):
        for found, expected in zip(torch.load(tmp_path / f"{rank}.pt"), joined, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


# ---- errors ----


def test_bad_input() -> None:
    balancer, network = mtl.RotoGrad(M, SIZE).double(), Network(M)
    with pytest.raises(ValueError, match=r"at least size = 5 entries along dim = -1; got shape \(4, 3\)\."):
        balancer.rotate(torch.zeros(4, 3))
    with pytest.raises(TypeError, match=r"`representation` must be a tensor; got 3\."):
        balancer.rotate(3)
    with pytest.raises(ValueError, match=r"at least size = 2 entries along dim = 3; got shape \(4, 3\)\."):
        mtl.RotoGrad(2, 2, dim=3).rotate(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"`size` must be given to RotoGrad for its rotations; got None\."):
        mtl.RotoGrad(2).rotate(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"`size` must be an integer >= 1; got 0\."):
        mtl.RotoGrad(2, 0)
    with pytest.raises(ValueError, match=r"`burn_in` must be an integer >= 0; got -1\."):
        mtl.RotoGrad(2, burn_in=-1)
    features, losses = losses_of(network, batches(1)[0], balancer)
    other = network.trunk(batches(1)[0])
    with pytest.raises(ValueError, match=r"`features` must be the tensor that was passed to `rotate`; got another"):
        balancer.backward(losses, features=other)
    balancer.backward(losses, features=features)
    assert all(parameter.grad is not None for parameter in network.trunk.parameters())
