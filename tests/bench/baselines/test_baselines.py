"""Every baseline on a problem with a known answer, and those written here or wrapped beside their packages."""

import numpy as np
import pytest

from bench import baselines
from bench.baselines.es import centred_ranks

TARGET = np.array([0.3, -0.2, 0.5, 0.1, -0.4])


def sphere(X):
    return ((X - TARGET) ** 2).sum(axis=1)


def search(optimizer, fun, generations):
    for _ in range(generations):
        X = optimizer.ask()
        optimizer.tell(X, fun(X))
        if optimizer.stop():
            break
    return optimizer


@pytest.mark.parametrize(
    ("name", "package", "options", "error"),
    [
        ("CmaFull", "cma", {}, 1e-5),
        ("CmaDiagonal", "cma", {}, 1e-5),
        ("SepCma", "cmaes", {}, 1e-5),
        ("MMES", "pypop7", {}, 1e-5),
        ("ES", None, {}, 0.02),  # a fixed step of 0.01
        ("BES", None, {"learning_rate": 0.1}, 0.05),  # biased by no more than its radius
    ],
)
def test_the_minimum_of_a_sphere(name, package, options, error):
    if package:
        pytest.importorskip(package)
    sigma0 = 0.1 if name in ("ES", "BES") else 0.5
    optimizer = getattr(baselines, name)(np.ones(5), sigma0, 10, 3, **options)
    search(optimizer, sphere, 500)
    assert np.abs(optimizer.mean - TARGET).max() < error, optimizer.mean


@pytest.mark.parametrize("name", ["CmaFull", "CmaDiagonal", "SepCma", "MMES", "ES", "BES", "RandomSearch"])
def test_the_seed_decides_and_the_input_stays(name):
    pytest.importorskip(
        {"CmaFull": "cma", "CmaDiagonal": "cma", "SepCma": "cmaes", "MMES": "pypop7"}.get(name, "numpy")
    )
    x0 = np.ones(4)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (getattr(baselines, name)(x0, 0.5, 8, seed) for seed in (5, 5, 6))
    for _ in range(3):
        X, Y, Z = first.ask(), again.ask(), other.ask()
        np.testing.assert_array_equal(X, Y)
        assert not np.array_equal(X, Z)
        for optimizer, points in ((first, X), (again, Y), (other, Z)):
            optimizer.tell(points, (points**2).sum(axis=1))
    np.testing.assert_array_equal(x0, np.ones(4))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("name", ["CmaFull", "SepCma", "MMES", "ES", "BES", "RandomSearch"])
def test_failed_evaluations_count_as_the_worst(name):
    pytest.importorskip({"CmaFull": "cma", "SepCma": "cmaes", "MMES": "pypop7"}.get(name, "numpy"))
    optimizer = getattr(baselines, name)(np.ones(5), 0.1, 10, 3)
    for _ in range(5):
        X = optimizer.ask()
        f = sphere(X)
        f[3] = np.nan
        optimizer.tell(X, f)
    assert np.isfinite(optimizer.mean).all()
    with pytest.raises(ValueError, match=r"`f` must have shape \(n,\)"):
        optimizer.tell(optimizer.ask(), np.zeros(3))


def test_random_search_recommends_the_best_sample():
    optimizer, asked = baselines.RandomSearch(np.ones(5), 0.5, 10, 3), []
    for _ in range(20):
        X = optimizer.ask()
        asked.append(X)
        optimizer.tell(X, sphere(X))
    asked = np.concatenate(asked)
    np.testing.assert_array_equal(optimizer.mean, asked[np.argmin(sphere(asked))])
    np.testing.assert_allclose(asked.std(axis=0), 0.5, rtol=0.2)  # 200 samples of the start's distribution


def test_input_is_checked():
    with pytest.raises(ValueError, match="`sigma0` must be > 0; got 0"):
        baselines.ES([0.0], 0)
    with pytest.raises(ValueError, match="`popsize` must be >= 2; got 1"):
        baselines.BES([0.0], 1, 1)
    with pytest.raises(ValueError, match=r"shape \(d,\)"):
        baselines.ES([[0.0]], 1)


