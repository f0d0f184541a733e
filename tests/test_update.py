"""The step of mean and stds against its twin."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins import estimator as twin

DTYPES = [np.float32, np.float64]


def update(mean, std, low, high, P, H, c, mean_step, std_step, inverse, shift=0.0):
    """Return (new mean, new std, summary); nothing that was passed is changed."""
    P, H, before = P.copy(), H.copy(), (mean.copy(), std.copy())
    options = (mean_step, std_step, shift, inverse, None, None, 1, 0.0, 1)
    summary = _core.update_distribution(mean, std, low, high, P, H, c, *options)[:4]
    assert mean.tobytes() == before[0].tobytes()
    assert std.tobytes() == before[1].tobytes()
    return P[0], H[0], summary


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
@pytest.mark.parametrize(("scale", "shift"), [(0.1, 0.0), (1.0, 0.2), (30.0, -0.3)])
def test_twin(d, m, dtype, inverse, scale, shift, simd_level):
    mean, std, P, H, c = case(d, m, dtype, scale=scale)
    old = [array.astype(float) for array in (mean, std, P, H)]
    expected_mean, expected_std = twin.update(*old, c, 0.7, 0.3, shift, inverse)
    mean, std, summary = update(mean, std, None, None, P, H, c, 0.7, 0.3, inverse, shift)
    rtol = 1e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(mean, expected_mean, rtol=rtol, atol=rtol * scale * 10)
    np.testing.assert_allclose(std, expected_std, rtol=rtol)
    assert summary == (std.max(), std.min(), True, True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_on_every_level(dtype):
    before = _core.simd_level()
    results = []
    try:
        for level in _core.simd_levels():
            _core.set_simd_level(level)
            for inverse in (False, True):
                mean, std, _ = update(
                    *case(5001, 3, dtype)[:2], None, None, *case(5001, 3, dtype)[2:], 0.5, 0.5, inverse
                )
                results.append((inverse, mean.tobytes(), std.tobytes()))
    finally:
        _core.set_simd_level(before)
    assert len(set(results)) == 2


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_stds_stay_positive_for_any_step(dtype, inverse):
    mean, std, P, H, c = case(500, 2, dtype, scale=1e6)
    before = std
    for _ in range(2000):
        _, std, _ = update(mean, std, None, None, P, H, c, 1.4, 1.4, inverse)
        assert (std > 0).all()
        assert np.isfinite(std).all()
        assert np.isfinite(1 / std).all()
    assert std.max() > before.max()


def test_bounds_clip_the_mean_and_hold_the_std():
    low, high = np.zeros(3), np.array([1.0, 1.0, np.inf])
    mean, std = np.array([0.9, 0.5, 0.1]), np.array([0.5, 0.9, 5.0])
    P = np.array([[-1.0, 0.0, 1.0]])
    H = np.array([[0.0, -10.0, -10.0]])
    mean, std, _ = update(mean, std, low, high, P, H, np.ones(1), 0.4, 1.0, False)
    np.testing.assert_allclose(mean, [1.0, 0.5, 0.0], rtol=1e-14)  # from 1.1, 0.5 and -1.9
    np.testing.assert_allclose(std, [0.5, 1.0, 10.0], rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_summary_sees_overflow_and_lost_effect(dtype):
    mean, std, P, H, c = case(100, 1, dtype)
    for bad in (1e35 if dtype == np.float32 else 1e200, np.nan, -np.inf):
        P[0, 50] = bad
        assert update(mean, std, None, None, P, H, c, 1.0, 1.0, False)[2][2] is False
    P[0, 50] = 0
    std[:] = 1e-25
    mean[:] = 1
    assert update(mean, std, None, None, P, H, c, 1.0, 1.0, False)[2][2:] == (True, False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stride", [1, 3, 1024, 5000])
def test_path(dtype, stride, simd_level):
    mean, std, P, H, c = case(3001, 2, dtype)
    p = (c @ P.astype(float))[::stride]
    path = np.random.default_rng(1).normal(size=p.size)
    new = np.full_like(path, np.nan)
    options = (0.5, 0.5, 0.0, False, path, new, stride, 0.05, 1)
    summary = _core.update_distribution(mean, std, None, None, P, H, c, *options)
    np.testing.assert_allclose(new, 0.95 * path + 0.05 * p, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-14)
    np.testing.assert_allclose(summary[4:], [new @ new, p @ p], rtol=1e-6 if dtype == np.float32 else 1e-12)
    with pytest.raises(ValueError, match="path"):
        _core.update_distribution(mean, std, None, None, P, H, c, 0.5, 0.5, 0.0, False, path[:-1], new, stride, 0.05, 1)


def test_log_and_exp_are_as_good_as_libm():
    values = np.exp(np.random.default_rng(0).uniform(-300, 300, size=2000))
    np.testing.assert_allclose([_core.log(v) for v in values], np.log(values), rtol=1e-15, atol=1e-15)
    values = np.random.default_rng(1).uniform(-690, 690, size=2000)
    np.testing.assert_allclose([_core.exp(v) for v in values], np.exp(values), rtol=1e-14)
    assert _core.exp(1e9) < np.inf
    assert _core.exp(-1e9) > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_threads(dtype):
    mean, std, P, H, c = case(300_007, 2, dtype)
    path = np.random.default_rng(2).normal(size=300_007)
    results = []
    for n_threads in (1, 2, 3, 7):
        p, h, new = P.copy(), H.copy(), np.empty_like(path)
        options = (0.5, 0.5, 0.0, False, path, new, 1, 0.05, n_threads)
        summary = _core.update_distribution(mean, std, None, None, p, h, c, *options)
        results.append((p.tobytes(), h.tobytes(), new.tobytes(), summary))
    assert results.count(results[0]) == 4
    assert results[0][3][:4] == (h[0].max(), h[0].min(), True, True)
