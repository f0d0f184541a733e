"""The exact simplex QP: optimality against a 200-digit reference, and what any exact solver satisfies."""

from __future__ import annotations

import hypothesis.strategies as st
import mpmath
import numpy as np
import pytest
from hypothesis import given, settings

from pyasmg import _core
from pyasmg.simplex_qp import min_norm_weights
from tests.twins.simplex_qp import (
    EPS,
    FAMILIES,
    enumerate_supports,
    enumerate_supports_exactly,
    length,
    reference,
    suboptimality,
)

TOLERANCE = 1e-12
SIZES = (1, 2, 3, 5, 10, 20)


def gram(family: str, m: int, seed: int) -> np.ndarray:
    return FAMILIES[family](m, np.random.default_rng([seed, m]))


def assert_on_simplex(weights: np.ndarray, m: int, hint: str = "") -> None:
    assert weights.shape == (m,), hint
    assert weights.dtype == np.float64, hint
    assert weights.min() >= 0, hint
    assert abs(weights.sum() - 1) <= 1e-14, hint


def assert_optimal(G: np.ndarray, weights: np.ndarray, hint: str = "") -> None:
    """Within TOLERANCE of the minimum, plus what the indefiniteness of G, if any, leaves open."""
    assert_on_simplex(weights, len(G), hint)
    ref = reference(G, weights)
    excess = suboptimality(G, weights, ref)
    if excess > TOLERANCE:
        with mpmath.workdps(50):
            g = mpmath.matrix(G.tolist())
            cosine = mpmath.matrix(len(G), len(G))
            for i in range(len(G)):
                for j in range(len(G)):
                    cosine[i, j] = g[i, j] / mpmath.sqrt(g[i, i] * g[j, j])
            eta = -mpmath.eigsy(cosine, eigvals_only=True)[0]
        assert eta > 1e-40, f"{hint}: suboptimality {excess:.1e} of a semi-definite G, minimum {ref.minimum}"
        f = weights @ G @ weights
        open_part = 4 * float(eta) * float(length(G, weights)) ** 2
        assert f <= max(float(ref.minimum), 0.0) * (1 + TOLERANCE) + open_part, f"{hint}: {excess:.1e}"


# ---- optimality ----


@pytest.mark.parametrize("m", SIZES)
@pytest.mark.parametrize("family", FAMILIES)
def test_optimal_on_every_family(family: str, m: int) -> None:
    for seed in range(12 if m <= 5 else 6):
        G = gram(family, m, seed)
        assert_optimal(G, min_norm_weights(G), f"{family}, m = {m}, seed = {seed}")


@pytest.mark.parametrize("family", FAMILIES)
def test_optimal_at_40(family: str) -> None:
    G = gram(family, 40, 7)
    assert_optimal(G, min_norm_weights(G), f"{family}, seed = 7")


@pytest.mark.parametrize("family", ["random", "scaled 1e-15..1e15", "low rank", "duplicate", "near duplicate"])
def test_optimal_at_200(family: str) -> None:
    G = gram(family, 200, 3)
    assert_optimal(G, min_norm_weights(G), f"{family}, seed = 3")


@pytest.mark.parametrize("m", [1, 2, 3, 5, 8])
def test_agrees_with_enumeration(m: int) -> None:
    for seed in range(10):
        G = gram("scaled 1e-3..1e3", m, seed)
        minimum, weights = enumerate_supports(G)
        ours = min_norm_weights(G)
        np.testing.assert_allclose(ours, weights, rtol=1e-9, atol=1e-12, err_msg=f"seed = {seed}")
        assert _core.simplex_qp(G)[1] == pytest.approx(minimum, rel=1e-10), f"seed = {seed}"


