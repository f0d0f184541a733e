"""The Gram kernel against products in float64, at every SIMD level, at sizes off every tile and block."""

import numpy as np
import pytest

from pyasmg import _core


def matrix(m, d, dtype, seed=0):
    return np.random.default_rng(seed).standard_normal((m, d)).astype(dtype)


@pytest.mark.parametrize("in_double", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "d"), [(1, 1), (2, 0), (3, 15), (4, 16), (5, 2047), (7, 2048), (13, 6151), (40, 4100)])
def test_twin(m, d, dtype, in_double, simd_level):
    X = matrix(m, d, dtype)
    found = _core.row_products(X, in_double)
    wide = X.astype(np.float64)
    tolerance = 1e-13 if in_double or dtype is np.float64 else 1e-6
    assert np.all(np.abs(found - wide @ wide.T) <= tolerance * (np.abs(wide) @ np.abs(wide).T))
    np.testing.assert_array_equal(found, found.T)


def test_sums_stay_accurate_over_many_columns(simd_level):
    """Single precision alone would stop adding at 2^24."""
    X = np.ones((2, 3 * 2**24), dtype=np.float32)
    np.testing.assert_array_equal(_core.row_products(X, False), np.full((2, 2), 3 * 2**24))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 99, 100])
def test_what_is_not_finite_stays_in_its_row(bad, column, simd_level):
    X = np.ones((5, 101), dtype=np.float32)
    X[3, column] = bad
    finite = np.isfinite(_core.row_products(X, False))
    expected = np.ones((5, 5), dtype=bool)
    expected[3] = expected[:, 3] = False
    np.testing.assert_array_equal(finite, expected)


def test_squares_beyond_single_precision(simd_level):
    X = matrix(3, 1000, np.float32) * np.float32(1e25)
    wide = X.astype(np.float64)
    np.testing.assert_allclose(_core.row_products(X, True), wide @ wide.T, rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-25, 1e20])
def test_squares_at_the_ends_of_single_precision_are_taken_in_double(scale):
    X = matrix(3, 1000, np.float32)
    X[1] *= np.float32(scale)
    np.testing.assert_array_equal(_core.row_products(X, False), _core.row_products(X, True))


def test_refuses_other_arrays():
    with pytest.raises(ValueError, match=r"\(m, d\)"):
        _core.row_products(np.ones(3), False)
    with pytest.raises(ValueError, match="m >= 1"):
        _core.row_products(np.ones((0, 3)), False)
    with pytest.raises(TypeError):
        _core.row_products(np.ones((3, 4), dtype=np.float32)[:, ::2], False)
