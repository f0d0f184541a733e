"""The solver of CAGrad's small problem: conditions of optimality in 60 digits, and every face."""

from __future__ import annotations

import numpy as np
import pytest

from pyasmg import _core, min_norm_weights
from pyasmg.mtl import _conflict_averse
from pyasmg.mtl._conflict_averse import conflict_averse_weights
from tests.twins.conflict_averse import enumerate_faces, guess, violation
from tests.twins.simplex_qp import FAMILIES

CS = (0.1, 0.4, 0.9, 1.0, 2.0)
TOLERANCE = 1e-12


def norms_over_16_orders(m: int, rng: np.random.Generator) -> np.ndarray:
    """Norms 1e-8 .. 1e8, with and without a common descent direction."""
    rows = rng.standard_normal((m, 2 * m)) + rng.choice([0.0, 0.5]) * rng.standard_normal(2 * m)
    rows *= 10.0 ** rng.uniform(-8, 8, (m, 1))
    return rows @ rows.T


def opposing(m: int, rng: np.random.Generator) -> np.ndarray:
    """Two gradients that are opposed up to 1e-6."""
    rows = rng.standard_normal((m, 2 * m)) + 1.0
    rows[-1] = -2.0 * rows[0] + 1e-6 * rng.standard_normal(2 * m)
    return rows @ rows.T


def on_a_line(m: int, rng: np.random.Generator) -> np.ndarray:
    rows = rng.choice([-1.0, 1.0, 1.0], m) * 10.0 ** rng.uniform(-3, 3, m)
    return np.outer(rows, rows)


GRAMS = {**FAMILIES, "1e-8..1e8": norms_over_16_orders, "opposing": opposing, "on a line": on_a_line}


def zero_is_in_the_hull(G: np.ndarray) -> bool:
    """Up to the rounding of G."""
    norms = np.sqrt(np.diag(G))
    if norms.min() == 0.0:
        return True
    share = min_norm_weights(G) * norms
    return bool(share @ (G / norms / norms[:, None]) @ share <= 1e-12 * share.sum() ** 2)


@pytest.mark.parametrize("m", [2, 3, 10, 40])
@pytest.mark.parametrize("family", GRAMS)
def test_conditions_of_optimality(family: str, m: int) -> None:
    for seed in range(2 if m == 40 else 6):
        G = GRAMS[family](m, np.random.default_rng([m, seed]))
        G = 0.5 * (G + G.T)
        for c in CS[:: 2 if m == 40 else 1]:
            v = conflict_averse_weights(G, c)
            assert v.min() >= 0.0
            found = violation(G, c, v)
            hint = f"{seed=}, {c=}: {found}"
            assert found.beyond <= TOLERANCE, hint
            if found.within > TOLERANCE:  # then the worst rate is 0 at best, and is 0
                assert zero_is_in_the_hull(G), hint
                found = violation(G, c, v, rate=0.0)
            assert found.rates <= TOLERANCE, hint


@pytest.mark.parametrize("m", [1, 2, 3, 5])
@pytest.mark.parametrize("family", ["random", "scaled 1e-3..1e3", "1e-8..1e8", "conflicting"])
def test_every_face(family: str, m: int) -> None:
    """The same v as the face by face search in 60 digits, where the problem determines it well."""
    compared = 0
    for seed in range(8):
        G = GRAMS[family](m, np.random.default_rng([m, seed]))
        norms = np.sqrt(np.diag(G))
        for c in CS:
            expected = enumerate_faces(G, c)
            if expected is None or np.linalg.cond(G / norms / norms[:, None]) > 1e4:
                continue
            v = conflict_averse_weights(G, c) * norms
            np.testing.assert_allclose(v, expected[0] * norms, rtol=0, atol=1e-11 * v.max(), err_msg=f"{seed=}, {c=}")
            compared += 1
    assert compared >= 10