@pytest.mark.parametrize("family", ["low rank", "duplicate", "near duplicate", "spread singular"])
def test_reference_agrees_with_fractions(family: str) -> None:
    for seed in range(5):
        G = gram(family, 5, seed)
        exact = enumerate_supports_exactly(G)
        ref = reference(G)
        with mpmath.workdps(60):
            difference = abs(ref.minimum - mpmath.mpf(exact.numerator) / exact.denominator)
            assert difference <= mpmath.mpf("1e-50") * max(1, ref.minimum), f"seed = {seed}"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_optimal_on_integer_gradients(data: st.DataObject) -> None:
    """Small integers: ties and singular blocks, exactly positive semi-definite; powers of two as units."""
    m = data.draw(st.integers(1, 6))
    d = data.draw(st.integers(1, 6))
    rows = data.draw(st.lists(st.lists(st.integers(-3, 3), min_size=d, max_size=d), min_size=m, max_size=m))
    exponents = data.draw(st.lists(st.integers(-50, 50), min_size=m, max_size=m))
    j = np.array(rows, dtype=float) * 2.0 ** np.array(exponents)[:, None]
    G = j @ j.T
    assert_optimal(G, min_norm_weights(G), repr(j.tolist()))


@pytest.mark.parametrize(("m", "expected"), [(1, [1.0]), (2, [0.5, 0.5]), (4, [0.25] * 4)])
def test_identity(m: int, expected: list[float]) -> None:
    np.testing.assert_allclose(min_norm_weights(np.eye(m)), expected, rtol=1e-15)


PINNED = [
    ("dominated gradient", [[1.0, 2.0], [2.0, 5.0]], [1.0, 0.0], 1.0),
    ("opposed", [[1.0, -2.0], [-2.0, 4.0]], [2 / 3, 1 / 3], 0.0),
    ("orthogonal", [[1.0, 0.0], [0.0, 3.0]], [0.75, 0.25], 0.75),
    ("one zero gradient", [[1.0, 0.0], [0.0, 0.0]], [0.0, 1.0], 0.0),
    ("all zero", [[0.0, 0.0], [0.0, 0.0]], [0.5, 0.5], 0.0),
    ("three at 120 degrees", [[2.0, -1.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]], [1 / 3] * 3, 0.0),
    ("norms 1e-15 and 1e15", [[1e-30, 0.0], [0.0, 1e30]], [1.0, 1e-60], 1e-30),
]


@pytest.mark.parametrize(("G", "weights", "value"), [pytest.param(*row[1:], id=row[0]) for row in PINNED])
def test_pinned(G: list[list[float]], weights: list[float], value: float) -> None:
    np.testing.assert_allclose(min_norm_weights(G), weights, rtol=1e-15)
    assert _core.simplex_qp(np.array(G))[1] == pytest.approx(value, rel=1e-15, abs=1e-31)


def test_nearly_parallel() -> None:
    """cos = 1 - 1e-15: the shorter gradient alone, to the tolerance, or opposed: the two cancel."""
    cos = 1 - 1e-15
    np.testing.assert_array_equal(min_norm_weights([[1.0, 2 * cos], [2 * cos, 4.0]]), [1.0, 0.0])
    for G in ([[1.0, cos], [cos, 1.0]], [[1.0, -cos], [-cos, 1.0]], [[1.0, -1e5 * cos], [-1e5 * cos, 1e10]]):
        assert_optimal(np.array(G), min_norm_weights(G), repr(G))
    np.testing.assert_allclose(min_norm_weights([[1.0, -cos], [-cos, 1.0]]), [0.5, 0.5], rtol=1e-15)


def test_kkt_stationarity() -> None:
    """(Gl)_i = f where l_i > 0, and >= f elsewhere."""
    for m in (2, 10, 50):
        for seed in range(5):
            G = gram("scaled 1e-3..1e3", m, seed)
            weights, f = _core.simplex_qp(G)
            product, norms = G @ weights, np.sqrt(np.diag(G))
            slack = 100 * m * EPS * norms * float(length(G, weights))
            assert (product >= f - slack).all(), f"m = {m}, seed = {seed}"
            assert (np.abs(product - f) <= slack)[weights > 0].all(), f"m = {m}, seed = {seed}"


