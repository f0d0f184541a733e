"""Fair weights: they solve their system to rounding, and what any exact solution satisfies."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pyasmg import _core, fair_weights, min_norm_weights
from tests.twins.fair_weights import reference, residual
from tests.twins.simplex_qp import FAMILIES

ALPHAS = (0.5, 1.0, 2.0, 5.0)
SOLVABLE = ("random", "scaled 1e-3..1e3", "scaled 1e-15..1e15", "duplicate", "zero", "conflicting")
TOLERANCE = 1e-13  # of the residual where 0 is not in the hull of the gradients
TOLERANCE_HULL = 1e-10


def gram(family: str, m: int, seed: int) -> np.ndarray:
    return FAMILIES[family](m, np.random.default_rng([seed, m]))


def preference_of(m: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, m, 1]).uniform(0.5, 2.0, m)


def assert_weights(G: np.ndarray, weights: np.ndarray, hint: str = "") -> None:
    assert weights.shape == (len(G),), hint
    assert weights.dtype == np.float64, hint
    assert np.isfinite(weights).all(), hint
    np.testing.assert_array_equal(weights > 0, np.diag(G) > 0, err_msg=hint)


def assert_solves(G: np.ndarray, alpha: float, c: np.ndarray, tolerance: float, hint: str) -> None:
    weights = fair_weights(G, alpha, c)
    assert_weights(G, weights, hint)
    error = residual(G, weights, alpha, c)
    assert error <= tolerance, f"{hint}: residual {error:.1e}"


# ---- the residual, and a reference ----


@pytest.mark.parametrize("m", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("family", FAMILIES)
def test_residual_on_every_family(family: str, alpha: float, m: int) -> None:
    tolerance = TOLERANCE if family in SOLVABLE else TOLERANCE_HULL
    for seed in range(4):
        assert_solves(gram(family, m, seed), alpha, np.ones(m), tolerance, f"{family}, {alpha=}, {m=}, {seed=}")


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("family", FAMILIES)
def test_residual_at_40(family: str, alpha: float) -> None:
    tolerance = TOLERANCE if family in SOLVABLE else TOLERANCE_HULL
    assert_solves(gram(family, 40, 5), alpha, preference_of(40, 5), tolerance, f"{family}, {alpha=}, seed = 5")


@pytest.mark.parametrize("alpha", [0.1, *ALPHAS, 20.0])
@pytest.mark.parametrize("family", ["random", "scaled 1e-3..1e3", "duplicate"])
def test_agrees_with_the_reference(family: str, alpha: float) -> None:
    """Where no term cancels by more than a few digits, the weights themselves are known to as many fewer."""
    for m in (1, 2, 3, 5):
        for seed in range(3):
            hint = f"{family}, {alpha=}, {m=}, {seed=}"
            G, c = gram(family, m, seed), preference_of(m, seed)
            np.testing.assert_allclose(fair_weights(G, alpha, c), reference(G, alpha, c), rtol=1e-9, err_msg=hint)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data())
def test_residual_on_integer_gradients(data: st.DataObject) -> None:
    """Singular, opposing and zero gradients, exactly; powers of two as units."""
    m, d = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    rows = data.draw(st.lists(st.lists(st.integers(-3, 3), min_size=d, max_size=d), min_size=m, max_size=m))
    exponents = data.draw(st.lists(st.integers(-20, 20), min_size=m, max_size=m))
    alpha = data.draw(st.sampled_from(ALPHAS))
    j = np.array(rows, dtype=float) * 2.0 ** np.array(exponents)[:, None]
    assert_solves(j @ j.T, alpha, np.ones(m), TOLERANCE_HULL, f"{alpha=}, {j.tolist()}")


def test_few_steps() -> None:
    for m in (2, 3, 10, 40):
        for alpha in ALPHAS:
            for seed in range(10):
                G = gram("scaled 1e-3..1e3", m, seed)
                assert _core.fair_weights(G, alpha, np.ones(m))[1] <= 15, f"{m=}, {alpha=}, {seed=}"


# ---- closed forms and limits ----


@pytest.mark.parametrize("alpha", ALPHAS)
def test_orthogonal_gradients(alpha: float) -> None:
    squares, c = np.array([1e-6, 1.0, 4.0, 1e10]), np.array([1.0, 2.0, 3.0, 0.1])
    expected = (c ** (1 / alpha) / squares) ** (alpha / (1 + alpha))
    np.testing.assert_allclose(fair_weights(np.diag(squares), alpha, c), expected, rtol=1e-13)


PINNED = [
    ("identity", np.eye(3), 1.0, [1.0, 1.0, 1.0]),
    ("one", [[4.0]], 1.0, [0.5]),
    ("one, alpha 2", [[4.0]], 2.0, [4.0 ** (-2 / 3)]),
    ("cosine 1/2", [[1.0, 0.5], [0.5, 1.0]], 1.0, [1.5**-0.5] * 2),
    ("cosine 1/2, norms 1 and 1e4", [[1.0, 0.5e4], [0.5e4, 1e8]], 1.0, [1.5**-0.5, 1.5**-0.5 * 1e-4]),
    ("one zero gradient", [[4.0, 0.0], [0.0, 0.0]], 1.0, [0.5, 0.0]),
    ("all zero", [[0.0, 0.0], [0.0, 0.0]], 1.0, [0.0, 0.0]),
    ("opposed", [[1.0, -1.0], [-1.0, 1.0]], 1.0, [2.0**25] * 2),  # delta = 2^-50
]


@pytest.mark.parametrize(("G", "alpha", "weights"), [pytest.param(*row[1:], id=row[0]) for row in PINNED])
def test_pinned(G: list[list[float]], alpha: float, weights: list[float]) -> None:
    np.testing.assert_allclose(fair_weights(G, alpha), weights, rtol=1e-14)


def test_large_alpha_is_the_min_norm_point() -> None:
    for seed in range(5):
        G = gram("random", 5, seed)
        weights = fair_weights(G, 1e5)
        np.testing.assert_allclose(weights / weights.sum(), min_norm_weights(G), atol=1e-4, err_msg=f"{seed=}")


def test_small_alpha_is_the_preference() -> None:
    G, c = gram("random", 4, 1), preference_of(4, 1)
    np.testing.assert_allclose(fair_weights(G, 1e-4, c), c, rtol=1e-3)


# ---- properties ----


@pytest.mark.parametrize("alpha", ALPHAS)
def test_scaling_laws(alpha: float) -> None:
    for seed in range(5):
        m, hint = 6, f"{seed=}"
        G, c = gram("scaled 1e-3..1e3", m, seed), preference_of(m, seed)
        weights = fair_weights(G, alpha, c)
        s, t = 1e5, 30.0
        np.testing.assert_allclose(
            fair_weights(s * G, alpha, c), weights * s ** (-alpha / (1 + alpha)), 1e-9, err_msg=hint
        )
        np.testing.assert_allclose(fair_weights(G, alpha, t * c), weights * t ** (1 / (1 + alpha)), 1e-9, err_msg=hint)
        scale = 2.0 ** np.random.default_rng(seed).integers(-6, 7, m)
        scaled = fair_weights(G * scale * scale[:, None], alpha, c * scale ** (alpha - 1))
        np.testing.assert_allclose(scaled, weights / scale, 1e-9, err_msg=hint)


def test_units_of_the_losses_are_nothing_to_nash() -> None:
    for seed in range(5):
        G = gram("random", 8, seed)
        scale = 2.0 ** np.random.default_rng(seed).integers(-200, 200, 8)
        np.testing.assert_array_equal(fair_weights(G * scale * scale[:, None]), fair_weights(G) / scale)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_permutation(alpha: float) -> None:
    for seed in range(5):
        G, c = gram("scaled 1e-3..1e3", 7, seed), preference_of(7, seed)
        order = np.random.default_rng(seed).permutation(7)
        permuted = fair_weights(G[np.ix_(order, order)], alpha, c[order])
        np.testing.assert_allclose(permuted, fair_weights(G, alpha, c)[order], rtol=1e-9, err_msg=f"{seed=}")


@pytest.mark.parametrize("alpha", ALPHAS)
def test_duplicates_share_as_one_with_twice_the_preference(alpha: float) -> None:
    for seed in range(5):
        G = gram("random", 4, seed)
        copies = [0, 1, 2, 3, 1]
        weights = fair_weights(G[np.ix_(copies, copies)], alpha)
        assert weights[1] == pytest.approx(weights[4], rel=1e-13)
        weights[1] += weights[4]
        np.testing.assert_allclose(weights[:4], fair_weights(G, alpha, [1, 2, 1, 1]), rtol=1e-11, err_msg=f"{seed=}")


@pytest.mark.parametrize("alpha", ALPHAS)
def test_length_of_the_direction(alpha: float) -> None:
    """|d|^2 = sum c^(1/alpha) w^(1 - 1/alpha); m for Nash-MTL."""
    for seed in range(5):
        G, c = gram("scaled 1e-3..1e3", 6, seed), preference_of(6, seed)
        weights = fair_weights(G, alpha, c)
        expected = np.sum(c ** (1 / alpha) * weights ** (1 - 1 / alpha))
        assert weights @ G @ weights == pytest.approx(expected, rel=1e-9), f"{seed=}"


def test_preference_is_followed() -> None:
    G = gram("random", 5, 2)
    rates = G @ fair_weights(G)
    for i in range(5):
        assert (G @ fair_weights(G, 1.0, 1.0 + 3.0 * (np.arange(5) == i)))[i] > rates[i]


# ---- no solution ----


@pytest.mark.parametrize("alpha", ALPHAS)
def test_zero_in_the_hull(alpha: float) -> None:
    """Positive and finite, d not longer than a solution's, and its rates far from the right-hand side."""
    for m in (2, 3, 8):
        for seed in range(5):
            hint = f"{m=}, {seed=}"
            G = gram("cancelling", m, seed)
            weights = fair_weights(G, alpha)
            assert_weights(G, weights, hint)
            right = weights ** (-1 / alpha)
            assert weights @ G @ weights <= weights @ right, hint
            assert abs(G @ weights / right - 1).max() > 0.5, hint


