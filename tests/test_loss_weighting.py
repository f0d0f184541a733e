"""The small kernels of loss weighting against their twins in numpy."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins import loss_weighting as twin


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam(decay):
    rng = np.random.default_rng(0)
    vector, first, second = rng.standard_normal(7), np.zeros(7), np.zeros(7)
    expected, other_first, other_second = vector.copy(), first.copy(), second.copy()
    for t in range(1, 30):
        gradient = rng.standard_normal(7) * 10.0 ** rng.uniform(-3, 3, 7)
        before = gradient.copy()
        _core.adam_step(vector, gradient, first, second, 0.02, 0.9, 0.999, 1e-8, decay, 1.0 - 0.9**t, 1.0 - 0.999**t)
        np.testing.assert_array_equal(gradient, before)
        expected, other_first, other_second = twin.adam_step(
            expected, gradient, other_first, other_second, 0.02, 0.9, 0.999, 1e-8, decay, t
        )
        np.testing.assert_array_equal(vector, expected, err_msg=f"{t=}")
    np.testing.assert_array_equal(first, other_first)
    np.testing.assert_array_equal(second, other_second)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_softmax(scale):
    values = scale * np.random.default_rng(1).standard_normal(9)
    np.testing.assert_allclose(_core.softmax(values), twin.softmax(values), rtol=1e-14, atol=1e-300)
    assert _core.softmax(np.zeros(0)).shape == (0,)


@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_softmax_slopes(n, scale):
    rng = np.random.default_rng([n, 3])
    shares, gradient = twin.softmax(rng.standard_normal(n)), scale * rng.standard_normal(n)
    slopes = _core.softmax_slopes(shares, gradient)
    np.testing.assert_allclose(slopes, twin.softmax_slopes(shares, gradient), rtol=1e-12, atol=1e-15 * scale)
    assert abs(slopes.sum()) <= 1e-14 * scale  # a constant added to all values changes no share


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 40])
def test_gap_slopes(n, weighted, smoothing):
    for seed in range(5):
        rng = np.random.default_rng([n, seed])
        losses, gain = rng.standard_normal((2, n))
        if seed > 2:
            losses = np.round(losses)  # equal ones
        shares = twin.softmax(rng.standard_normal(n)) if seed < 4 else np.full(n, 1.0 / n)
        options = losses, shares, gain, weighted, 0.7, 1.3, smoothing
        for slopes, expected in zip(_core.gap_slopes(*options), twin.gap_slopes(*options), strict=True):
            np.testing.assert_allclose(slopes, expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("n_groups", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_group_means(n, n_groups):
    for seed in range(5):
        rng = np.random.default_rng([n, n_groups, seed])
        values = np.exp(rng.standard_normal(n))
        if seed > 2:
            values = np.round(values)  # equal ones
        np.testing.assert_allclose(_core.group_means(values, n_groups), twin.group_means(values, n_groups), rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 40])
def test_gradnorm_slopes(n, alpha):
    for seed in range(10):
        rng = np.random.default_rng([n, seed])
        rows = rng.standard_normal((n, 2 * n)) * np.exp(2.0 * rng.standard_normal((n, 1)))
        weights, losses, initial = rng.uniform(0.0, 2.0, n), rng.uniform(0.0, 3.0, n), rng.uniform(0.1, 3.0, n)
        if seed == 8:
            rows[0] = 0.0
        if seed == 9:
            losses[:] = 0.0
        case = rows @ rows.T, alpha, weights, losses, initial
        expected = twin.gradnorm_slopes(*case)
        if n == 1:  # the length is its own mean: the sign is that of rounding
            assert abs(_core.gradnorm_slopes(*case)[0]) <= np.sqrt(case[0][0, 0])
        else:
            np.testing.assert_allclose(_core.gradnorm_slopes(*case), expected, rtol=1e-15)


@pytest.mark.parametrize("rho", [0.0, 0.7])
@pytest.mark.parametrize("m", [1, 2, 5, 40])
def test_moved_weights(m, rho):
    rng = np.random.default_rng(m)
    rows, weights = rng.standard_normal((m, 7)), rng.random(m)
    found = _core.moved_weights(rows @ rows.T, weights, 0.3, rho)
    np.testing.assert_allclose(found, twin.moved_weights(rows @ rows.T, weights, 0.3, rho), rtol=0, atol=1e-12 * m)


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_simplex_projection(n):
    for seed in range(10):
        rng = np.random.default_rng([n, seed])
        point = 10.0 ** rng.uniform(-3, 3) * rng.standard_normal(n)
        if seed == 9:
            point[:] = point[0]  # equal ones
        found, scale = _core.simplex_projection(point), max(1.0, np.abs(point).max())
        np.testing.assert_allclose(found, twin.simplex_projection(point), rtol=0, atol=1e-14 * scale)
        assert found.min() >= 0.0
    np.testing.assert_array_equal(_core.simplex_projection(np.array([1e300, -1e300])), [1.0, 0.0])


def test_refuses_other_arrays():
    with pytest.raises(ValueError, match="gram must have shape"):
        _core.gradnorm_slopes(np.ones((2, 3)), 1.0, np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="losses and initial"):
        _core.gradnorm_slopes(np.eye(2), 1.0, np.ones(2), np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="weights must have shape"):
        _core.moved_weights(np.eye(2), np.ones(3), 0.1, 0.0)
    with pytest.raises(ValueError, match="shape"):
        _core.moved_weights(np.ones((2, 3)), np.ones(2), 0.1, 0.0)
    with pytest.raises(ValueError, match="point must have shape"):
        _core.simplex_projection(np.ones(0))
    with pytest.raises(ValueError, match="n_groups"):
        _core.group_means(np.ones(3), 0)
    with pytest.raises(ValueError, match="shape"):
        _core.softmax(np.ones((2, 2)))
    with pytest.raises(ValueError, match="size"):
        _core.softmax_slopes(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="size"):
        _core.gap_slopes(np.ones(3), np.ones(3), np.ones(2), True, 1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="size"):
        _core.adam_step(np.ones(3), np.ones(2), np.ones(3), np.ones(3), 0.1, 0.9, 0.9, 0.0, 0.0, 0.1, 0.1)
