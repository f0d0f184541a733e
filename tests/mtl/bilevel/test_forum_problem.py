"""FORUM's small problem: against CVXPY, its conditions of optimality, and what scaling changes."""

from __future__ import annotations

import numpy as np
import pytest

from pyasmg import min_norm_weights
from pyasmg.mtl.bilevel._forum_problem import forum_multiplier, forum_weights

VARIANTS = [("paper", True), ("paper", False), ("derived", True)]


def case(seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Gradients of objectives and constraint, and phi; a third of them made for the kink."""
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 9))
    d = m + 1 + int(rng.integers(0, 20))
    F = rng.standard_normal((m, d)) + rng.uniform(0, 2) * rng.standard_normal(d)
    q = rng.standard_normal(d) * 10.0 ** rng.uniform(-1, 1)
    phi = 0.5 * rng.uniform(0.05, 1.0) * float(q @ q)
    if seed % 3 == 0:
        F += (rng.uniform(0.5, 1.5, (m, 1)) - (F @ q)[:, None]) * q / (q @ q)
        phi = 0.51 * float(min_norm_weights(F @ F.T) @ F @ q)  # a little more than what the shortest one leans
    return F, q, phi


def gram_of(F: np.ndarray, q: np.ndarray) -> np.ndarray:
    matrix = np.vstack([F, q])
    return matrix @ matrix.T


def left_of(F: np.ndarray, q: np.ndarray, phi: float, weights: np.ndarray, multiplier: str) -> str:
    level = 2.0 * phi if multiplier == "paper" else phi
    leaning = float(weights @ (F @ q))
    return "kink" if abs(leaning - level) < 1e-9 * level else "left" if leaning < level else "right"


def test_against_cvxpy() -> None:
    """200 random problems (3.29), each solution lying left of the kink, at it, or right of it."""
    cp = pytest.importorskip("cvxpy")
    regions = []
    for seed in range(200):
        F, q, phi = case(seed)
        multiplier, halved = VARIANTS[0] if seed % 4 else VARIANTS[1 + seed // 4 % 2]
        size, length = np.linalg.norm(F, axis=1).max(), np.linalg.norm(q)
        G, unit, level = F / size, q / length, phi / size / length  # gamma in units of these
        weights, gamma = cp.Variable(len(F)), cp.Variable()
        constraints = [weights >= 0, cp.sum(weights) == 1, gamma >= 0]
        if multiplier == "paper":
            constraints.append(gamma >= (2.0 * level - G @ unit) @ weights)
        factor = 0.5 if halved else 1.0
        value = factor * cp.sum_squares(G.T @ weights + gamma * unit) - level * gamma
        problem = cp.Problem(cp.Minimize(value / max(1.0, level)), constraints)
        tolerances = {f"tol_{name}": 1e-12 for name in ("gap_abs", "gap_rel", "feas", "ktratio")}
        problem.solve(solver=cp.CLARABEL, **tolerances)
        found = forum_weights(gram_of(F, q), phi, multiplier=multiplier, halved=halved)
        np.testing.assert_allclose(found, weights.value, rtol=0, atol=1e-8, err_msg=f"{seed=}")
        nu = forum_multiplier(found, gram_of(F, q), phi, multiplier)
        np.testing.assert_allclose(nu * length / size, gamma.value, rtol=1e-8, atol=1e-8, err_msg=f"{seed=}")
        regions.append(left_of(F, q, phi, found, multiplier))
    assert min(regions.count(region) for region in ("left", "kink", "right")) >= 5


@pytest.mark.parametrize(("multiplier", "halved"), VARIANTS)
@pytest.mark.parametrize("family", ["random", "low rank", "wide norms", "small constraint", "large constraint"])
def test_conditions_of_optimality(family: str, multiplier: str, halved: bool) -> None:
    r"""Some slope s of h at a makes P'P w + s q'F stationary over the simplex."""
    for seed in range(20):
        F, q, phi = case(seed)
        rng = np.random.default_rng([seed, 7])
        if family == "low rank":
            F = rng.standard_normal((len(F), 2)) @ F[:2]
        elif family == "wide norms":
            F *= 10.0 ** rng.uniform(-5, 5, (len(F), 1))
        elif family == "small constraint":
            q, phi = 1e-8 * q, 1e-16 * phi
        elif family == "large constraint":
            q, phi = 1e6 * q, 1e12 * phi
        weights = forum_weights(gram_of(F, q), phi, multiplier=multiplier, halved=halved)
        assert weights.min() >= 0.0
        assert weights.sum() == pytest.approx(1.0, abs=1e-12)
        squared, leaning = float(q @ q), F @ q
        level = 2.0 * phi if multiplier == "paper" else phi
        projected = F - np.outer(leaning, q) / squared
        left = (1.0 if halved else 0.5) * phi / squared
        a = float(weights @ leaning)
        norms = np.linalg.norm(F, axis=1)
        reach = float(weights @ norms)
        candidates = [left if a <= level else a / squared]
        if abs(a - level) <= 1e-9 * (abs(level) + np.abs(leaning).max()):  # at the kink, any slope in between
            candidates += np.linspace(left, level / squared, 2001).tolist()
        residuals = []
        for slope in candidates:
            rates = projected @ (projected.T @ weights) + slope * leaning
            terms = (norms + reach) * (reach + slope * np.sqrt(squared))
            residuals.append(((weights @ rates - rates) / terms).max())
        # between two slopes that were tried the rates change by a 2000th
        assert min(residuals) <= (1e-12 if len(candidates) == 1 else 1e-3), f"{seed=}"


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_of_all_gradients(factor: float) -> None:
    for seed in range(10):
        F, q, phi = case(seed)
        expected = forum_weights(gram_of(F, q), phi)
        scaled = forum_weights(gram_of(factor * F, factor * q), factor**2 * phi)
        np.testing.assert_allclose(scaled, expected, rtol=0, atol=1e-11, err_msg=f"{seed=}")


def test_permutation() -> None:
    for seed in range(10):
        F, q, phi = case(seed)
        order = np.random.default_rng(seed).permutation(len(F))
        expected = forum_weights(gram_of(F, q), phi)[order]
        np.testing.assert_allclose(forum_weights(gram_of(F[order], q), phi), expected, rtol=0, atol=1e-11)


def test_without_a_constraint() -> None:
    """Where the constraint has no gradient, or no pull, this is MGDA."""
    F, q, _ = case(1)
    gram = gram_of(F, 0.0 * q)
    np.testing.assert_array_equal(forum_weights(gram, 0.0), min_norm_weights(F @ F.T))
    assert forum_multiplier(forum_weights(gram, 0.0), gram, 0.0) == 0.0
    upward = F + 10.0 * q * np.abs(F @ q).max() / (q @ q)  # all objectives descend the constraint as well
    gram = gram_of(upward, q)
    np.testing.assert_allclose(forum_weights(gram, 0.0), min_norm_weights(gram[:-1, :-1]), rtol=0, atol=1e-15)
    assert forum_multiplier(min_norm_weights(gram[:-1, :-1]), gram, 0.0) == 0.0


def test_direction_of_the_paper() -> None:
    """It enforces <grad q, -d> >= 2 phi, the derived one >= phi, and the latter has the better dual value."""
    for seed in range(20):
        F, q, phi = case(seed)
        gram, values = gram_of(F, q), {}
        for multiplier, bound in (("paper", 2.0 * phi), ("derived", phi)):
            weights = forum_weights(gram, phi, multiplier=multiplier)
            nu = forum_multiplier(weights, gram, phi, multiplier)
            step = weights @ F + nu * q
            assert float(step @ q) >= bound * (1.0 - 1e-9), f"{seed=}"
            values[multiplier] = 0.5 * float(step @ step) - nu * phi
        assert values["derived"] <= values["paper"] + 1e-12 * abs(values["paper"]), f"{seed=}"


def test_one_objective_and_zero_gradients() -> None:
    np.testing.assert_array_equal(forum_weights(np.array([[2.0, 1.0], [1.0, 3.0]]), 0.5), [1.0])
    np.testing.assert_allclose(forum_weights(np.diag([0.0, 0.0, 1.0]), 0.5), [0.5, 0.5])
    F, q, phi = case(4)
    F[0] = 0.0
    weights = forum_weights(gram_of(F, q), phi)
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
