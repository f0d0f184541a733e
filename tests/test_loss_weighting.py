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
        before = vector.copy()
        moved = _core.adam_step(
            vector, gradient, first, second, 0.02, 0.9, 0.999, 1e-8, decay, 1.0 - 0.9**t, 1.0 - 0.999**t
        )
        np.testing.assert_array_equal(vector, before)
        vector = moved
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


@pytest.mark.parametrize("n_groups", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_group_means(n, n_groups):
    for seed in range(5):
        rng = np.random.default_rng([n, n_groups, seed])
        values = np.exp(rng.standard_normal(n))
        if seed > 2:
            values = np.round(values)  # equal ones
        np.testing.assert_allclose(_core.group_means(values, n_groups), twin.group_means(values, n_groups), rtol=1e-12)


def test_refuses_other_arrays():
    with pytest.raises(ValueError, match="n_groups"):
        _core.group_means(np.ones(3), 0)
    with pytest.raises(ValueError, match="shape"):
        _core.softmax(np.ones((2, 2)))
    with pytest.raises(ValueError, match="size"):
        _core.adam_step(np.ones(3), np.ones(2), np.ones(3), np.ones(3), 0.1, 0.9, 0.9, 0.0, 0.0, 0.1, 0.1)
