"""The quadratic program over non-negative variables: against every face, and its conditions of optimality."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from pyasmg import _core
from pyasmg.mtl._nonnegative_qp import bounded_qp, cosine_matrix, nonnegative_qp
from tests.mtl.test_conflict_averse import GRAMS
from tests.twins import nonnegative_qp as twin

BOUNDED = [family for family in GRAMS if family != "zero"]


def cosines_of(family: str, m: int, seed: int) -> np.ndarray:
    return cosine_matrix(GRAMS[family](m, np.random.default_rng([m, seed])))[1]


def enumerate_faces(C: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The solution by looking at every face; only for a well-conditioned C with m <= 8."""
    m = len(C)
    for face in chain.from_iterable(combinations(range(m), k) for k in range(m + 1)):
        a = list(face)
        y = np.zeros(m)
        y[a] = np.linalg.solve(C[np.ix_(a, a)], -q[a])
        slack = C @ y + q
        slack[a] = 0.0
        if y.min() >= 0.0 and slack.min() >= 0.0:
            return y
    raise AssertionError("no face is optimal")


def assert_optimal(C: np.ndarray, q: np.ndarray, y: np.ndarray, hint: str) -> None:
    terms = np.abs(C) @ y + np.abs(q)
    slack = (C.astype(np.longdouble) @ y + q) / np.where(terms > 0.0, terms, 1.0)
    assert y.min() >= 0.0, hint
    assert slack.min() >= -1e-12, hint
    assert np.abs(slack[y > 0.0]).max(initial=0.0) <= 1e-12, hint


@pytest.mark.parametrize("m", [1, 2, 3, 5, 8])
def test_every_face(m: int) -> None:
    for seed in range(10):
        rng = np.random.default_rng([m, seed])
        C = cosine_matrix(GRAMS["random"](m, rng))[1]
        q = rng.standard_normal(m)
        np.testing.assert_allclose(nonnegative_qp(C, q), enumerate_faces(C, q), rtol=0, atol=1e-12, err_msg=f"{seed=}")


@pytest.mark.parametrize("m", [2, 3, 10, 40])
@pytest.mark.parametrize("family", BOUNDED)
def test_projections(family: str, m: int) -> None:
    """Each gradient onto what is dual to all: one at a time, and all at once."""
    for seed in range(2 if m == 40 else 6):
        C = cosines_of(family, m, seed)
        together = _core.bounded_qps(C, C)
        for i in range(0, m, 1 if m < 40 else 5):
            alone = nonnegative_qp(C, C[i])
            assert_optimal(C, C[i], alone, f"{seed=}, {i=}")
            assert_optimal(C, C[i], together[i], f"{seed=}, {i=}, together")
            change = together[i] - alone
            assert change @ C @ change <= 1e-12 * max(1.0, alone.sum(), together[i].sum()) ** 2, f"{seed=}, {i=}"


@pytest.mark.parametrize("m", [2, 3, 10, 40])
@pytest.mark.parametrize("family", BOUNDED)
def test_twin(family: str, m: int) -> None:
    """The same point as the numpy twin; where C is singular, y itself is not determined."""
    C = cosines_of(family, m, 7)
    rng = np.random.default_rng(m)
    for q in (C[0], C @ rng.standard_normal(m)):
        for found, expected in (
            (nonnegative_qp(C, q), twin.nonnegative_qp(C, q)),
            (bounded_qp(C, q), twin.bounded_qp(C, q)),
        ):
            assert found is not None
            assert expected is not None
            change = found - expected
            assert change @ C @ change <= 1e-14 * max(1.0, found.sum(), expected.sum()) ** 2


@pytest.mark.parametrize("m", [2, 3, 10])
@pytest.mark.parametrize("family", BOUNDED)
def test_other_right_hand_sides(family: str, m: int) -> None:
    """Bounds on the rates that are no combination of the gradients: there is a solution, or a ray without end."""
    for seed in range(6):
        C = cosines_of(family, m, seed)
        rng = np.random.default_rng(seed)
        for bound in (-1.0, 0.3, 3.0):
            q = C @ rng.standard_normal(m) - bound * rng.uniform(0.0, 1.0, m)
            y = nonnegative_qp(C, q)
            if y is not None:
                assert_optimal(C, q, y, f"{seed=}, {bound=}")
            else:  # some z >= 0 has C z = 0 and q'z < 0, up to rounding
                z = np.linalg.eigh(C)
                assert z[0][0] <= 1e-12, f"{seed=}, {bound=}"


def test_no_bound() -> None:
    opposed = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert nonnegative_qp(opposed, np.array([-1.0, -1.0])) is None
    np.testing.assert_array_equal(nonnegative_qp(opposed, np.array([1.0, -1.0])), [0.0, 1.0])
    np.testing.assert_array_equal(_core.bounded_qps(opposed, np.array([[-1.0, -1.0], [1.0, -1.0]])), [[1, 0], [0, 1]])


def test_rounding_that_leaves_no_bound() -> None:
    """Products of single precision between opposed vectors: the program still has its solution, but for 1e-7."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((8, 400))
        rows[7] = -rows[1]
        G = rows @ rows.T
        noise = 1e-7 * rng.standard_normal(G.shape) * np.sqrt(np.outer(np.diag(G), np.diag(G)))
        exact, C = cosine_matrix(G)[1], cosine_matrix(G + noise + noise.T)[1]
        for i, found in enumerate(_core.bounded_qps(C, C)):
            expected = bounded_qp(exact, exact[i])
            change = found - expected
            assert change @ exact @ change <= 1e-9, f"{seed=}, {i=}"


def test_a_dependent_index_takes_the_place_of_another() -> None:
    """Two equal vectors, of which the second asks for more."""
    C = np.ones((2, 2))
    np.testing.assert_allclose(nonnegative_qp(C, np.array([-1.0, -2.0])), [0.0, 2.0], rtol=1e-15)
    np.testing.assert_allclose(nonnegative_qp(C, np.array([-2.0, -1.0])), [2.0, 0.0], rtol=1e-15)
    np.testing.assert_allclose(nonnegative_qp(C, np.array([-2.0, -2.0])).sum(), 2.0, rtol=1e-15)
