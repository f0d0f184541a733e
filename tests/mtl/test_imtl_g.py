"""IMTL-G: equal projections, the paper's elimination, and gradients that depend on each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from tests.mtl._problems import direction, instance


def eliminated(rows: np.ndarray) -> np.ndarray:
    """The paper's closed form: weights of all tasks but the first from m - 1 equations."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    D, U = rows[0] - rows[1:], units[0] - units[1:]
    rest = rows[0] @ U.T @ np.linalg.inv(D @ U.T)
    return np.concatenate(([1.0 - rest.sum()], rest)) @ rows


@pytest.mark.parametrize("shape", [(2, 3), (3, 7), (6, 9)])
def test_equal_projections(shape: tuple[int, int]) -> None:
    for seed in range(5):
        rows, values = instance(*shape, seed)
        balancer = mtl.IMTLG(len(rows))
        found = direction(balancer, rows, values)
        rates = rows @ found / np.linalg.norm(rows, axis=1)
        np.testing.assert_allclose(rates, rates[0], rtol=1e-9, err_msg=f"{seed=}")
        assert balancer.diagnostics.weights.sum() == pytest.approx(1.0, rel=1e-12)
        np.testing.assert_allclose(found, eliminated(rows), rtol=1e-7, atol=1e-10, err_msg=f"{seed=}")


def test_against_torchjd() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    rows, values = instance(4, 6, 0)
    expected = aggregation.IMTLG()(torch.from_numpy(rows))
    np.testing.assert_allclose(direction(mtl.IMTLG(4), rows, values), expected, rtol=1e-8, atol=1e-12)


def test_norms_over_16_orders() -> None:
    rows, values = instance(4, 6, 1)
    rows *= np.array([1e-8, 1e8, 1.0, 1e3])[:, None]
    balancer = mtl.IMTLG(4)
    direction(balancer, rows, values)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    shares = balancer.diagnostics.weights * np.linalg.norm(rows, axis=1)
    rates = units @ (shares / np.abs(shares).max() @ units)
    np.testing.assert_allclose(rates, rates[0], rtol=1e-10)


def test_equal_tasks_have_equal_weights() -> None:
    rows, values = instance(3, 6, 2)
    twice = rows[[0, 1, 2, 0]]
    balancer = mtl.IMTLG(4)
    found = direction(balancer, twice, values[[0, 1, 2, 0]])
    np.testing.assert_allclose(found, direction(mtl.IMTLG(3), rows, values), rtol=1e-10)
    weights = balancer.diagnostics.weights
    assert weights[0] == pytest.approx(weights[3], rel=1e-10)


def test_no_direction() -> None:
    """Opposed gradients: only 0 has equal projections."""
    rows = np.array([[1.0, 0.0], [-2.0, 0.0]])
    np.testing.assert_array_equal(direction(mtl.IMTLG(2), rows, np.ones(2)), [0.0, 0.0])


def test_a_zero_gradient_is_left_out() -> None:
    rows, values = instance(3, 6, 3)
    more = np.concatenate((rows, np.zeros((1, 6))))
    found = direction(mtl.IMTLG(4), more, np.append(values, 1.0))
    np.testing.assert_allclose(found, direction(mtl.IMTLG(3), rows, values), rtol=1e-12)


def test_projections_may_be_negative() -> None:
    """As in the paper's formula, where a long gradient has a negative share."""
    rows = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.94, 0.31, 0.15]]) * np.array([[10.0], [10.0], [1.0]])
    rates = rows @ direction(mtl.IMTLG(3), rows, np.ones(3)) / np.linalg.norm(rows, axis=1)
    expected = rows @ eliminated(rows) / np.linalg.norm(rows, axis=1)
    assert rates.max() < 0.0
    np.testing.assert_allclose(rates, expected, rtol=1e-8)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`head_weights` must be 'one' or 'weighted'; got 'two'\."):
        mtl.IMTLG(2, head_weights="two")
