"""GO4Align: its groups against all groupings, its indicators against the formulas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pyasmg.mtl as mtl
from pyasmg.mtl.go4align import group_means


def spread(values: np.ndarray, means: np.ndarray) -> float:
    return float(((values - means) ** 2).sum())


def best_spread(values: np.ndarray, n_groups: int) -> float:
    """Over all assignments to groups."""
    found = []
    for labels in itertools.product(range(n_groups), repeat=values.size):
        chosen = np.array(labels)
        found.append(sum(((values[chosen == k] - values[chosen == k].mean()) ** 2).sum() for k in set(labels)))
    return float(min(found))


@pytest.mark.parametrize("n_groups", [1, 2, 3, 4])
def test_groups_are_the_best_there_are(n_groups: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng([seed, n_groups])
        values = np.exp(rng.standard_normal(6) * rng.uniform(0.1, 3.0))
        means = group_means(values, n_groups)
        assert len(set(means.tolist())) <= n_groups, f"{seed=}"
        for mean in set(means.tolist()):
            assert values[means == mean].mean() == pytest.approx(mean, rel=1e-12), f"{seed=}"
        assert spread(values, means) == pytest.approx(best_spread(values, n_groups), rel=1e-9), f"{seed=}"


def test_groups_far_apart() -> None:
    values = np.array([1e6, 1.0, 2e6 + 1.0, 1.5, 2e6, 1e6 + 3.0])
    np.testing.assert_allclose(
        group_means(values, 3), [1e6 + 1.5, 1.25, 2e6 + 0.5, 1.25, 2e6 + 0.5, 1e6 + 1.5], rtol=1e-14
    )
    np.testing.assert_array_equal(group_means(values, 6), values)
    np.testing.assert_array_equal(group_means(values, 9), values)
    np.testing.assert_array_equal(group_means(np.array([2.0, 2.0, 5.0]), 2), [2.0, 2.0, 5.0])


def test_formulas() -> None:
    balancer, shares = mtl.GO4Align(5, n_groups=2, step_size=0.3), np.full(5, 0.2)
    for seed in range(10):
        losses = np.random.default_rng(seed).uniform(0.1, 3.0, 5)
        shares = shares * np.exp(-0.3 * losses)
        shares /= shares.sum()
        indicators = shares * losses.sum() / losses
        np.testing.assert_allclose(balancer.weights(losses), group_means(indicators, 2), rtol=1e-10)


def test_as_many_groups_as_tasks() -> None:
    losses = np.array([1.0, 2.0, 5.0])
    weights = mtl.GO4Align(3, n_groups=3, step_size=0.0).weights(losses)
    np.testing.assert_allclose(weights * losses, losses.sum() / 3, rtol=1e-12)


def test_one_group_weighs_all_alike() -> None:
    weights = mtl.GO4Align(4, n_groups=1).weights(np.array([1.0, 2.0, 5.0, 0.1]))
    np.testing.assert_array_equal(weights, weights[0])


def test_large_losses_do_not_underflow() -> None:
    balancer = mtl.GO4Align(3, n_groups=3)
    for _ in range(100):
        weights = balancer.weights(np.array([1e6, 2e6, 3e6]))
    assert np.isfinite(weights).all()
    assert weights[0] == pytest.approx(6.0)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"GO4Align needs positive losses; task 1 has the loss 0\."):
        mtl.GO4Align(2).weights(np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"`n_groups` must be an integer >= 1; got 0\."):
        mtl.GO4Align(2, n_groups=0)
    with pytest.raises(ValueError, match=r"`step_size` must be a finite number >= 0; got -1\."):
        mtl.GO4Align(2, step_size=-1)