# ---- symmetries ----


@pytest.mark.parametrize("family", ["random", "scaled 1e-3..1e3", "scaled 1e-15..1e15", "conflicting"])
def test_permutation(family: str) -> None:
    for seed in range(5):
        G = gram(family, 12, seed)
        order = np.random.default_rng(seed).permutation(12)
        permuted, ours = min_norm_weights(G[np.ix_(order, order)]), min_norm_weights(G)
        np.testing.assert_allclose(permuted, ours[order], rtol=1e-6, atol=1e-12, err_msg=f"seed = {seed}")


@pytest.mark.parametrize("family", FAMILIES)
def test_scaling_by_a_constant(family: str) -> None:
    """A power of 4 moves no bit; any other factor, rounding only."""
    for seed in range(5):
        G = gram(family, 8, seed)
        weights, value = _core.simplex_qp(G)
        scaled, scaled_value = _core.simplex_qp(G * 4.0**20)
        np.testing.assert_array_equal(scaled, weights, err_msg=f"seed = {seed}")
        assert scaled_value == value * 4.0**20, f"seed = {seed}"
        assert_optimal(3 * G, min_norm_weights(3 * G), f"seed = {seed}")


def test_congruence() -> None:
    """min l'(DGD)l is min u'Gu with sum u_i / d_i = 1; for orthogonal gradients, l_i ~ 1 / (d_i^2 G_ii)."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        G = gram("random", 9, seed)
        d = 10.0 ** rng.uniform(-12, 12, 9)
        scaled = G * (d[:, None] * d)
        u = min_norm_weights(scaled) * d
        value = u @ G @ u
        for _ in range(50):  # no other point is better
            other = rng.dirichlet(np.full(9, 0.3)) * rng.uniform(size=9) ** 20 / d**2
            other *= d / other.sum()
            assert value <= other @ G @ other * (1 + TOLERANCE), f"seed = {seed}"
        assert_optimal(scaled, min_norm_weights(scaled), f"seed = {seed}")
        orthogonal = min_norm_weights(np.diag(d**2))
        np.testing.assert_allclose(orthogonal, d**-2 / (d**-2).sum(), rtol=1e-13, err_msg=f"seed = {seed}")


def test_duplicates_change_nothing() -> None:
    for seed in range(5):
        G = gram("random", 6, seed)
        twice = np.repeat(np.arange(6), 2)
        weights = min_norm_weights(G[np.ix_(twice, twice)])
        np.testing.assert_allclose(weights.reshape(6, 2).sum(1), min_norm_weights(G), rtol=1e-9, atol=1e-12)


def test_zero_gradients_share_the_weight() -> None:
    G = gram("random", 6, 0)
    G[[1, 4]] = 0.0
    G[:, [1, 4]] = 0.0
    np.testing.assert_array_equal(min_norm_weights(G), [0, 0.5, 0, 0, 0.5, 0])


# ---- robustness ----


@pytest.mark.parametrize("m", [2, 7, 30])
def test_ends_on_any_symmetric_matrix(m: int) -> None:
    """No Gram matrix at all: no promise but a point of the simplex, finite, and an end."""
    for seed in range(40):
        rng = np.random.default_rng([seed, m])
        G = rng.standard_normal((m, m)) * 10.0 ** rng.integers(-20, 20)
        G = G + G.T
        G[np.diag_indices(m)] = np.abs(np.diag(G)) * 10.0 ** rng.uniform(-30, 1, m)
        weights, value = _core.simplex_qp(G)
        assert_on_simplex(weights, m, f"seed = {seed}")
        assert value >= 0, f"seed = {seed}"


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-160, 1e150, 1e307])
def test_extreme_magnitudes(size: float) -> None:
    np.testing.assert_allclose(min_norm_weights(size * np.eye(3)), [1 / 3] * 3, rtol=1e-15)
    weights, value = _core.simplex_qp(np.diag([5e-324, size, 1e307]))
    assert_on_simplex(weights, 3)
    assert 0 <= value <= 5e-324


def test_slightly_indefinite() -> None:
    """Rank 3, m = 30, 0 in the hull: the computed matrix has eigenvalues of both signs around 0."""
    for seed in range(10):
        j = np.random.default_rng(seed).standard_normal((30, 3))
        G = j @ j.T
        weights, value = _core.simplex_qp(G)
        assert_on_simplex(weights, 30, f"seed = {seed}")
        assert value <= 30 * EPS * float(length(G, weights)) ** 2, f"seed = {seed}"
        assert np.linalg.norm(weights @ j) <= 1e-7, f"seed = {seed}"


def test_float32_product() -> None:
    j = np.random.default_rng(0).standard_normal((20, 400)).astype(np.float32)
    j *= np.logspace(-3, 3, 20, dtype=np.float32)[:, None]
    G = j @ j.T
    expected = min_norm_weights(j.astype(float) @ j.T.astype(float))
    np.testing.assert_allclose(min_norm_weights(G), expected, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_deterministic_and_no_mutation(family: str) -> None:
    G = gram(family, 15, 0)
    before = G.copy()
    G.setflags(write=False)
    first = min_norm_weights(G)
    for _ in range(3):
        np.testing.assert_array_equal(min_norm_weights(G), first)
    np.testing.assert_array_equal(G, before)
    assert first.base is None
    assert not np.shares_memory(first, G)


def test_layouts_and_types() -> None:
    G = gram("duplicate", 6, 0)
    expected = min_norm_weights(G)
    strided = np.repeat(G, 2, axis=1)[:, ::2]
    for same in (G.tolist(), G.astype(int), np.asfortranarray(G), strided, G.astype(">f8")):
        np.testing.assert_array_equal(min_norm_weights(same), expected)


BAD = [
    ([1.0, 2.0], ValueError, r"`G` must have shape \(m, m\) with m >= 1; got \(2,\)\."),
    (3.0, ValueError, r"`G` must have shape \(m, m\) with m >= 1; got \(\)\."),
    (np.ones((2, 3)), ValueError, r"`G` must have shape \(m, m\) with m >= 1; got \(2, 3\)\."),
    (np.ones((0, 0)), ValueError, r"`G` must have shape \(m, m\) with m >= 1; got \(0, 0\)\."),
    (np.ones((1, 1, 1)), ValueError, r"got \(1, 1, 1\)\."),
    ([[1.0, np.nan], [np.nan, 1.0]], ValueError, r"`G` must be finite; got G\[0, 1\] = nan\."),
    ([[np.inf, 0.0], [0.0, 1.0]], ValueError, r"`G` must be finite; got G\[0, 0\] = inf\."),
    ([[1.0, 0.0], [0.0, -1.0]], ValueError, r"`G` must have no negative diagonal .*; got G\[1, 1\] = -1\."),
    ([[1.0, 0.5], [0.4, 1.0]], ValueError, r"symmetric .*; got G\[1, 0\] = 0\.4\d* and G\[0, 1\] = 0\.5\."),
    ([[1e-30, 1e-17], [0.0, 1e2]], ValueError, r"`G` must be symmetric"),
    (np.eye(2, dtype=bool), TypeError, r"`G` must hold real numbers; got dtype bool\."),
    (np.eye(2, dtype=complex), TypeError, r"`G` must hold real numbers; got dtype complex128\."),
    (np.eye(2, dtype=object), TypeError, r"`G` must hold real numbers; got dtype object\."),
    ([["a", "b"], ["c", "d"]], TypeError, r"`G` must hold real numbers; got dtype <U1\."),
    (None, TypeError, r"`G` must hold real numbers; got dtype object\."),
]


@pytest.mark.parametrize(("G", "error", "message"), BAD)
def test_bad_input(G: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        min_norm_weights(G)  # type: ignore[arg-type]