def test_opposing_gradients_in_float32() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        j = rng.standard_normal((6, 50))
        j = (j - j.mean(axis=0)).astype(np.float32)
        G = j @ j.T
        weights = fair_weights(G)
        assert_weights(G, weights, f"{seed=}")
        assert residual(G.astype(float), weights, 1.0, np.ones(6)) <= 1e-5, f"{seed=}"
        assert np.linalg.norm(weights @ j.astype(float)) <= 3.0, f"{seed=}"


def test_zero_gradients_are_left_out() -> None:
    G = gram("random", 4, 0)
    wide = np.zeros((6, 6))
    kept = [0, 2, 3, 5]
    wide[np.ix_(kept, kept)] = G
    weights = fair_weights(wide, 2.0, [1, 9, 2, 3, 9, 4])
    np.testing.assert_array_equal(weights[kept], fair_weights(G, 2.0, [1, 2, 3, 4]))
    np.testing.assert_array_equal(weights[[1, 4]], 0.0)


@pytest.mark.parametrize("scale", [5e-324, 1e-308, 1e-150, 1e150, 1e308])
@pytest.mark.parametrize("alpha", [1e-3, 1.0, 1e3])
def test_extreme_scales(alpha: float, scale: float) -> None:
    G = np.diag([scale, 1.0])
    assert_weights(G, fair_weights(G, alpha))
    assert_weights(G, fair_weights(G, alpha, [scale, 1 / max(scale, 1e-300)]))


