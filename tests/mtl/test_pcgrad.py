"""PCGrad against a transcription on whole gradients."""

from __future__ import annotations

import numpy as np
import pytest

import pyasmg.mtl as mtl
from pyasmg import _core
from pyasmg.mtl.pcgrad import orders
from tests.mtl._problems import direction, instance


def reference(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Algorithm 1, line by line; the orders are those of the balancer."""
    m = len(rows)
    total = np.zeros(rows.shape[1])
    for i, order in enumerate(orders(rng, m)):
        v = rows[i].copy()
        for j in order:
            if v @ rows[j] < 0.0:
                v -= v @ rows[j] / (rows[j] @ rows[j]) * rows[j]
        total += v
    return total


@pytest.mark.parametrize("shape", [(2, 3), (3, 7), (6, 4), (10, 20)])
def test_algorithm(shape: tuple[int, int]) -> None:
    m, d = shape
    rng, balancer = np.random.Generator(np.random.PCG64(5)), mtl.PCGrad(m, seed=5)
    for step in range(6):
        rows, values = instance(m, d, step)
        rows = rows - 0.4 * rows.mean(axis=0)
        np.testing.assert_allclose(direction(balancer, rows, values), reference(rows, rng), rtol=1e-10, atol=1e-12)


def test_orders() -> None:
    """Each task meets each other task once, and the orders differ."""
    found = orders(np.random.Generator(np.random.PCG64(0)), 6)
    for i, order in enumerate(found.tolist()):
        assert sorted([i, *order]) == list(range(6))
    assert len({tuple((order - i) % 6) for i, order in enumerate(found)}) > 1


def test_two_tasks_end_without_conflict() -> None:
    """The order does not matter, and each of the two stands on the other's normal plane."""
    rows = np.array([[1.0, 0.0], [-1.0, 1.0]])
    for seed in range(3):
        np.testing.assert_allclose(direction(mtl.PCGrad(2, seed=seed), rows, np.ones(2)), [0.5, 1.5], rtol=1e-14)


def test_norms_over_16_orders() -> None:
    rows, values = instance(4, 7, 0)
    rows *= np.array([1e-8, 1.0, 1e8, 1e-3])[:, None]
    rows[0] *= -1.0
    expected = reference(rows, np.random.Generator(np.random.PCG64(0)))
    np.testing.assert_allclose(direction(mtl.PCGrad(4), rows, values), expected, rtol=1e-9)


def test_reduction() -> None:
    rows, values = instance(4, 7, 1)
    total = direction(mtl.PCGrad(4, seed=3), rows, values)
    np.testing.assert_allclose(direction(mtl.PCGrad(4, seed=3, reduction="mean"), rows, values), total / 4, rtol=1e-14)


def test_the_order_is_random() -> None:
    rows, values = instance(8, 4, 2)
    rows = rows - rows.mean(axis=0)
    balancer = mtl.PCGrad(8)
    found = [direction(balancer, rows, values) for _ in range(2)] + [direction(mtl.PCGrad(8, seed=1), rows, values)]
    assert np.linalg.norm(found[0] - found[1]) > 1e-3
    assert np.linalg.norm(found[0] - found[2]) > 1e-3


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`seed` must be an integer >= 0; got -1\."):
        mtl.PCGrad(2, seed=-1)
    with pytest.raises(ValueError, match=r"`reduction` must be 'mean' or 'sum'; got 'max'\."):
        mtl.PCGrad(2, reduction="max")


@pytest.mark.parametrize("order", [np.array([[1], [2]]), np.array([[1], [-1]]), np.array([[1, 0], [0, 1]])])
def test_the_core_refuses_other_orders(order: np.ndarray) -> None:
    with pytest.raises(ValueError, match="order must"):
        _core.remove_conflicts(np.eye(2), order, 1.0)
