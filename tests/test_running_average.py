"""The kernel of MoCo's running average against its twin, at every SIMD level, at sizes off every vector and block."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins.running_average import running_average


def matrix(m, d, dtype, seed=0):
    return np.random.default_rng([m, d, seed]).standard_normal((m, d)).astype(dtype)


@pytest.mark.parametrize("in_double", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.99, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "d"), [(1, 1), (2, 0), (3, 15), (5, 4097), (13, 9001), (0, 4)])
def test_twin(m, d, dtype, rate, in_double, simd_level):
    X, Y, weights = matrix(m, d, dtype), matrix(m, d, dtype, seed=1), matrix(m, 1, np.float64, seed=2)[:, 0].copy()
    before, kept = Y.copy(), X.copy()
    expected, _ = running_average(X, rate, Y, weights)
    slopes = _core.running_average(X, rate, Y, weights, in_double)
    assert np.all(np.abs(Y - expected) <= 4.0 * np.finfo(dtype).eps * (np.abs(X) + np.abs(before)))
    np.testing.assert_array_equal(X, kept)
    if rate in (0.0, 1.0):
        np.testing.assert_array_equal(Y, X if rate else before)
    _, expected = running_average(Y, 1.0, Y, weights)  # of what was rounded
    wide = np.abs(Y.astype(np.float64))
    tolerance = 1e-13 if in_double or dtype is np.float64 else 1e-6
    assert np.all(np.abs(slopes - expected) <= tolerance * (wide @ wide.T @ np.abs(weights)))


@pytest.mark.parametrize("scale", [1e-35, 0.0, 1e20, 1e30])
def test_products_beyond_single_precision_are_taken_in_double(scale, simd_level):
    X, weights = matrix(3, 1000, np.float32), np.array([0.2, 0.3, 0.5])
    X[1] *= np.float32(scale)
    wide = X.astype(np.float64)
    Y = np.zeros_like(X)
    slopes = _core.running_average(X, 1.0, Y, weights, False)
    np.testing.assert_allclose(slopes, wide @ wide.T @ weights, rtol=1e-12)
    np.testing.assert_array_equal(Y, X)


def test_sums_stay_accurate_over_many_columns(simd_level):
    """Single precision alone would stop adding at 2^24."""
    X = np.ones((1, 3 * 2**24), dtype=np.float32)
    assert _core.running_average(X, 1.0, np.zeros_like(X), np.ones(1), False) == [3 * 2**24]


@pytest.mark.parametrize("in_double", [False, True])
def test_same_bits_at_every_level(in_double):
    X, weights = matrix(5, 9001, np.float32), np.random.default_rng(0).random(5)
    best, found = _core.simd_level(), []
    try:
        for level in _core.simd_levels():
            _core.set_simd_level(level)
            Y = matrix(5, 9001, np.float32, seed=1)
            found.append((_core.running_average(X, 0.3, Y, weights, in_double), Y))
    finally:
        _core.set_simd_level(best)
    for slopes, Y in found:
        np.testing.assert_array_equal(slopes, found[0][0])
        np.testing.assert_array_equal(Y, found[0][1])


def test_refuses_other_arrays():
    X = np.ones((2, 3))
    for Y, weights in ((np.ones((2, 4)), np.ones(2)), (np.ones((2, 3)), np.ones(3)), (np.ones(6), np.ones(2))):
        with pytest.raises(ValueError, match="shape"):
            _core.running_average(X, 0.5, Y, weights, True)
    with pytest.raises(TypeError):
        _core.running_average(X.astype(np.float32), 0.5, X, np.ones(2), True)
