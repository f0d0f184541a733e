"""The kernel of MoCo's running average against its twin, at every SIMD level, at sizes off every vector."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins.running_average import running_average


def vector(n, dtype, seed=0):
    return np.random.default_rng([n, seed]).standard_normal(n).astype(dtype)


@pytest.mark.parametrize("factor", [1.0, 0.3, -2.0, 0.0])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 15, 4097, 9001])
def test_twin(n, dtype, rate, factor, simd_level):
    x, y = vector(n, dtype), vector(n, dtype, seed=1)
    before, kept = y.copy(), x.copy()
    expected = running_average(x, factor, rate, y)
    norm = _core.running_average(x, rate, factor, None, y)
    assert norm == pytest.approx(np.linalg.norm(x.astype(np.float64)), rel=1e-6)
    assert np.all(np.abs(y - expected) <= 4.0 * np.finfo(dtype).eps * (np.abs(factor * x) + np.abs(before)))
    np.testing.assert_array_equal(x, kept)
    if rate == 0.0:
        np.testing.assert_array_equal(y, before)
    if rate == 1.0:
        np.testing.assert_array_equal(y, (factor * x.astype(np.float64)).astype(dtype))


@pytest.mark.parametrize("length", [0.0, 1.0, -3.0, 1e30])
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1.0, 1e38])
def test_a_length_whatever_that_of_the_gradient(scale, length, simd_level):
    x, y = np.zeros(33, np.float32), np.ones(33, np.float32)
    x[7] = scale
    assert _core.running_average(x, 1.0, 5.0, length, y) == pytest.approx(float(x[7]), rel=1e-6)
    np.testing.assert_allclose(y[7], length, rtol=1e-6)
    assert not y[np.arange(33) != 7].any()


def test_a_zero_gradient_has_no_length(simd_level):
    y = np.ones(33)
    assert _core.running_average(np.zeros(33), 0.25, 1.0, 4.0, y) == 0.0
    np.testing.assert_array_equal(y, 0.75)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [None, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_moves_nothing(bad, length, dtype, simd_level):
    x, y = vector(40, dtype), vector(40, dtype, seed=1)
    x[20], before = bad, y.copy()
    assert _core.running_average(x, 0.5, 1.0, length, y) == np.inf
    np.testing.assert_array_equal(y, before)


def test_a_goal_that_is_too_long_moves_nothing(simd_level):
    y = np.zeros(2, np.float32)
    for factor, length in ((1e30, None), (1.0, 1e39)):
        assert _core.running_average(np.full(2, 1e10, np.float32), 0.5, factor, length, y) == np.inf
    np.testing.assert_array_equal(y, 0.0)


@pytest.mark.parametrize("factor", [1.0, 0.7])
def test_same_bits_at_every_level(factor):
    x, best, found = vector(9001, np.float32), _core.simd_level(), []
    try:
        for level in _core.simd_levels():
            _core.set_simd_level(level)
            y = vector(9001, np.float32, seed=1)
            _core.running_average(x, 0.3, factor, None, y)
            found.append(y)
    finally:
        _core.set_simd_level(best)
    for y in found:
        np.testing.assert_array_equal(y, found[0])


def test_refuses_other_arrays():
    x = np.ones(3)
    for y in (np.ones(4), np.ones((1, 3)), np.float64(1.0)):
        with pytest.raises((ValueError, TypeError)):
            _core.running_average(x, 0.5, 1.0, None, y)
    with pytest.raises(TypeError):
        _core.running_average(x.astype(np.float32), 0.5, 1.0, None, x)
    y = np.ones(3)
    y.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        _core.running_average(x, 0.5, 1.0, None, y)
