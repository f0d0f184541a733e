"""The step of mean and stds against its twin."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins import estimator as twin

DTYPES = [np.float32, np.float64]


def case(d, m, dtype, seed=0, scale=1.0):
    random = np.random.default_rng(seed)
    return (
        random.normal(size=d).astype(dtype),
        np.exp(random.normal(size=d)).astype(dtype),
        (scale * random.normal(size=(m, d))).astype(dtype),
        (scale * random.normal(size=(m, d))).astype(dtype),
        random.random(m),
    )


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "m"), [(1, 1), (1023, 2), (3001, 5)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_twin(d, m, dtype, inverse, scale, simd_level):
    mean, std, P, H, c = case(d, m, dtype, scale=scale)
    expected_mean, expected_std = twin.update(
        mean.astype(float), std.astype(float), P.astype(float), H.astype(float), c, 0.7, 0.3, inverse
    )
    max_std, min_std, finite, effective = _core.update_distribution(mean, std, None, None, P, H, c, 0.7, 0.3, inverse)
    rtol = 1e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(mean, expected_mean, rtol=rtol, atol=rtol * scale * 10)
    np.testing.assert_allclose(std, expected_std, rtol=rtol)
    assert (max_std, min_std) == (std.max(), std.min())
    assert finite
    assert effective


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_on_every_level(dtype):
    before = _core.simd_level()
    results = []
    try:
        for level in _core.simd_levels():
            _core.set_simd_level(level)
            for inverse in (False, True):
                mean, std, P, H, c = case(5001, 3, dtype)
                _core.update_distribution(mean, std, None, None, P, H, c, 0.5, 0.5, inverse)
                results.append((inverse, mean.tobytes(), std.tobytes()))
    finally:
        _core.set_simd_level(before)
    assert len(set(results)) == 2


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_stds_stay_positive_for_any_step(dtype, inverse):
    mean, std, P, H, c = case(500, 2, dtype, scale=1e6)
    before = std.copy()
    for _ in range(2000):
        _core.update_distribution(mean.copy(), std, None, None, P, H, c, 1.4, 1.4, inverse)
        assert (std > 0).all()
        assert np.isfinite(std).all()
        assert np.isfinite(1 / std).all()
    assert std.max() > before.max()


def test_bounds_fold_the_mean_and_hold_the_std():
    low, high = np.zeros(3), np.array([1.0, 1.0, np.inf])
    mean, std = np.array([0.9, 0.5, 0.1]), np.array([0.5, 0.9, 5.0])
    P = np.array([[-1.0, 0.0, 1.0]])
    H = np.array([[0.0, -10.0, -10.0]])
    _core.update_distribution(mean, std, low, high, P, H, np.ones(1), 0.4, 1.0, False)
    np.testing.assert_allclose(mean, [0.9, 0.5, 1.9], rtol=1e-14)  # 0.9 + 0.2 -> 1.1 -> 0.9; 0.1 - 2.0 -> 1.9
    np.testing.assert_allclose(std, [0.5, 1.0, 10.0], rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_summary_sees_overflow_and_lost_effect(dtype):
    mean, std, P, H, c = case(100, 1, dtype)
    P[0, 50] = 1e35 if dtype == np.float32 else 1e200
    assert _core.update_distribution(mean.copy(), std.copy(), None, None, P, H, c, 1.0, 1.0, False)[2] is False
    P[0, 50] = np.nan
    assert _core.update_distribution(mean.copy(), std.copy(), None, None, P, H, c, 1.0, 1.0, False)[2] is False
    std[:] = 1e-25
    mean[:] = 1
    P[0, 50] = 0
    assert _core.update_distribution(mean, std, None, None, P, H, c, 1.0, 1.0, False)[3] is False