def test_bounds_hold():
    box = (np.array([0.0, 0.0]), np.array([1.0, 2.0]))
    for name, package in (("CmaFull", "cma"), ("SepCma", "cmaes"), ("RandomSearch", "numpy")):
        pytest.importorskip(package)
        optimizer = getattr(baselines, name)([0.5, 0.5], 0.5, 10, 1, bounds=box)
        for _ in range(20):
            X = optimizer.ask()
            assert (box[0] <= X).all(), name
            assert (box[1] >= X).all(), name
            optimizer.tell(X, ((X + 1) ** 2).sum(axis=1))
        assert (optimizer.mean >= 0).all(), name
        assert np.abs(optimizer.mean).max() < 0.3, name


def test_mmes_is_the_packages_search():
    """The same candidates, in the same order, as pypop7's own loop asks for."""
    mmes = pytest.importorskip("pypop7.optimizers.es.mmes")
    d, popsize, generations, asked = 7, 10, 40, []

    def record(x):
        asked.append(np.array(x))
        return float(np.sum((x - 1) ** 4))

    problem = {"fitness_function": record, "ndim_problem": d}
    problem |= {"lower_boundary": np.full(d, -9.0), "upper_boundary": np.full(d, 9.0)}
    options = {"mean": np.full(d, 3.0), "sigma": 0.7, "n_individuals": popsize, "seed_rng": 4, "verbose": False}
    mmes.MMES(problem, {**options, "max_function_evaluations": 1 + popsize * generations}).optimize()

    ours, mine = baselines.MMES(np.full(d, 3.0), 0.7, popsize, 4), []
    for _ in range(generations):
        X = ours.ask()
        mine += list(X)
        ours.tell(X, ((X - 1) ** 4).sum(axis=1))
    np.testing.assert_array_equal(np.array(mine), np.array(asked))
    assert len(mine) == 1 + popsize * generations


def test_bes_makes_the_packages_step():
    """pypop7 has the same step: same directions, same mean."""
    bes = pytest.importorskip("pypop7.optimizers.rs.bes")
    d, popsize = 6, 8
    x0, rows = np.linspace(-1, 1, d), []

    def record(x):
        rows.append(np.array(x))
        return float(np.sum(np.abs(x) ** 1.5))

    problem = {"fitness_function": record, "ndim_problem": d}
    problem |= {"lower_boundary": np.full(d, -9.0), "upper_boundary": np.full(d, 9.0)}
    package = bes.BES(problem, {"seed_rng": 1, "n_individuals": popsize, "lr": 0.05, "c": 0.2, "x": x0.copy()})
    package.start_time = 0.0
    x, y = package.initialize()
    stepped, _ = package.iterate(x, y)

    ours = baselines.BES(x0, 0.2, popsize, 1, learning_rate=0.05)
    ours.ask()
    ours._directions = (np.array(rows[1:]) - x0) / 0.2
    ours.tell(np.array(rows), [float(np.sum(np.abs(row) ** 1.5)) for row in rows])
    np.testing.assert_allclose(ours.mean, stepped, rtol=1e-12)


def test_bes_directions_are_standardised_bernoulli():
    bes = baselines.BES(np.zeros(50), 0.5, 4000, 2)
    Z = (bes.ask()[1:]) / 0.5
    assert set(np.unique(Z)) == {-1.0, 1.0}
    assert np.abs(Z.mean(axis=0)).max() < 5 / np.sqrt(4000)


def test_es_takes_evosaxs_gradient():
    """Mirrored pairs, centred ranks and the same gradient as evosax's Open_ES; then one step of Adam."""
    pytest.importorskip("evosax")
    from evosax.core.fitness_shaping import centered_rank_fitness_shaping_fn as shaping

    d, popsize, sigma = 6, 12, 0.2
    es = baselines.ES(np.ones(d), sigma, popsize, 9)
    X = es.ask()
    np.testing.assert_allclose(X[:6] + X[6:], 2.0, rtol=1e-14)
    f = ((X - 0.3) ** 2).sum(axis=1)
    ranks = np.asarray(shaping(X, f, None, None))
    np.testing.assert_allclose(centred_ranks(f), ranks, atol=1e-6)
    gradient = ranks @ ((X - 1.0) / sigma) / (popsize * sigma)
    es.tell(X, f)
    np.testing.assert_allclose(es.mean, 1.0 - 0.01 * np.sign(gradient), rtol=1e-5)  # Adam's first step


def test_centred_ranks_share_ties():
    np.testing.assert_allclose(centred_ranks(np.array([3.0, 1.0, 3.0, 2.0, np.inf])), [0.125, -0.5, 0.125, -0.25, 0.5])
