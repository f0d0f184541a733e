"""The MO-Gymnasium suite: returns, normalisation, equal starts, and answers that no number of processes changes."""

import numpy as np
import pytest

pytest.importorskip("mo_gymnasium")
pytest.importorskip("mujoco")

from bench import common
from bench.suites import gym
from bench.suites._gym_policy import Episode, Normaliser, Order, Players, play, sizes, units

NAME, STEPS = "mo-swimmer-v5", 20
PROBLEM = f"{NAME}, {STEPS} steps"

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def order(policy, seed=3, steps=STEPS):
    return Order(NAME, steps, np.asarray(policy, dtype=float), np.zeros(8), np.ones(8), seed)


def test_sizes_and_units():
    assert sizes(NAME, STEPS) == (2, 8, 2)
    np.testing.assert_allclose(units(NAME, STEPS), [1, 1e-4])


def test_an_episode_is_its_order():
    policy = np.random.default_rng(0).normal(size=16)
    one, two, other = play(order(policy)), play(order(policy)), play(order(policy, seed=4))
    np.testing.assert_array_equal(one.returns, two.returns)
    assert (one.returns != other.returns).any()
    assert one.length == STEPS
    assert play(order(np.zeros(16))).returns[1] == 0  # the cost of doing nothing
    assert -2 * STEPS <= play(order(np.full(16, 1e6))).returns[1] < 0  # actions are clipped to [-1, 1]


def test_actions_see_normalised_observations():
    rng = np.random.default_rng(1)
    policy, shift, scale = rng.normal(size=16), rng.normal(size=8), rng.uniform(0.5, 2, 8)
    normal = play(Order(NAME, STEPS, policy, np.zeros(8), scale, 3))
    by_hand = play(Order(NAME, STEPS, (policy.reshape(2, 8) / scale).ravel(), np.zeros(8), np.ones(8), 3))
    np.testing.assert_allclose(normal.returns, by_hand.returns, rtol=1e-6)
    assert (play(Order(NAME, STEPS, policy, shift, scale, 3)).returns != normal.returns).any()


def test_normaliser_is_mean_and_deviation_of_all_observations():
    rng, normaliser = np.random.default_rng(2), Normaliser(3)
    np.testing.assert_array_equal(normaliser.scale, 1)
    seen = [rng.normal(5, 2, (n, 3)) * [1, 1, 0] for n in (4, 9)]
    for x in seen:
        normaliser.learn([Episode(np.zeros(2), len(x), x.sum(axis=0), (x**2).sum(axis=0))])
    everything = np.concatenate(seen)
    np.testing.assert_allclose(normaliser.shift, everything.mean(axis=0))
    np.testing.assert_allclose(normaliser.scale, [*everything.std(axis=0)[:2], 1])


def test_candidates_of_a_generation_start_alike_and_generations_do_not():
    problem = gym.make_problem(PROBLEM, 16)
    assert not problem.start(0).any()
    policy = np.random.default_rng(0).normal(size=16)
    first = problem.evaluate(np.array([policy, policy]))
    np.testing.assert_array_equal(first[0], first[1])
    problem.start(0)
    np.testing.assert_array_equal(problem.evaluate(np.array([policy])), first[:1])
    assert (problem.evaluate(np.array([policy])) != first[:1]).any()  # another start, other observations known
    problem.start(1)
    assert (problem.evaluate(np.array([policy])) != first[:1]).any()


def test_a_test_costs_no_episode_of_the_search_and_returns_are_raw():
    problem = gym.make_problem(PROBLEM, 16)
    problem.start(0)
    policy = np.random.default_rng(5).normal(size=(1, 16))
    measures = problem.measures(policy)
    assert list(measures) == [gym.SUM, "forward", "control"]
    assert measures[gym.SUM] == pytest.approx(-(measures["forward"] + 1e-4 * measures["control"]))
    before = problem.evaluate(policy)
    problem.start(0)
    np.testing.assert_array_equal(problem.evaluate(policy), before)


def test_worker_processes_change_nothing():
    orders = [order(np.random.default_rng(k).normal(size=16), seed=k) for k in range(5)]
    players = Players(2)
    try:
        apart = players.play(orders)
    finally:
        players.close()
    for one, two in zip(apart, Players(1).play(orders), strict=True):
        np.testing.assert_array_equal(one.returns, two.returns)
        np.testing.assert_array_equal(one.total, two.total)


def test_the_suite_writes_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(gym, "QUICK", (NAME, STEPS, 10, 4))
    gym.main(["--quick", "--seeds", "1", "--jobs", "1", "--optimizers", "asmg", "asmg-ew"])
    assert "ASMG's summed return" in capsys.readouterr().out
    lines = (tmp_path / "gym.csv").read_text().splitlines()
    assert [line.split(",")[3] for line in lines[3:]] == ["ASMG", "ASMG-EW"]
    assert (tmp_path / "gym.png").stat().st_size > 5000
