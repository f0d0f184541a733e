"""GradDrop: both variants against a transcription, and its mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import pyasmg.mtl as mtl
from tests.mtl._problems import direction, instance


def reference(gradients: np.ndarray, evidence: np.ndarray, leak: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Algorithm 1 entry by entry; gradients of shape (m, b, n), evidence of shape (m, n)."""
    m, b, n = gradients.shape
    result = np.zeros((b, n))
    for e in range(n):
        size = np.abs(evidence[:, e]).sum()
        purity = 0.5 * (1.0 + (evidence[:, e].sum() / size if size else 0.0))
        for i in range(m):
            kept = float(evidence[i, e] > 0.0) if purity > draw[e] else float(evidence[i, e] < 0.0)
            result[:, e] += (leak[i] + (1.0 - leak[i]) * kept) * gradients[i, :, e]
    return result


@pytest.mark.parametrize("leak", [0.0, 1.0, [0.0, 0.3, 0.9]])
def test_on_parameters(leak: object) -> None:
    rng, balancer = np.random.Generator(np.random.PCG64(4)), mtl.GradDrop(3, leak=leak, seed=4)
    leaks = np.broadcast_to(np.asarray(leak, dtype=float), 3)
    for step in range(5):
        rows, values = instance(3, 50, step)
        rows[:, 7] = 0.0
        rows[:, 8] = [1.0, 2.0, 0.0]
        draw = rng.random(50, dtype=np.float32)
        expected = reference(rows[:, None], rows, leaks, draw)[0]
        np.testing.assert_allclose(direction(balancer, rows, values), expected, rtol=1e-12)


@pytest.mark.parametrize("leak", [0.0, 0.3])
def test_chunks_of_columns_where_the_core_does_not_serve(leak: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By PyTorch in pieces, as on a device: the same numbers, and the same state afterwards."""
    balancers, found = [mtl.GradDrop(3, leak=leak) for _ in range(2)], []
    for balancer in balancers:
        found.append([direction(balancer, *instance(3, n, n)) for n in (51, 50)])
        monkeypatch.setattr("pyasmg.mtl.graddrop.CHUNK", 8)
        monkeypatch.setattr("pyasmg.mtl.graddrop.on_core", lambda matrix: False)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    states = [balancer.state_dict()["_extra_state"]["_generator"] for balancer in balancers]
    assert states[0]["state"] == states[1]["state"]
    assert states[0]["has_uint32"] == states[1]["has_uint32"]


@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 3), (6,)])
def test_on_a_representation(shape: tuple[int, ...]) -> None:
    """Signs by evidence that is summed over the batch, the same ones for each sample."""
    rng, balancer = np.random.Generator(np.random.PCG64(2)), mtl.GradDrop(3, leak=0.1, seed=2)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = rows.reshape(3, 6, -1).numpy()
    n = gradients.shape[2]
    signs = np.sign(values.reshape(6, -1).numpy())
    for _ in range(3):
        trunk = nn.Parameter(values.clone())
        features = trunk * 1.0
        balancer.backward([(row * features).sum() + 1.0 for row in rows], features=features, shared=[trunk])
        draw = rng.random(n, dtype=np.float32)
        expected = reference(gradients, (gradients * signs).sum(axis=1), np.full(3, 0.1), draw)
        np.testing.assert_allclose(trunk.grad.reshape(6, -1).numpy(), expected, rtol=1e-12)


def test_several_representations() -> None:
    """Each has its own batch, and the numbers go on."""
    first, second = (nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in ([[1.0, -2.0]] * 3, [[0.5], [-1.0]]))
    a, b = first * 1.0, second * 1.0
    rows = [(torch.full((3, 2), 1.0 + i).double(), torch.full((2, 1), 2.0 - i).double()) for i in range(2)]
    losses = [(x * a).sum() + (y * b).sum() for x, y in rows]
    mtl.GradDrop(2).backward(losses, features=[a, b], shared=[first, second])
    rng = np.random.Generator(np.random.PCG64(0))
    for parameter, parts in ((first, [x for x, _ in rows]), (second, [y for _, y in rows])):
        gradients = torch.stack(parts).numpy()
        signs = parameter.detach().sign().numpy()
        draw = rng.random(gradients.shape[2], dtype=np.float32)
        expected = reference(gradients, (gradients * signs).sum(axis=1), np.zeros(2), draw)
        np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-12)


def test_a_sign_is_kept_with_the_probability_of_its_share() -> None:
    """Over many entries with gradients 3 and -1: the positive ones in three of four."""
    n = 20_000
    rows = np.array([np.full(n, 3.0), np.full(n, -1.0)])
    found = direction(mtl.GradDrop(2), rows, np.ones(2))
    assert set(found) == {3.0, -1.0}
    assert np.mean(found == 3.0) == pytest.approx(0.75, abs=5 * (0.75 * 0.25 / n) ** 0.5)


def test_gradients_of_one_sign_are_added_up() -> None:
    rows = np.abs(instance(4, 30, 0)[0]) * np.where(np.arange(30) % 2, 1.0, -1.0)
    np.testing.assert_allclose(direction(mtl.GradDrop(4), rows, np.ones(4)), rows.sum(axis=0), rtol=1e-12)


def test_there_are_no_weights() -> None:
    rows, values = instance(3, 6, 1)
    balancer = mtl.GradDrop(3)
    direction(balancer, rows, values)
    assert balancer.diagnostics.weights is None


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`leak` must be in \[0, 1\]; got 1\.5\."):
        mtl.GradDrop(2, leak=1.5)
    with pytest.raises(ValueError, match=r"`leak` must be a scalar or of shape \(2,\); got shape \(3,\)\."):
        mtl.GradDrop(2, leak=[0.0, 0.5, 1.0])
    with pytest.raises(ValueError, match=r"`head_weights` must be 'one' for GradDrop"):
        mtl.GradDrop(2, head_weights="weighted")
    scalar = nn.Parameter(torch.ones(()))
    feature = scalar * 2.0
    with pytest.raises(ValueError, match=r"`features` must have a batch as the first dimension; entry 0 has shape"):
        mtl.GradDrop(2).backward([feature * 1.0, feature * 2.0], features=feature)
