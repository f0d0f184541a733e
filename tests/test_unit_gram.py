"""The cosines of a Gram matrix, in the core."""

import numpy as np
import pytest

from pyasmg import _core


@pytest.mark.parametrize("m", [1, 2, 7])
def test_twin(m):
    rng = np.random.default_rng(m)
    rows = rng.standard_normal((m, 4)) * 10.0 ** rng.uniform(-100, 100, (m, 1))
    rows[m // 2] *= m == 1
    gram = rows @ rows.T
    norms, cosines = _core.unit_gram(gram)
    np.testing.assert_allclose(norms, np.linalg.norm(rows, axis=1), rtol=1e-14)
    units = rows / np.where(norms > 0.0, norms, 1.0)[:, None]
    np.testing.assert_allclose(cosines, units @ units.T, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(cosines, cosines.T)
    np.testing.assert_array_equal(np.diag(cosines), norms > 0.0)


def test_rounding_does_not_leave_the_range():
    gram = np.full((2, 2), 1.0)
    gram[0, 1] = gram[1, 0] = 1.0 + 1e-15
    np.testing.assert_array_equal(_core.unit_gram(gram)[1], np.ones((2, 2)))
    np.testing.assert_array_equal(_core.unit_gram(np.array([[1.0, -0.5], [-1.7, 1.0]]))[1], [[1.0, -1.0], [-1.0, 1.0]])


def test_a_zero_gradient():
    norms, cosines = _core.unit_gram(np.array([[4.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(norms, [2.0, 0.0])
    np.testing.assert_array_equal(cosines, [[1.0, 0.0], [0.0, 0.0]])


def test_refuses_other_arrays():
    with pytest.raises(ValueError, match=r"\(m, m\)"):
        _core.unit_gram(np.ones((2, 3)))
