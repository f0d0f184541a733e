"""Performance-informed weights, PIVRG, and the PI- variants of other methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from pyasmg import fair_weights, min_norm_weights
from tests.mtl._cases import CASES
from tests.mtl._problems import Network, batches, direction, instance

OMEGA = np.array([0.6, 1.0, 1.4])


# ---- the weights ----


def test_equation_5() -> None:
    performance = mtl.Performance([0.8, 2.0, 10.0], higher_is_better=[True, False, False], bounds=(0.5, 1.5))
    drops = np.array([10.0, -5.0, 0.0])
    np.testing.assert_allclose(performance.drops([0.72, 1.9, 10.0]), drops)
    temperature = 15.0 / np.log(1.5)
    expected = 3 * np.exp(drops / temperature) / np.exp(drops / temperature).sum()
    np.testing.assert_allclose(performance.weights([0.72, 1.9, 10.0]), expected)


def test_proposition_1() -> None:
    """Within the bounds, positive, with the sum m, and in the order of the drops."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        m, bounds = int(rng.integers(1, 12)), (rng.uniform(0.2, 0.95), rng.uniform(1.05, 4.0))
        performance = mtl.Performance(np.ones(m), bounds=bounds)
        metrics = 1.0 + rng.standard_normal(m) * 10.0 ** rng.uniform(-4, 3)
        weights = performance.weights(metrics)
        assert bounds[0] <= weights.min(), f"{seed=}"
        assert weights.max() <= bounds[1], f"{seed=}"
        assert weights.sum() == pytest.approx(m), f"{seed=}"
        assert (np.diff(weights[np.argsort(metrics)]) >= 0).all(), f"{seed=}"


def test_small_differences_are_not_blown_up() -> None:
    performance = mtl.Performance([1.0, 1.0], min_temperature=2.0)
    assert performance.temperature(np.array([0.0, 1e-6])) == 2.0
    np.testing.assert_allclose(performance.weights([1.0, 1.0]), 1.0)


def test_several_metrics_of_a_task() -> None:
    performance = mtl.Performance([[0.8, 4.0], 2.0], higher_is_better=[[True, False], False])
    np.testing.assert_allclose(performance.drops([[0.72, 5.0], 1.0]), [0.5 * (10.0 + 25.0), -50.0])


