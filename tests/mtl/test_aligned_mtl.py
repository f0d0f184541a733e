"""Aligned-MTL: the singular values, the scales, the task weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from tests.mtl._problems import direction, instance


def aligned(rows: np.ndarray, **options) -> np.ndarray:
    """The matrix that the method replaces the gradients by: one row per unit vector of task weights."""
    m = len(rows)
    balancer = mtl.AlignedMTL(m, reduction="sum", **options)
    return np.array([balancer.preferred_weights(rows @ rows.T, np.ones(m), e) @ rows for e in np.eye(m)])


@pytest.mark.parametrize("shape", [(2, 3), (3, 7), (6, 9), (5, 3)])
def test_all_singular_values_are_the_smallest(shape: tuple[int, int]) -> None:
    rows, _ = instance(*shape, 0)
    u, s, vt = np.linalg.svd(rows, full_matrices=False)
    for scale, chosen in (("min", s[-1]), ("median", np.median(s**2) ** 0.5), ("rmse", np.mean(s**2) ** 0.5)):
        np.testing.assert_allclose(aligned(rows, scale=scale), chosen * u @ vt, rtol=0, atol=1e-9, err_msg=scale)


def test_equal_weights() -> None:
    rows, values = instance(4, 7, 1)
    matrix = aligned(rows)
    np.testing.assert_allclose(direction(mtl.AlignedMTL(4), rows, values), matrix.mean(axis=0), rtol=1e-12)
    found = direction(mtl.AlignedMTL(4, reduction="sum"), rows, values)
    np.testing.assert_allclose(found, matrix.sum(axis=0), rtol=1e-12)


def test_a_preference_is_the_task_weights() -> None:
    rows, values = instance(4, 7, 2)
    balancer = mtl.AlignedMTL(4)
    balancer.preference = [0.5, 1.0, 1.5, 1.0]
    np.testing.assert_allclose(
        direction(balancer, rows, values), balancer.preference @ aligned(rows) / 4, rtol=1e-11, atol=1e-13
    )


@pytest.mark.parametrize("scale", ["min", "rmse"])
def test_against_torchjd(scale: str) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    rows, values = instance(5, 9, 3)
    expected = aggregation.AlignedMTL(scale_mode=scale)(torch.from_numpy(rows))
    np.testing.assert_allclose(direction(mtl.AlignedMTL(5, scale=scale), rows, values), expected, rtol=1e-9)


def test_duplicates_do_not_shrink_the_direction() -> None:
    """The eigenvalue that only rounding tells from 0 is left out."""
    rows, values = instance(3, 6, 4)
    found = direction(mtl.AlignedMTL(6, scale="rmse"), np.concatenate((rows, rows)), np.tile(values, 2))
    expected = direction(mtl.AlignedMTL(3, scale="rmse"), rows, values)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`scale` must be 'min', 'median' or 'rmse'; got 'max'\."):
        mtl.AlignedMTL(2, scale="max")
