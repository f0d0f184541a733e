"""IMTL-G's and Aligned-MTL's weights in the core, against numpy's eigenvectors."""

import numpy as np
import pytest

from pyasmg import _core
from tests.twins import spectral as twin
from tests.twins.simplex_qp import FAMILIES


def grams(m):
    for family, make in FAMILIES.items():
        for seed in range(4):
            gram = make(m, np.random.default_rng([m, seed]))
            yield f"{family}, {m=}, {seed=}", 0.5 * (gram + gram.T)


def close(found, expected, gram, hint):
    """Weights of singular matrices are those of any machine's rounding: the directions are compared."""
    norms = np.sqrt(np.diag(gram))
    scale = np.abs(expected * norms).max()
    units = gram / np.outer(*[np.where(norms > 0.0, norms, 1.0)] * 2)
    difference = (found - expected) * norms
    assert difference @ units @ difference <= 1e-12 * max(scale, 1e-300) ** 2, hint


@pytest.mark.parametrize("m", [1, 2, 3, 10, 40])
def test_impartial_weights(m):
    n_positive = 0
    for hint, gram in grams(m):
        found, expected = _core.impartial_weights(gram), twin.impartial_weights(gram)
        assert found.any() == expected.any(), hint
        well = np.linalg.cond(gram) < 1e6
        n_positive += bool(found.any())
        if well:
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max(), err_msg=hint)
        assert not found.any() or found.sum() == pytest.approx(1.0, abs=1e-6 * np.abs(found).sum()), hint
        np.testing.assert_array_equal(found[np.diag(gram) == 0.0], 0.0)
    assert n_positive > 0


@pytest.mark.parametrize("scale", ["min", "median", "rmse"])
@pytest.mark.parametrize("m", [1, 2, 3, 10, 40])
def test_aligned_weights(m, scale):
    for hint, gram in grams(m):
        wanted = np.random.default_rng(m).uniform(0.5, 2.0, m)
        found, expected = _core.aligned_weights(gram, scale, wanted), twin.aligned_weights(gram, scale, wanted)
        if np.linalg.cond(gram) < 1e6:
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8 * np.abs(expected).max(), err_msg=hint)
        assert np.isfinite(found).all(), hint
    np.testing.assert_array_equal(_core.aligned_weights(np.zeros((m, m)), scale, wanted), wanted)


def test_exact_cases():
    np.testing.assert_allclose(_core.impartial_weights(np.diag([4.0, 1.0])), [1 / 3, 2 / 3], rtol=1e-15)
    np.testing.assert_array_equal(_core.impartial_weights(np.zeros((2, 2))), [0.0, 0.0])
    np.testing.assert_array_equal(_core.impartial_weights(np.array([[1.0, -1.0], [-1.0, 1.0]])), [0.0, 0.0])
    np.testing.assert_allclose(_core.aligned_weights(np.diag([4.0, 1.0]), "min", np.ones(2)), [0.5, 1.0], rtol=1e-15)
    np.testing.assert_allclose(_core.aligned_weights(np.ones((2, 2)), "min", np.ones(2)), [1.0, 1.0], rtol=1e-14)


def test_refuses_other_arrays():
    for function in (_core.impartial_weights, lambda gram: _core.aligned_weights(gram, "min", np.ones(2))):
        with pytest.raises(ValueError, match="gram must have shape"):
            function(np.ones((2, 3)))
        with pytest.raises(TypeError):
            function(np.ones((2, 2), dtype=np.float32))
    with pytest.raises(ValueError, match="wanted must have shape"):
        _core.aligned_weights(np.eye(3), "min", np.ones(2))
    with pytest.raises(ValueError, match="scale must be"):
        _core.aligned_weights(np.eye(2), "max", np.ones(2))
