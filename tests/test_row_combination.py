"""The weighted sum of rows against float64, at sizes off every strip and block."""

import numpy as np
import pytest

from pyasmg import _core


def combination(X, weights, factor=1.0, cuts=()):
    outs = [np.full(n, np.nan, dtype=X.dtype) for n in np.diff([0, *cuts, X.shape[1]])]
    _core.combine_rows(X, np.asarray(weights, dtype=float), factor, outs)
    return np.concatenate(outs) if outs else np.zeros(0, dtype=X.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("m", "d", "cuts"),
    [(1, 1, ()), (2, 0, ()), (3, 17, (5, 5)), (4, 2048, (1,)), (7, 6151, (2049, 4000)), (40, 99, ())],
)
def test_twin(m, d, cuts, dtype, simd_level):
    rng = np.random.default_rng([m, d])
    X, weights = rng.standard_normal((m, d)).astype(dtype), rng.standard_normal(m)
    weights[5:6] = 0.0
    found = combination(X, weights, 0.5, cuts)
    size = np.abs(weights) @ np.abs(X.astype(float))
    assert found.dtype == dtype
    assert np.all(np.abs(found - 0.5 * (weights @ X.astype(float))) <= 4.0 * m * np.finfo(dtype).eps * size)


def test_levels_agree_to_the_bit():
    rng = np.random.default_rng(0)
    X, weights = rng.standard_normal((11, 5001)).astype(np.float32), rng.standard_normal(11)
    before, found = _core.simd_level(), []
    try:
        for level in _core.simd_levels():
            _core.set_simd_level(level)
            found.append(combination(X, weights, 3.0, (1000,)))
    finally:
        _core.set_simd_level(before)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_rows_without_weight_are_not_read():
    X = np.ones((3, 100))
    X[1] = np.nan
    np.testing.assert_array_equal(combination(X, [1.0, 0.0, 2.0]), np.full(100, 3.0))
    np.testing.assert_array_equal(combination(X, [0.0, 0.0, 0.0]), np.zeros(100))
    assert np.isnan(combination(X, [0.0, 1.0, 0.0])).all()


def test_refuses_other_arrays():
    X = np.ones((3, 4))
    with pytest.raises(ValueError, match="weights"):
        _core.combine_rows(X, np.ones(2), 1.0, [np.empty(4)])
    with pytest.raises(ValueError, match="as many columns"):
        _core.combine_rows(X, np.ones(3), 1.0, [np.empty(2), np.empty(3)])
    with pytest.raises(ValueError, match="writeable"):
        _core.combine_rows(X, np.ones(3), 1.0, [frozen(4)])
    with pytest.raises(TypeError):
        _core.combine_rows(X, np.ones(3), 1.0, [np.empty(4, dtype=np.float32)])


def frozen(n):
    array = np.empty(n)
    array.flags.writeable = False
    return array
