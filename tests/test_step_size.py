"""The automatic steps: their bounds, what they do under noise and on lines; the memory that asks share."""

import numpy as np
import pytest

import pyasmg
from pyasmg._step_size import StepState


@pytest.mark.parametrize("dimension", [1, 10, 1000, 10**6, 10**7])
@pytest.mark.parametrize("n_valid", [2, 20, 10_000])
def test_steps_are_bounded(dimension, n_valid):
    state = StepState.start(dimension)
    assert state.path.size <= 16_384
    assert (state.path.size - 1) * state.stride < dimension <= state.path.size * state.stride
    for _ in range(400):  # gradients that always agree
        steps = state.choose(None, None, n_valid, dimension)
        assert 0 < steps.mean <= 1.5 * (1 + 1e-12)
        assert 0 < steps.std <= 1.2
        assert 0 <= steps.held_back <= 0.6
        state = state.advance(state.path, 1.0, 1e-3, 0.1, n_valid, 0, dimension)
    assert steps.mean == pytest.approx(1.5, rel=1e-9)
    assert steps.held_back == 0
    for _ in range(400):  # gradients that cancel
        state = state.advance(state.path, 1e-6, 1.0, 0.1, n_valid, 0, dimension)
    assert state.log_gain == 0
    assert state.choose(0.3, 0.2, n_valid, dimension) == (0.3, 0.2, 0.0)
    assert state.advance(state.path, 0.0, 0.0, 0.0, n_valid, 0, dimension).log_gain == 0


@pytest.mark.parametrize("dimension", [1, 10, 100, 10_000])
@pytest.mark.parametrize("n_valid", [2, 12, 300])
def test_the_first_steps_are_lifted_until_the_path_speaks_against_it(dimension, n_valid):
    plain = 0.7 * min(1.2, 0.12 * n_valid / np.sqrt(dimension))
    lifted = min(1.0, 10 * plain)

    def after(generations, ratio, n_failed=0):
        """Return the mean step after generations whose path is ``ratio`` times that of uncorrelated gradients."""
        state = StepState.start(dimension)
        for _ in range(generations):
            energy = 0.95**2 * state.energy + 0.05**2
            state = state.advance(state.path, ratio * energy, 1.0, 0.0, n_valid, n_failed, dimension)
        return state.choose(None, None, n_valid, dimension).mean

    assert after(0, 1.0) == pytest.approx(max(lifted, plain), rel=1e-12)
    assert after(30, np.exp(0.2)) == pytest.approx(max(lifted, plain * np.exp(0.05 * 0.2 * 30)), rel=1e-9), "agreement"
    assert after(50, 1.0) == pytest.approx(max(lifted * np.exp(-0.05 * 0.2 * 50), plain), rel=1e-9), "noise"
    assert after(20, np.exp(-0.5)) == pytest.approx(max(lifted * np.exp(-0.05 * 0.7 * 20), plain), rel=1e-9)
    assert after(300, 1e-6) == pytest.approx(plain, rel=1e-9), "what is left is the rule for a long run"
    half_failed = after(4, np.exp(0.2), n_valid)
    assert half_failed == pytest.approx(plain * np.exp(0.05 * 0.2 * 4), rel=1e-9)


def test_a_region_that_cannot_be_evaluated_stops_no_search():
    def crashes_sometimes(x):
        if x[0] > 0.8:
            raise RuntimeError("no convergence")
        return [np.sum((x - 1) ** 2), np.sum((x + 1) ** 2)]

    for seed in range(30):
        result = pyasmg.minimize(crashes_sometimes, np.zeros(10), 0.5, max_evaluations=1000, seed=seed)
        assert result.x[0] < 0.8


def test_a_short_search_gets_away_from_its_start():
    d, left = 102, {}
    for step_size in ("auto", 0.7 * 0.12 * 12 / np.sqrt(102)):
        opt = pyasmg.ASMG(np.full(d, 1.0), 0.1, popsize=12, seed=3, step_size=step_size)
        for _ in range(60):
            X = opt.ask()
            opt.tell(X, (X**2).sum(axis=1))
        left[step_size] = (opt.mean**2).mean()
    automatic, for_long_runs = left.values()
    assert automatic < 0.5 * for_long_runs < 0.5


@pytest.mark.parametrize("m", [1, 3])
def test_pure_noise_moves_nothing_much(m):
    d, random = 500, np.random.default_rng(4)
    opt = pyasmg.ASMG(np.zeros(d), 1.0, popsize=20, seed=4)
    for _ in range(400):
        opt.tell(opt.ask(), random.normal(size=(20, m)))
    assert 0.7 < np.median(opt.stds) < 1.4
    assert opt.stds.max() < 20
    assert np.sqrt((opt.mean**2).mean()) < 2
    assert opt._step_state.log_gain < 1


