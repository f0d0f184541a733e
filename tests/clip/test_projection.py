"""A and p0 + A v."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest

from pyasmg import ASMG
from pyasmg.clip import Projection


def exact(projection, v, start):
    """Return p0 + A v by rational arithmetic on the rounded v, rounded as documented: A v once, then p0."""
    rows = [[Fraction(float(a)) for a in row] for row in projection.normals]
    v = [Fraction(float(value)) for value in v]
    sums = np.array([float(sum(a * b for a, b in zip(row, v, strict=True))) for row in rows])
    return (sums * projection.unit + start.ravel()).astype(np.float32).reshape(start.shape)


def test_matrix():
    projection = Projection(300, 4, 50, 0.02, seed=7)
    matrix = projection.matrix
    assert matrix.shape == (200, 300)
    assert matrix.std() == pytest.approx(0.02 / np.sqrt(300), rel=0.01)
    assert abs(matrix.mean()) < 3 * projection.unit / np.sqrt(matrix.size)
    assert np.array_equal(matrix, Projection(300, 4, 50, 0.02, seed=7).matrix)
    assert not np.array_equal(matrix, Projection(300, 4, 50, 0.02, seed=8).matrix)


def test_matrix_is_not_the_searches_first_population():
    normals = Projection(64, 1, 6, 1.0, seed=3).normals
    X = ASMG(np.zeros(64), 1.0, popsize=6, seed=3, mirrored=False).ask()
    assert not np.allclose(normals, X, atol=0.1)


def test_the_product_is_exact():
    rng = np.random.default_rng(0)
    projection = Projection(40, 2, 3, 0.03, seed=1)
    V = np.round(rng.normal(size=(3, 40)) * 2.0**20) * 2.0**-20  # no rounding of v
    start = rng.normal(size=(2, 3))
    prompts = projection.apply(V, start)
    for v, prompt in zip(V, prompts, strict=True):
        assert np.array_equal(prompt, exact(projection, v, start))


@pytest.mark.parametrize("d", [1, 37, 512, 5000])
def test_neither_order_nor_neighbours_matter(d):
    rng = np.random.default_rng(d)
    projection = Projection(d, 2, 5, 0.02, seed=2)
    V = rng.normal(size=(7, d)) * np.exp(5 * rng.normal(size=(7, 1)))
    prompts = projection.apply(V)
    assert np.array_equal(prompts, np.concatenate([projection.apply(row[None]) for row in V]))
    order = rng.permutation(d)
    shuffled = Projection(d, 2, 5, 0.02, seed=2)
    shuffled._normals = np.ascontiguousarray(projection.normals[:, order])
    assert np.array_equal(prompts, shuffled.apply(V[:, order]))
    rounding = np.abs(V).max(axis=1, keepdims=True) * projection.unit * np.sqrt(d) * 2.0**-20
    assert (np.abs(prompts.reshape(7, -1) - V @ projection.matrix.T) < rounding).all()


def test_pinned_bits():
    """The same on every machine."""
    V = np.linspace(-1.5, 2.0, 3 * 24).reshape(3, 24)
    prompts = Projection(24, 2, 8, 0.0231, seed=11).apply(V, np.full((2, 8), 0.25))
    assert prompts.dtype == np.float32
    assert hashlib.sha256(prompts.astype("<f4").tobytes()).hexdigest()[:16] == PINNED


PINNED = "2d6d14f47543391f"


def test_rows_that_are_not_finite_or_overflow_are_nan():
    projection = Projection(3, 1, 2, 1.0, seed=0)
    prompts = projection.apply([[0, 0, 0], [np.nan, 0, 0], [np.inf, 0, 0], [1e300, 0, 0], [1, 2, 3]])
    assert np.array_equal(np.isfinite(prompts).all(axis=(1, 2)), [True, False, False, False, True])
    assert not prompts[0].any()
    assert projection.apply(np.empty((0, 3))).shape == (0, 1, 2)


def test_hostile_arguments():
    projection = Projection(3, 1, 2, 1.0, seed=0)
    with pytest.raises(ValueError, match=r"`V` must have shape \(N, 3\); got \(3,\)"):
        projection.apply([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"`start` must have shape \(1, 2\); got \(2,\)"):
        projection.apply([[1.0, 2.0, 3.0]], [0.0, 0.0])
    for wrong in ({"d": 0}, {"n_ctx": 0}, {"width": 0}, {"std": 0.0}, {"std": np.nan}, {"seed": -1}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be"):
            Projection(**{"d": 3, "n_ctx": 1, "width": 2, "std": 1.0, "seed": 0, **wrong})
