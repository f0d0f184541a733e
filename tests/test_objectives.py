"""Conditioning of objective values against its twin, and in the extremes of float64."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins import estimator as twin


def check(F, center, standardise, rtol=1e-12):
    got = _core.condition_objectives(np.ascontiguousarray(F, float), center, standardise)
    expected = twin.condition_objectives(F, center, standardise)
    for name, a, b in zip(("w", "valid", "n", "offset", "scale", "median", "spread"), got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14 * np.abs(np.asarray(b, float)).max(), err_msg=name)
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
        np.testing.assert_allclose(w[:, 0], np.array([-1, 0, 1]) * np.sqrt(1.5) / 3, rtol=1e-12)
        np.testing.assert_allclose(scale, unit * np.sqrt(2 / 3), rtol=1e-12)
    assert np.isfinite(w).all()
    assert np.isfinite(offset).all()


def test_all_rows_failed():
    w, valid, n, *_ = _core.condition_objectives(np.full((4, 2), np.nan), None, True)
    assert n == 0
    assert not w.any()
    assert not valid.any()


def test_aggregated_std():
    random = np.random.default_rng(3)
    F = random.normal(size=(50, 3))
    F[4] = np.nan
    w, valid, n, *_ = _core.condition_objectives(F, None, True)
    weights = np.array([0.2, 0.3, 0.5])
    good = F[valid.astype(bool)]
    expected = ((good / good.std(axis=0)) @ weights).std()
    assert _core.aggregated_std(w, valid, n, weights) == pytest.approx(expected, rel=1e-13)
    assert _core.aggregated_std(np.zeros((5, 2)), np.ones(5, np.uint8), 5, np.ones(2)) == 0