# ---- the interface ----


@pytest.mark.parametrize("family", FAMILIES)
def test_deterministic_and_no_mutation(family: str) -> None:
    G, c = gram(family, 9, 0), preference_of(9, 0)
    before = G.copy(), c.copy()
    G.setflags(write=False)
    c.setflags(write=False)
    first = fair_weights(G, 2.0, c)
    np.testing.assert_array_equal(fair_weights(G, 2.0, c), first)
    np.testing.assert_array_equal(G, before[0])
    np.testing.assert_array_equal(c, before[1])
    assert first.base is None


def test_layouts_and_types() -> None:
    G = gram("duplicate", 6, 0)
    expected = fair_weights(G, 2.0)
    strided = np.repeat(G, 2, axis=1)[:, ::2]
    for same in (G.tolist(), G.astype(int), np.asfortranarray(G), strided, G.astype(">f8")):
        np.testing.assert_array_equal(fair_weights(same, 2), expected)
    for ones in (1, np.ones(6, dtype=np.float32), [1] * 6):
        np.testing.assert_array_equal(fair_weights(G, np.float32(2), ones), expected)


BAD = [
    (([1.0, 2.0],), ValueError, r"`G` must have shape \(m, m\) with m >= 1; got \(2,\)\."),
    (([[1.0, np.nan], [np.nan, 1.0]],), ValueError, r"`G` must be finite; got G\[0, 1\] = nan\."),
    (([[1.0, 0.0], [0.0, -1.0]],), ValueError, r"`G` must have no negative diagonal .*; got G\[1, 1\] = -1\."),
    (([[1.0, 0.5], [0.4, 1.0]],), ValueError, r"symmetric .*; got G\[1, 0\] = 0\.4\d* and G\[0, 1\] = 0\.5\."),
    ((np.eye(2, dtype=complex),), TypeError, r"`G` must hold real numbers; got dtype complex128\."),
    ((np.eye(2), 0.0), ValueError, r"`alpha` must be a finite number > 0; got 0\."),
    ((np.eye(2), -1), ValueError, r"`alpha` must be a finite number > 0; got -1\."),
    ((np.eye(2), np.inf), ValueError, r"`alpha` must be a finite number > 0; got inf\."),
    ((np.eye(2), np.nan), ValueError, r"`alpha` must be a finite number > 0; got nan\."),
    ((np.eye(2), "2"), TypeError, r"`alpha` must be a finite number > 0; got '2'\."),
    ((np.eye(2), 1.0, [1.0, 0.0]), ValueError, r"`preference` must be positive; got 0\.0 at index 1\."),
    ((np.eye(2), 1.0, [1.0, np.inf]), ValueError, r"`preference` must be finite; got inf at index 1\."),
    ((np.eye(2), 1.0, [1.0] * 3), ValueError, r"`preference` must be .* of shape \(2,\); got shape \(3,\)\."),
    ((np.eye(2), 1.0, ["a", "b"]), TypeError, r"`preference` must be .*; got dtype <U1\."),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_input(arguments: tuple[object, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fair_weights(*arguments)  # type: ignore[arg-type]
