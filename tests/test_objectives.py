"""Conditioning of objective values against its twin, and in the extremes of float64."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins import estimator as twin


def check(F, center, standardise, rtol=1e-12):
    got = _core.condition_objectives(np.ascontiguousarray(F, float), center, standardise)
    expected = twin.condition_objectives(F, center, standardise)
    for name, a, b in zip(("w", "valid", "n", "offset", "scale", "median", "spread"), got, expected, strict=True):
        np.testing.assert_allclose(
            a,
            b,
            rtol=rtol,
            atol=(1e-6 / len(F) if standardise and name == "w" else 1e-14 * np.abs(np.asarray(b, float)).max()),
            err_msg=name,
        )
    return got


@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("with_center", [False, True])
@pytest.mark.parametrize(("N", "m"), [(2, 1), (7, 3), (100, 2), (5, 40)])
def test_twin(N, m, with_center, standardise):
    random = np.random.default_rng(N * m)
    F = random.normal(size=(N, m)) * 10.0 ** random.integers(-3, 4, size=m) + 5
    center = random.normal(size=m) if with_center else None
    check(F, center, standardise)
    if N > 4:
        F[1, 0], F[3, m - 1] = np.nan, -np.inf
        check(F, center, standardise)


def test_constant_objective_has_no_weight():
    F = np.array([[1.0, 3.0], [2.0, 3.0], [4.0, 3.0]])
    w, _, _, _, scale, _, _ = check(F, None, True)
    assert scale[1] == 0
    assert (w[:, 1] == 0).all()
    w = _core.condition_objectives(F, np.array([0.0, 1.0]), False)[0]
    np.testing.assert_allclose(w[:, 1], 2 / 3)


@pytest.mark.parametrize("unit", [5e-324, 1e-300, 1e-6, 1e6, 1e300, 1.7e308])
def test_any_unit(unit):
    F = np.array([[-1.0], [0.0], [1.0]]) * unit
    w, _, n, offset, scale, _, _ = _core.condition_objectives(F, None, True)
    assert n == 3
    if unit > 1e-300:
        np.testing.assert_allclose(w[:, 0], np.array([-1, 0, 1]) * np.sqrt(1.5) / 3, rtol=1e-6)
        np.testing.assert_allclose(scale, unit * np.sqrt(2 / 3), rtol=1e-12)
    assert np.isfinite(w).all()
    assert np.isfinite(offset).all()


def test_all_rows_failed():
    w, valid, n, *_ = _core.condition_objectives(np.full((4, 2), np.nan), None, True)
    assert n == 0
    assert not w.any()
    assert not valid.any()


def test_aggregate():
    random = np.random.default_rng(3)
    F, z = random.normal(size=(50, 3)), random.normal(size=(50, 20))
    F[4] = np.nan
    weights = np.array([0.2, 0.3, 0.5])
    for center in (None, np.array([0.1, 0.2, 0.3])):
        w, valid, n, *_ = _core.condition_objectives(F, center, True)
        good = valid.astype(bool)
        norms = np.where(good, (z**2).sum(axis=1), 0)
        combined = (F[good] / F[good].std(axis=0)) @ weights
        std, gradient = _core.aggregate(w, valid, n, weights, norms, 20)
        assert std == pytest.approx(combined.std(), rel=1e-5)
        centred = combined - combined.mean()
        H = 0.5 * (centred[:, None] * (z[good] ** 2 - 1)).mean(axis=0)
        assert gradient == pytest.approx(H.mean(), rel=1e-4)
    assert _core.aggregate(np.zeros((5, 2)), np.ones(5, np.uint8), 5, np.ones(2), np.ones(5), 3) == (0, 0)


def test_follow_scales():
    random = np.random.default_rng(0)
    scales = np.exp(5 * random.normal(size=(40, 3)))
    scales[5:9, 1] = 0
    scales[:, 2] = 0
    log_unit, count = np.zeros(3), np.zeros(3)
    for t, scale in enumerate(scales):
        kept = log_unit.copy()
        ratio, new, new_count = _core.follow_scales(scale, log_unit, count)
        np.testing.assert_array_equal(log_unit, kept)
        log_unit, count = new, new_count
        expected = twin.follow_scales(scales[: t + 1])
        np.testing.assert_allclose(ratio, expected[0], rtol=2e-6)
        np.testing.assert_allclose(log_unit, expected[1], rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(count, expected[2])
    ratio, *_ = _core.follow_scales(np.array([5e-324, 1e-310, 1.7e308]), np.zeros(3), np.zeros(3))
    np.testing.assert_allclose(ratio, 1)
    ratio, *_ = _core.follow_scales(np.array([1e308]), np.array([-745.0]), np.array([9.0]))
    assert np.isfinite(ratio).all()


def test_rounding_errors_of_the_units_end_here():
    random = np.random.default_rng(1)
    F = random.normal(size=(100, 2)) + 100
    a = _core.condition_objectives(F, None, True)[0]
    b = _core.condition_objectives(F * 1e6, None, True)[0]
    assert a.tobytes() == b.tobytes()