BAD = [
    (([0.0, 1.0],), {}, ValueError, r"`baselines` must not be zero; task 0 has \[0\.0\]\."),
    (([],), {}, ValueError, r"`baselines` must have a metric for each task; got \[\]\."),
    ((3.0,), {}, TypeError, r"`baselines` must be a sequence with an entry per task; got 3\.0\."),
    (([1.0],), {"bounds": (1.1, 2.0)}, ValueError, r"low < 1 < high; got \(1\.1, 2\)\."),
    (([1.0],), {"min_temperature": 0}, ValueError, r"`min_temperature` must be a finite number > 0; got 0\."),
    (([1.0],), {"higher_is_better": [True, False]}, ValueError, r"must be one bool or have 1 entries; got 2\."),
    (([1.0],), {"higher_is_better": [1]}, ValueError, r"`higher_is_better\[0\]` must be a bool or 1 bools; got 1\."),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_bad_performance(arguments, options, error, message) -> None:
    with pytest.raises(error, match=message):
        mtl.Performance(*arguments, **options)


def test_bad_metrics() -> None:
    performance = mtl.Performance([1.0, 2.0])
    with pytest.raises(ValueError, match=r"`metrics` must have \[1, 1\] entries per task, as `baselines`; got \[1\]\."):
        performance.weights([1.0])
    with pytest.raises(ValueError, match=r"`metrics\[1\]` must be finite; got nan at index 0\."):
        performance.weights([1.0, np.nan])


# ---- PIVRG ----


def test_pivrg_solves_equation_8() -> None:
    for seed in range(5):
        rows, losses = instance(3, 6, seed)
        balancer = mtl.PIVRG(3)
        balancer.preference = OMEGA
        found = direction(balancer, rows, losses)
        weights = balancer.diagnostics.weights
        np.testing.assert_allclose((rows @ rows.T @ weights) ** 2, OMEGA / weights, rtol=1e-10)
        np.testing.assert_allclose(found, weights @ rows, rtol=1e-10)


def test_pivrg_update() -> None:
    balancer = mtl.PIVRG(2, performance=mtl.Performance([0.8, 2.5], higher_is_better=[True, False]))
    np.testing.assert_allclose(balancer.update([0.72, 2.5]), [4 / 3, 2 / 3])
    np.testing.assert_allclose(balancer.preference, [4 / 3, 2 / 3])
    with pytest.raises(ValueError, match=r"`performance` must be given to PIVRG for its `update`; got None\."):
        mtl.PIVRG(2).update([1.0, 1.0])
    with pytest.raises(ValueError, match=r"`performance` must be of n_tasks = 3 tasks; got 1\."):
        mtl.PIVRG(3, performance=mtl.Performance([1.0]))


# ---- PI- variants ----


def informed(name: str) -> mtl.PerformanceInformed:
    balancer = mtl.PerformanceInformed(CASES[name].make(3), mtl.Performance([1.0, 1.0, 1.0]))
    balancer.balancer.preference = OMEGA
    return balancer


@pytest.mark.parametrize("name", ["EW", "RLW", "DWA", "UW", "SI", "MGDA l2 raw", "NashMTL", "FairGrad"])
def test_no_weights_no_change(name: str) -> None:
    rows, losses = instance(3, 6, 0)
    plain = mtl.PerformanceInformed(CASES[name].make(3), mtl.Performance([1.0, 1.0, 1.0]))
    expected = direction(CASES[name].make(3), rows, losses)
    np.testing.assert_array_equal(direction(plain, rows, losses), expected)
    updated = mtl.PerformanceInformed(CASES[name].make(3), mtl.Performance([1.0, 1.0, 1.0]))
    np.testing.assert_allclose(updated.update([2.0, 2.0, 2.0]), 1.0)
    np.testing.assert_allclose(direction(updated, rows, losses), expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["EW", "RLW", "DWA", "UW", "SI", "NashMTL normalized", "MGDA"])
def test_losses_times_the_weights(name: str) -> None:
    """Loss weighting: as if the losses were multiplied. Nash-MTL and MGDA do something else."""
    rows, losses = instance(3, 6, 1)
    found = direction(informed(name), rows, losses)
    replaced = direction(CASES[name].make(3), OMEGA[:, None] * rows, OMEGA * losses)
    same = bool(np.allclose(found, replaced, rtol=1e-9))
    assert same == (name not in ("NashMTL normalized", "MGDA"))


def test_pi_nash() -> None:
    rows, losses = instance(3, 6, 2)
    expected = fair_weights(rows @ rows.T, 1.0, OMEGA) @ rows
    np.testing.assert_allclose(direction(informed("NashMTL"), rows, losses), expected, rtol=1e-10)


def test_pi_mgda_balances_rates_over_weights() -> None:
    rows, losses = instance(3, 6, 3)
    balancer = informed("MGDA")
    found = direction(balancer, rows, losses)
    scaled = rows / OMEGA[:, None]
    shares = min_norm_weights(scaled @ scaled.T)
    np.testing.assert_allclose(found, shares @ scaled, rtol=1e-10)
    rates = rows @ found / OMEGA
    np.testing.assert_allclose(rates[shares > 1e-9], rates.min(), rtol=1e-8)


@pytest.mark.parametrize("name", ["EW", "MGDA", "NashMTL", "FairGrad", "PIVRG"])
def test_more_weight_is_a_faster_fall(name: str) -> None:
    rows, losses = np.array([[1.0, 0.0], [0.3, 1.0]]), np.ones(2)
    balancer = CASES[name].make(2)
    even = rows @ direction(balancer, rows, losses)
    balancer.preference = [1.5, 0.5]
    rates = rows @ direction(balancer, rows, losses)
    assert rates[0] / rates[1] > even[0] / even[1]


@pytest.mark.parametrize("name", CASES)
def test_training_and_resuming(name: str) -> None:
    """Any method can be wrapped; the weights of the tasks are part of the state."""

    def step(balancer: mtl.PerformanceInformed, network: Network, batch: torch.Tensor) -> None:
        network.zero_grad()
        balancer.backward(network(batch)[1], shared=network.trunk.parameters(), heads=network.head_lists())
        torch.optim.SGD(network.parameters(), lr=0.01).step()

    data, performance = batches(6), mtl.Performance([0.5, 0.5, 0.5])
    network, other = Network(3), Network(3)
    balancer = mtl.PerformanceInformed(CASES[name].make(3), performance)
    for batch in data[:3]:
        step(balancer, network, batch)
    balancer.update([1.0, 0.5, 0.25])
    state, parameters = balancer.state_dict(), network.state_dict()
    again = mtl.PerformanceInformed(CASES[name].make(3), performance)
    other.load_state_dict(parameters)
    again.load_state_dict(state)
    for batch in data[3:]:
        step(balancer, network, batch)
        step(again, other, batch)
    for found, expected in zip(other.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert balancer.diagnostics is balancer.balancer.diagnostics


def test_bad_wrapping() -> None:
    performance = mtl.Performance([1.0, 1.0])
    with pytest.raises(TypeError, match=r"`balancer` must be a balancer of pyasmg\.mtl; got 3\."):
        mtl.PerformanceInformed(3, performance)
    with pytest.raises(TypeError, match=r"`performance` must be a Performance; got 3\."):
        mtl.PerformanceInformed(mtl.EW(2), 3)
    with pytest.raises(ValueError, match=r"`performance` must be of n_tasks = 3 tasks; got 2\."):
        mtl.PerformanceInformed(mtl.EW(3), performance)
