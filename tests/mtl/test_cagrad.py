"""CAGrad: the definition, its limits and its options."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from tests.mtl._problems import direction, instance


@pytest.mark.parametrize("c", [0.2, 0.7, 1.5])
def test_no_other_direction_in_the_ball_has_a_better_worst_rate(c: float) -> None:
    for m, d in ((2, 3), (3, 5), (6, 6)):
        rows, values = instance(m, d, m)
        mean = rows.mean(axis=0)
        radius = c * np.linalg.norm(mean)
        found = direction(mtl.CAGrad(m, c=c), rows, values)
        assert np.linalg.norm(found - mean) <= radius * (1 + 1e-12)
        worst = (rows @ found).min()
        rng = np.random.default_rng(m)
        for size in (1.0, 1e-2, 1e-4):  # from far and from near
            others = found + size * radius * rng.standard_normal((2000, d))
            shift = others - mean
            others = mean + shift * np.minimum(1.0, radius / np.linalg.norm(shift, axis=1, keepdims=True))
            assert (others @ rows.T).min(axis=1).max() <= worst + 1e-12 * np.abs(rows @ found).max()


def test_limits() -> None:
    """The mean for c = 0, and the direction of MGDA for a large c (PIVRG, App. C.2)."""
    rows, values = instance(4, 6, 0)
    np.testing.assert_allclose(direction(mtl.CAGrad(4, c=0.0), rows, values), rows.mean(axis=0), rtol=1e-14)
    found, expected = direction(mtl.CAGrad(4, c=1e9), rows, values), direction(mtl.MGDA(4), rows, values)
    np.testing.assert_allclose(found / np.linalg.norm(found), expected / np.linalg.norm(expected), rtol=1e-7)


def test_options() -> None:
    rows, values = instance(3, 6, 1)
    plain = direction(mtl.CAGrad(3, c=0.5), rows, values)
    for options, factor in (
        ({"rescale": "square"}, 1 / 1.25),
        ({"rescale": "linear"}, 1 / 1.5),
        ({"reduction": "sum"}, 3.0),
        ({"rescale": "square", "reduction": "sum"}, 3 / 1.25),
    ):
        np.testing.assert_allclose(direction(mtl.CAGrad(3, c=0.5, **options), rows, values), factor * plain, rtol=1e-14)


def test_a_pareto_stationary_point() -> None:
    """A small ball leads on to the least mean (g0 times 1 - c); one that holds 0 does not."""
    rows, values = np.array([[1.0, 0.0], [-3.0, 0.0]]), np.ones(2)
    np.testing.assert_allclose(direction(mtl.CAGrad(2, c=0.4), rows, values), [-0.6, 0.0], atol=1e-15)
    np.testing.assert_allclose(direction(mtl.CAGrad(2, c=1.0), rows, values), [0.0, 0.0], atol=1e-15)


def test_against_torchjd() -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    pytest.importorskip("cvxpy")
    rows, values = instance(4, 8, 2)
    expected = aggregation.CAGrad(c=0.4)(torch.from_numpy(rows))
    np.testing.assert_allclose(direction(mtl.CAGrad(4, c=0.4), rows, values), expected, rtol=1e-3, atol=1e-4)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`c` must be a finite number >= 0; got -0\.1\."):
        mtl.CAGrad(2, c=-0.1)
    with pytest.raises(ValueError, match=r"`rescale` must be 'none', 'square' or 'linear'; got 1\."):
        mtl.CAGrad(2, rescale=1)
    with pytest.raises(ValueError, match=r"`reduction` must be 'mean' or 'sum'; got 'max'\."):
        mtl.CAGrad(2, reduction="max")
