"""Thesis problems (4.21)-(4.23)."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from pyasmg.problems import MixedEllipsoidRastrigin, ShiftedL1Ellipsoid, ShiftedLHalfEllipsoid

PROBLEMS = [ShiftedL1Ellipsoid, ShiftedLHalfEllipsoid, MixedEllipsoidRastrigin]
SEED = 20240


def printed_formula(problem, x):
    """The equations as printed, coordinate by coordinate."""
    d = problem.d
    first = second = 0.0
    for i in range(1, d + 1):
        ratio = (i - 1) / (d - 1)
        if isinstance(problem, ShiftedL1Ellipsoid):
            first += 10 ** (2 * ratio) * abs(x[i - 1] - 0.01)
            second += 10 ** (2 * ratio) * abs(x[i - 1] + 0.01)
        elif isinstance(problem, ShiftedLHalfEllipsoid):
            first += abs(x[i - 1] - 0.1) ** 0.5
            second += abs(x[i - 1] + 0.1) ** 0.5
        else:
            first += 10 ** (2 * ratio) * abs(x[i - 1]) ** 0.5
            u = 10**ratio * x[i - 1]
            second += 10 + u**2 - 10 * np.cos(2 * np.pi * u)
    return [first, second]


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("d", [2, 3, 100])
def test_equals_the_printed_formula(kind, d):
    problem = kind(d)
    for x in np.random.default_rng(SEED).uniform(-2, 2, size=(5, d)):
        np.testing.assert_allclose(problem(x), printed_formula(problem, x), rtol=1e-12, err_msg=f"{SEED=}")


@pytest.mark.parametrize(
    ("problem", "x", "expected"),
    [
        (ShiftedL1Ellipsoid(2), [0.01, 0.01], [0.0, 2.02]),
        (ShiftedL1Ellipsoid(3), [1.01, 0.01, -0.99], [101.0, 1.02 + 0.2 + 98.0]),
        (ShiftedL1Ellipsoid(1), [0.03], [0.02, 0.04]),
        (ShiftedLHalfEllipsoid(2), [0.1, 0.1], [0.0, 2 * np.sqrt(0.2)]),
        (ShiftedLHalfEllipsoid(3), [0.35, -0.15, 0.1], [1.0, np.sqrt(0.45) + np.sqrt(0.05) + np.sqrt(0.2)]),
        (ShiftedLHalfEllipsoid(1), [4.1], [2.0, np.sqrt(4.2)]),
        (MixedEllipsoidRastrigin(2), [0.25, 0.0], [0.5, 10.0625]),
        (MixedEllipsoidRastrigin(2), [0.0, 0.04], [20.0, 10 + 0.16 - 10 * np.cos(0.8 * np.pi)]),
        (MixedEllipsoidRastrigin(1), [1.0], [1.0, 1.0]),
    ],
)
def test_hand_computed_values(problem, x, expected):
    np.testing.assert_allclose(problem(x), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("d", [1, 2, 37])
def test_a_batch_equals_its_points_bit_for_bit(kind, d):
    problem = kind(d)
    X = np.random.default_rng(SEED).normal(size=(6, d))
    before = X.copy()
    F, distance = problem(X), problem.distance(X)
    assert F.shape == (6, problem.n_objectives) == (6, 2)
    assert F.dtype == np.float64
    assert distance.shape == (6,)
    for x, f, e in zip(X, F, distance, strict=True):
        assert np.array_equal(problem(x), f), f"{SEED=}"
        assert isinstance(problem.distance(x), float)
        assert problem.distance(x) == e, f"{SEED=}"
    assert np.array_equal(problem(np.asfortranarray(X)), F)
    assert problem(X[:0]).shape == (0, 2)
    assert np.array_equal(X, before)


@pytest.mark.parametrize("d", [1, 2, 100])
def test_pareto_sets(d):
    rng = np.random.default_rng(SEED)
    weights = 10.0 ** (2 * np.arange(d) / max(d - 1, 1))

    box = rng.uniform(-0.01, 0.01, size=(20, d))
    problem = ShiftedL1Ellipsoid(d)
    assert np.all(problem.distance(box) == 0)
    np.testing.assert_allclose(problem(box).sum(axis=1), 0.02 * weights.sum(), rtol=1e-12)
    outside = rng.normal(size=(20, d))
    assert np.all(problem(outside).sum(axis=1) > 0.02 * weights.sum())

    corners = rng.choice([-0.1, 0.1], size=(20, d))
    problem = ShiftedLHalfEllipsoid(d)
    assert np.all(problem.distance(corners) == 0)
    np.testing.assert_allclose(problem(corners).sum(axis=1), d * np.sqrt(0.2), rtol=1e-12)
    assert np.all(problem(outside).sum(axis=1) > d * np.sqrt(0.2))

    problem = MixedEllipsoidRastrigin(d)
    assert problem.distance(np.zeros(d)) == 0
    assert np.array_equal(problem(np.zeros(d)), [0.0, 0.0])
    assert np.all(problem(outside) > 0)


def test_distances_of_known_points():
    assert ShiftedL1Ellipsoid(3).distance([3.01, -4.01, 0.005]) == pytest.approx(5.0, rel=1e-14)
    assert ShiftedLHalfEllipsoid(3).distance([3.1, -4.1, 0.1]) == pytest.approx(5.0, rel=1e-14)
    assert ShiftedLHalfEllipsoid(4).distance(np.zeros(4)) == pytest.approx(0.2, rel=1e-14)
    assert MixedEllipsoidRastrigin(2).distance([3.0, -4.0]) == 5.0


def test_rastrigin_keeps_its_digits_near_the_optimum():
    # F_2 = u^2 + 20 sin^2(pi u) ~ (1 + 20 pi^2) u^2; as printed it cancels to 0 below u ~ 1e-8
    problem = MixedEllipsoidRastrigin(1)
    assert problem([1e-9])[1] == pytest.approx((1 + 20 * np.pi**2) * 1e-18, rel=1e-9)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_refuses_in_words(kind):
    problem = kind(100)
    message = r"^`x` must have shape \(d,\) or \(N, d\) with d = 100; got \(7,\)\.$"
    for call in (problem, problem.distance):
        with pytest.raises(ValueError, match=message):
            call(np.zeros(7))
        with pytest.raises(ValueError, match=r"got \(2, 3, 100\)\.$"):
            call(np.zeros((2, 3, 100)))
        with pytest.raises(ValueError, match=r"got \(\)\.$"):
            call(0.0)
    with pytest.raises(ValueError, match=r"^`d` must be an integer >= 1; got 0\.$"):
        kind(0)
    for d in (2.0, "2", True, None):
        with pytest.raises(TypeError, match=r"^`d` must be an integer >= 1; got "):
            kind(d)


@pytest.mark.parametrize("kind", PROBLEMS)
def test_is_a_value(kind):
    problem = kind(5)
    assert problem == kind(5) != kind(6)
    assert hash(problem) == hash(kind(5))
    assert pickle.loads(pickle.dumps(problem)) == problem
    with pytest.raises(AttributeError):
        problem.d = 6


def test_needs_numpy_only():
    code = (
        "import sys, pyasmg.problems as p; p.ShiftedL1Ellipsoid, p.ShiftedLHalfEllipsoid;"
        "p.MixedEllipsoidRastrigin, p.DigitsProblem;"
        "print(sorted({'scipy', 'sklearn', 'matplotlib', 'cma', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_names_what_it_has():
    import pyasmg.problems as package

    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing
