"""The search itself: against the thesis, its invariances, and what it does with samples."""

import numpy as np
import pytest

import pyasmg
from pyasmg.problems import MixedEllipsoidRastrigin, ShiftedL1Ellipsoid, ShiftedLHalfEllipsoid
from tests.twins import asmg as twin

PAPER = {"step_size": 0.1, "std_step_size": 0.1, "scale_objectives": False, "baseline": "center"}


def quadratics(m, d, seed=0):
    random = np.random.default_rng(seed)
    centers, scales = random.normal(size=(m, d)), np.exp(random.normal(size=(m, d)))
    return lambda X: (scales * (np.atleast_2d(X)[:, None, :] - centers) ** 2).sum(axis=2)


def run(F, d=30, iterations=50, tell_x=True, **options):
    opt = pyasmg.ASMG(np.full(d, 0.5), 1.0, seed=3, **options)
    path = []
    for _ in range(iterations):
        X = opt.ask()
        opt.tell(X, F(X)) if tell_x else opt.tell(F(X))
        path.append((opt.mean, opt.stds, opt.weights))
    return opt, path


@pytest.mark.parametrize("m", [2, 3, 5])
@pytest.mark.parametrize("N", [10, 50])
def test_paper_mode_is_the_thesis(m, N):
    d = 40
    F = quadratics(m, d, seed=m)
    opt = pyasmg.ASMG(np.full(d, 0.5), 1.0, popsize=N, weight_momentum="harmonic", seed=m, **PAPER)
    mean, variance, weights = np.full(d, 0.5), np.ones(d), np.zeros(m)
    for t in range(50):
        X = opt.ask()
        assert X.shape == (N + 1, d)
        np.testing.assert_array_equal(X[0], opt.mean)
        z = (X[1:] - X[0]) / opt.stds
        values = F(X)
        opt.tell(X, values)
        mean, variance, weights = twin.paper_step(t, mean, variance, weights, z, values[1:], values[0], 0.1)
        np.testing.assert_allclose(opt.mean, mean, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(opt.stds**2, variance, rtol=1e-10)
        np.testing.assert_allclose(opt.weights, weights, rtol=1e-9, atol=1e-10)
    assert opt.n_evaluations == 50 * (N + 1)


def test_the_twins_qp_agrees_with_a_second_solver():
    random = np.random.default_rng(0)
    for _ in range(20):
        A = random.normal(size=(8, 4))
        gram = A.T @ A
        a, b = twin.simplex_qp(gram), twin.slsqp(gram)
        assert a @ gram @ a <= b @ gram @ b + 1e-9


@pytest.mark.parametrize("problem", [ShiftedL1Ellipsoid(100), ShiftedLHalfEllipsoid(100), MixedEllipsoidRastrigin(100)])
@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("objective", [0, 1])
def test_units_of_an_objective_do_not_matter(problem, factor, objective):
    unit = np.ones(2)
    unit[objective] = factor
    _, path = run(problem, d=100, iterations=200, popsize=20)
    _, scaled = run(lambda X: problem(X) * unit, d=100, iterations=200, popsize=20)
    # of the path at that moment: the largest difference over the largest value
    for a, b in zip(path, scaled, strict=True):
        for x, y in zip(a, b, strict=True):
            assert np.abs(x - y).max() <= 1e-9 * np.abs(x).max()


def test_an_offset_does_not_matter():
    F = quadratics(2, 30)
    _, path = run(F)
    _, shifted = run(lambda X: F(X) + np.array([1024.0, -4096.0]))
    np.testing.assert_allclose(path[-1][0], shifted[-1][0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_paths_do_not_depend_on_threads(dtype):
    F = quadratics(2, 20_000)
    paths = [run(F, d=20_000, iterations=4, popsize=30, dtype=dtype, n_threads=n)[1] for n in (1, 2, 4)]
    for other in paths[1:]:
        assert all(
            np.array_equal(a, b) for x, y in zip(paths[0], other, strict=True) for a, b in zip(x, y, strict=True)
        )


@pytest.mark.parametrize("baseline", ["mean", "center"])
@pytest.mark.parametrize("bounds", [None, (-1.0, 0.9)])
def test_regenerate_equals_tell_without_x_and_stores_nothing(baseline, bounds):
    F = quadratics(3, 30)
    _, path = run(F, tell_x=False, baseline=baseline, bounds=bounds)

    def one_by_one(population):
        assert not isinstance(population, np.ndarray)
        return np.array([F(x)[0] for x in population])

    regenerated, other = run(one_by_one, tell_x=False, baseline=baseline, bounds=bounds, memory="regenerate")
    for a, b in zip(path, other, strict=True):
        assert all(np.allclose(x, y, rtol=1e-12) for x, y in zip(a, b, strict=True))
    X = regenerated.ask()
    stored_row = regenerated.ask_one(2)
    assert len(X) == regenerated.n_candidates
    np.testing.assert_array_equal(X[2], stored_row)
    np.testing.assert_array_equal(X[-1], X[len(X) - 1])
    assert X[1:3].shape == (2, 30)
    with pytest.raises(IndexError):
        X[len(X)]
    regenerated.tell(one_by_one(X))
    with pytest.raises(RuntimeError, match="generation"):
        X[0]


def test_ask_is_repeatable_and_one_by_one():
    opt = pyasmg.ASMG(np.zeros(77), 1.0, seed=0, popsize=9)
    X = opt.ask()
    assert X.flags.c_contiguous
    np.testing.assert_array_equal(opt.ask(), X)
    for i in range(9):
        np.testing.assert_array_equal(opt.ask_one(i), X[i])
    opt.tell(X, X[:, :2])
    assert not np.array_equal(opt.ask(), X)


def test_seed_repeats_the_search_and_global_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a, b = pyasmg.ASMG(np.zeros(5), 1.0), pyasmg.ASMG(np.zeros(5), 1.0)
    assert a.seed != b.seed
    again = pyasmg.ASMG(np.zeros(5), 1.0, seed=a.seed)
    np.testing.assert_array_equal(a.ask(), again.ask())
    assert not np.array_equal(a.ask(), b.ask())
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    largest = pyasmg.ASMG(np.zeros(5), 1.0, seed=2**64 - 1)
    assert np.isfinite(largest.ask()).all()


def test_inputs_are_copied_and_never_changed():
    x0, sigma0, F = np.zeros(6), np.ones(6), np.arange(16.0).reshape(8, 2)
    opt = pyasmg.ASMG(x0, sigma0, popsize=8, seed=1)
    X = opt.ask()
    kept, values = X.copy(), F.copy()
    opt.tell(X, F)
    opt.ask()
    assert not x0.any()
    assert (sigma0 == 1).all()
    np.testing.assert_array_equal(X, kept)
    np.testing.assert_array_equal(F, values)
    opt.mean[:] = 7
    opt.stds[:] = 7
    opt.weights[:] = 7
    assert not (opt.mean == 7).any()
    assert not (opt.stds == 7).any()
    assert not (opt.weights == 7).any()


def test_failed_rows_are_dropped_and_counted():
    F = quadratics(2, 30)
    a = pyasmg.ASMG(np.zeros(30), 1.0, popsize=12, seed=1)
    X = a.ask()
    values = F(X)
    values[[2, 5]] = [[np.nan, 1.0], [1.0, np.inf]]
    poisoned = X.copy()
    poisoned[[2, 5]] = np.nan
    b = pyasmg.ASMG(np.zeros(30), 1.0, popsize=12, seed=1)
    b.ask()
    a.tell(X, values)
    b.tell(poisoned, values)
    np.testing.assert_array_equal(a.mean, b.mean)
    assert (a.n_failed, a.n_evaluations) == (2, 12)
    assert np.isfinite(a.mean).all()
    # the two rows are as if never drawn: equal to the numpy estimate over the other ten
    good = np.delete(np.arange(12), [2, 5])
    z = X[good]
    w = F(X)[good]
    w = (w - w.mean(axis=0)) / w.std(axis=0)
    aggregated = w @ a.weights
    direction = z.T @ (aggregated / aggregated.std()) / 10
    cosine = -(a.mean @ direction) / np.linalg.norm(a.mean) / np.linalg.norm(direction)
    assert cosine == pytest.approx(1, abs=1e-9)


def test_one_good_row_is_no_information():
    opt = pyasmg.ASMG(np.zeros(4), 1.0, popsize=5, seed=1)
    X = opt.ask()
    F = np.full((5, 2), np.nan)
    F[3] = 1
    opt.tell(X, F)
    assert not opt.mean.any()
    assert (opt.stds == 1).all()
    assert (opt.n_iterations, opt.n_failed) == (1, 4)


def test_failed_center_falls_back_to_the_mean_of_the_generation():
    opt = pyasmg.ASMG(np.zeros(4), 1.0, popsize=5, seed=1, **PAPER)
    X = opt.ask()
    F = X[:, :2].copy()
    F[0] = np.nan
    opt.tell(X, F)
    assert opt.n_failed == 1
    assert np.isfinite(opt.mean).all()
    assert opt.mean.any()


def test_constant_objectives_make_no_progress_and_no_nan():
    opt, _ = run(lambda X: np.ones((len(X), 3)), iterations=30)
    np.testing.assert_array_equal(opt.mean, np.full(30, 0.5))
    assert (opt.stds == 1).all()
    np.testing.assert_allclose(opt.weights, 1 / 3)
    assert opt.stationarity == 0


def test_one_constant_objective_does_not_stop_the_others():
    opt, _ = run(lambda X: np.column_stack(((X**2).sum(axis=1), np.ones(len(X)))), iterations=200)
    assert np.abs(opt.mean).max() < 0.2
    np.testing.assert_allclose(opt.weights, [1, 0])


def test_changed_candidates_count_where_they_were_evaluated():
    F = quadratics(1, 30)
    a = pyasmg.ASMG(np.zeros(30), 1.0, popsize=12, seed=1)
    X = a.ask()
    X[3] = X[4]
    a.tell(X, F(X))
    z = X
    w = F(X)[:, 0]
    direction = z.T @ ((w - w.mean()) / w.std()) / 12
    assert -(a.mean @ direction) / np.linalg.norm(a.mean) / np.linalg.norm(direction) == pytest.approx(1, abs=1e-9)


def test_an_injected_outlier_cannot_throw_the_search_away():
    opt = pyasmg.ASMG(np.zeros(50), 1.0, popsize=12, seed=1)
    for _ in range(20):
        X = opt.ask()
        X[0] = 1e9
        opt.tell(X, ((X - 1) ** 2).sum(axis=1))
    assert np.abs(opt.mean).max() < 20


@pytest.mark.parametrize("weighting", ["pareto", "equal", "level", "chebyshev", (1, 2, 3)])
def test_each_weighting_descends_all_objectives_from_far_away(weighting):
    F = quadratics(3, 30)
    opt = pyasmg.ASMG(np.full(30, 20.0), 1.0, seed=5, weighting=weighting)
    start = F(opt.mean)[0]
    for _ in range(150):
        X = opt.ask()
        opt.tell(X, F(X))
    assert (F(opt.mean)[0] < 0.2 * start).all()
    assert opt.weights.sum() == pytest.approx(1)
    assert (opt.weights >= 0).all()


def test_single_objective():
    opt = pyasmg.ASMG(np.full(20, 3.0), 1.0, seed=2)
    for _ in range(600):
        X = opt.ask()
        opt.tell(X, ((X - 1) ** 2).sum(axis=1))
    assert np.abs(opt.mean - 1).max() < 1e-3
    np.testing.assert_array_equal(opt.weights, [1.0])


def test_bounds_every_candidate_is_feasible_and_the_optimum_on_a_side_is_found():
    low, high = np.full(20, -1.0), np.full(20, 2.0)
    low[0], high[1] = -np.inf, np.inf
    opt = pyasmg.ASMG(np.full(20, 0.5), 1.0, bounds=(low, high), seed=1)
    target = np.linspace(-3, 4, 20)  # partly outside
    for _ in range(1500):
        X = opt.ask()
        assert ((low <= X) & (high >= X)).all()
        opt.tell(X, ((X - target) ** 2).sum(axis=1))
    np.testing.assert_allclose(opt.mean, np.clip(target, low, high), atol=0.02)
    assert ((opt.mean >= low) & (opt.mean <= high)).all()


def test_a_side_that_objectives_do_not_agree_on_does_not_disturb_the_rest():
    """DTLZ2's shape: the first coordinate chooses a point of the front, the others how far it is behind."""

    def F(X):
        behind = 1 + ((X[:, 1:] - 0.5) ** 2).sum(axis=1)
        return np.stack([behind * np.cos(X[:, 0] * np.pi / 2), behind * np.sin(X[:, 0] * np.pi / 2)], axis=1)

    for seed in range(3):
        opt = pyasmg.ASMG(np.full(20, 0.3), 0.3, bounds=(0.0, 1.0), seed=seed)
        while not opt.stop() and opt.n_evaluations < 12_000:
            X = opt.ask()
            assert ((X >= 0) & (X <= 1)).all()
            opt.tell(X, F(X))
        assert ((opt.mean >= 0) & (opt.mean <= 1)).all()
        assert (opt.stds <= 1).all()
        assert np.abs(opt.mean[1:] - 0.5).max() < 1e-3, seed


def test_float32_bounds_round_to_the_inside():
    low, high = 0.1, 0.3  # neither is a float32 number
    opt = pyasmg.ASMG(np.full(50, 0.1), 1.0, bounds=(low, high), seed=1, dtype="float32")
    X = opt.ask().astype(np.float64)
    assert ((low <= X) & (high >= X)).all()
    assert (opt.mean.astype(np.float64) >= low).all()


def test_stationarity_is_free_of_units_and_falls():
    F = quadratics(2, 10)
    values = {}
    for name, options in {"scaled": {}, "raw": {"scale_objectives": False}}.items():
        for unit in (1.0, 1e6):
            opt = pyasmg.ASMG(np.full(10, 8.0), 1.0, popsize=200, seed=1, **options)
            X = opt.ask()
            opt.tell(X, F(X) * [unit, 1.0])
            values[name, unit] = opt.stationarity
    assert len({round(value, 4) for value in values.values()}) == 1
    opt, _ = run(F, d=10, iterations=300, popsize=100)
    assert opt.stationarity < 0.1 * values["scaled", 1.0]


def test_extreme_starts_stay_finite():
    for dtype, far in (("float32", 1e25), ("float64", 1e140)):
        opt = pyasmg.ASMG(np.full(5, far), far, seed=1, dtype=dtype)
        for _ in range(100):
            X = opt.ask()
            opt.tell(X, np.abs(X.astype(np.float64)).sum(axis=1))
        assert np.isfinite(opt.mean).all()
        assert (opt.stds > 0).all()