def test_noise_as_large_as_the_signal_does_not_stop_progress():
    d, random = 100, np.random.default_rng(5)
    opt = pyasmg.ASMG(np.ones(d), 1.0, popsize=20, seed=5)
    levels = []
    for _ in range(1000):
        X = opt.ask()
        opt.tell(X, (X**2).sum(axis=1) + 10 * random.normal(size=20))
        levels.append((opt.mean**2).sum())
    assert np.mean(levels[200:250]) < 4
    assert np.mean(levels[950:]) < np.mean(levels[200:250])


def test_a_line_is_followed_with_growing_steps():
    d = 400
    opt = pyasmg.ASMG(np.zeros(d), 0.01, popsize=16, seed=6)
    way = []
    for _ in range(120):
        opt.tell(opt.ask(), opt.ask().sum(axis=1))
        way.append(-opt.mean.sum())
    assert opt._step_state.log_gain > 1
    assert opt._step_state.mistrust == 0
    stds = 0.01 * np.sqrt(d)  # of the sum
    assert way[20] - way[0] > 0.6 * 20 * stds, "nearly a standard deviation a generation from the start"
    assert way[-1] - way[-21] > 0.6 * 20 * stds


def test_the_gain_is_left_out_where_the_user_sets_the_steps():
    opt = pyasmg.ASMG(np.zeros(5), 1.0, popsize=10, seed=1, step_size=0.25, std_step_size=1e-9, mirrored=False)
    X = opt.ask()
    F = X.sum(axis=1)
    opt.tell(X, F)
    utility = (F - F.mean()) / F.std()
    np.testing.assert_allclose(opt.mean, -0.25 * X.T @ utility / 10, rtol=1e-5)
    np.testing.assert_allclose(opt.stds, 1, rtol=1e-8)


def test_popsize_is_even_by_default_and_odd_ones_work():
    for d in range(1, 200, 7):
        assert pyasmg.ASMG(np.zeros(d), 1.0).popsize % 2 == 0
    opt = pyasmg.ASMG(np.full(4, 2.0), 1.0, popsize=7, seed=2)
    for _ in range(300):
        X = opt.ask()
        np.testing.assert_allclose(X[0] - opt.mean, opt.mean - X[1], rtol=1e-12)
        opt.tell(X, (X**2).sum(axis=1))
    assert np.abs(opt.mean).max() < 1e-2


def test_a_population_that_is_kept_is_never_overwritten():
    opt = pyasmg.ASMG(np.zeros(50_000), 1.0, popsize=10, seed=3)  # 4 MB: large enough to be recycled
    kept = opt.ask()
    copy = kept.copy()
    opt.tell(kept, kept[:, :2])
    view = opt.ask()[3]
    row = view.copy()
    opt.tell(view[None] * np.ones((10, 1)), kept[:, :2])
    for _ in range(3):
        opt.tell(opt.ask(), kept[:, :2])
    np.testing.assert_array_equal(kept, copy)
    np.testing.assert_array_equal(view, row)
    first = opt.ask()
    address = first.ctypes.data
    del first
    assert opt.ask().ctypes.data == address, "memory that nobody holds is used again"


@pytest.mark.parametrize("sigma0", [1e-6, 1e-3])
def test_stds_that_are_far_too_small_grow(sigma0):
    d, seed = 20, 7
    opt = pyasmg.ASMG(np.full(d, 3.0), sigma0, seed=seed, max_evaluations=15_000)
    largest, grew = 0.0, 0
    while not opt.stop() and (opt.mean**2).sum() > 1e-8:
        X = opt.ask()
        opt.tell(X, (X**2).sum(axis=1))
        largest, grew = max(largest, opt.stds.max()), grew + (opt._step_state.growth > 0)
    assert (opt.mean**2).sum() <= 1e-8
    assert grew > 100
    assert 0.1 < largest < 20, "they grow to the size of the problem and not far beyond"


def test_stds_that_fit_do_not_grow():
    opt = pyasmg.ASMG(np.full(20, 3.0), 2.0, seed=7, max_evaluations=9000)
    grew = 0
    while not opt.stop():
        X = opt.ask()
        opt.tell(X, (X**2).sum(axis=1))
        grew += opt._step_state.growth > 0
    assert grew < 0.1 * opt.n_iterations


def test_no_growth_within_bounds_or_with_a_set_std_step():
    for options in ({"bounds": (-5.0, None)}, {"std_step_size": 0.05}):
        opt = pyasmg.ASMG(np.full(20, 3.0), 1e-3, seed=8, **options)
        for _ in range(300):
            X = opt.ask()
            opt.tell(X, X.sum(axis=1))
        assert opt.stds.max() < 2e-3


def test_a_search_that_grows_is_continued_with_the_same_bits():
    opt = pyasmg.ASMG(np.full(20, 3.0), 1e-3, seed=9)
    for _ in range(100):
        X = opt.ask()
        opt.tell(X, (X**2).sum(axis=1))
    assert opt._step_state.growth > 0
    again = pyasmg.ASMG.from_state_dict(opt.state_dict())
    for each in (opt, again):
        for _ in range(20):
            X = each.ask()
            each.tell(X, (X**2).sum(axis=1))
    np.testing.assert_array_equal(again.mean, opt.mean)
    np.testing.assert_array_equal(again.stds, opt.stds)