@pytest.mark.parametrize("family", ["random", "scaled 1e-3..1e3", "1e-8..1e8", "conflicting", "duplicate"])
def test_the_path_that_needs_no_luck(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton's method alone gives what the search for the face gives first."""
    for m in (2, 3, 10):
        for seed in range(6):
            G = GRAMS[family](m, np.random.default_rng([m, seed]))
            norms = np.sqrt(np.diag(G))
            for c in CS:
                with monkeypatch.context() as patch:
                    patch.setattr(_core, "conflict_averse_weights", lambda *arguments: None)
                    expected = conflict_averse_weights(G, c) * norms
                    patch.setattr(_conflict_averse, "_guess", lambda *arguments: None)
                    found = conflict_averse_weights(G, c) * norms
                assert violation(G, c, found / norms).beyond <= TOLERANCE
                difference = found - expected
                squared = difference @ (G / norms / norms[:, None]) @ difference
                assert squared <= 1e-18 * expected.sum() ** 2, f"{m=}, {seed=}, {c=}"


def test_by_hand() -> None:
    v = conflict_averse_weights(np.diag([1.0, 4.0]), 0.4)  # g0 = (1/2, 1), r = 0.4 |g0|: all of it on the first
    np.testing.assert_allclose(v, [0.4 * 1.25**0.5, 0.0], rtol=1e-14)
    opposed = np.array([[1.0, -3.0], [-3.0, 9.0]])  # g0 = -1 times the first unit vector
    np.testing.assert_allclose(conflict_averse_weights(opposed, 0.4), [0.4, 0.0], rtol=1e-14)
    np.testing.assert_allclose(conflict_averse_weights(opposed, 3.0), [1.0, 0.0], rtol=1e-14)  # d = 0


@pytest.mark.parametrize("scale", [1e-150, 1e-8, 1e8, 1e150])
def test_scale(scale: float) -> None:
    """A power of ten changes nothing: v has no unit."""
    for family in ("random", "conflicting", "duplicate"):
        G = GRAMS[family](5, np.random.default_rng(1))
        expected = conflict_averse_weights(G, 0.7) @ G
        found = conflict_averse_weights(G * scale * scale, 0.7) @ G
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max(), err_msg=family)


def test_nothing_to_go_by() -> None:
    assert not conflict_averse_weights(np.zeros((3, 3)), 0.4).any()
    assert not conflict_averse_weights(np.eye(3), 0.0).any()
    assert not conflict_averse_weights(np.array([[1.0, -1.0], [-1.0, 1.0]]), 0.4).any()  # g0 = 0


def test_a_duplicate_changes_no_direction() -> None:
    rows = np.random.default_rng(0).standard_normal((4, 6)) + 0.3
    twice = np.concatenate((rows, rows))
    for c in CS:
        found = conflict_averse_weights(twice @ twice.T, c) @ twice
        np.testing.assert_allclose(found, conflict_averse_weights(rows @ rows.T, c) @ rows, rtol=0, atol=1e-12)


def test_the_matrix_is_left_alone() -> None:
    G = GRAMS["zero"](5, np.random.default_rng(0))
    before = G.copy()
    conflict_averse_weights(G, 0.4)
    np.testing.assert_array_equal(G, before)


@pytest.mark.parametrize("m", [1, 2, 3, 10, 40])
def test_twin_of_the_guess(m: int) -> None:
    """On regular matrices, with tolerances that are wider than those of the core."""
    n_found = 0
    for seed in range(20):
        rng = np.random.default_rng([m, seed])
        rows = rng.standard_normal((m, 2 * m)) + rng.choice([0.0, 0.5]) * rng.standard_normal(2 * m)
        rows /= np.linalg.norm(rows, axis=1)[:, None]
        cosines = rows @ rows.T
        norms = np.exp(rng.standard_normal(m))
        inner, shares = cosines @ norms / m, norms.min() / norms
        radius = rng.choice(CS) * float(np.sqrt(norms @ inner / m))
        inside, held = rng.random(m) < 0.7, bool(seed % 2)
        found = _conflict_averse._guess(cosines, inner, shares, radius, inside.copy(), held)
        expected = guess(cosines, inner, shares, radius, inside.copy(), held)
        assert (found is None) == (expected is None), f"{seed=}"
        if found is not None:
            n_found += 1
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12, err_msg=f"{seed=}")
    assert n_found >= 2


@pytest.mark.parametrize("family", GRAMS)
def test_at_once_or_in_steps(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the core finds in one call is what the solver in Python says; it leaves zero gradients to that."""
    n_found = 0
    for m in (1, 2, 3, 10):
        for seed in range(6):
            G = GRAMS[family](m, np.random.default_rng([m, seed]))
            G = 0.5 * (G + G.T)
            norms = np.sqrt(np.diag(G))
            mean = float(G.sum()) / max(float(norms.sum()) ** 2, 1e-300)
            for c in CS:
                at_once = _core.conflict_averse_weights(G, c)
                if at_once is None:
                    continue
                n_found += 1
                assert norms.min() > 0.0
                with monkeypatch.context() as patch:
                    patch.setattr(_core, "conflict_averse_weights", lambda *arguments: None)
                    expected = conflict_averse_weights(G, c) * norms
                difference = at_once * norms - expected
                squared = difference @ (G / norms / norms[:, None]) @ difference
                if mean > 1e-14:  # beside the rounding of its length; shorter ones are rounding themselves
                    allowed = 1e-14 + (1e-15 / mean) ** 2
                    assert squared <= allowed * expected.sum() ** 2, f"{m=}, {seed=}, {c=}"
    assert n_found > 0 or family == "zero"
    with pytest.raises(ValueError, match="gram must have shape"):
        _core.conflict_averse_weights(np.ones((2, 3)), 0.5)
