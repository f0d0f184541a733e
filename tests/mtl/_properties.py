"""Mathematical properties of a method, asserted on its first step."""

from __future__ import annotations

import numpy as np
import torch

from tests.mtl._cases import Case
from tests.mtl._problems import Linear, direction, instance

SHAPES = ((1, 4), (2, 7), (3, 6), (5, 9), (10, 8))
SCALES = (1e-8, 1e-3, 1e3, 1e8)


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float, hint: str) -> None:
    """Compare vectors by their distance over the length of the expected one."""
    error = np.linalg.norm(found - expected)
    assert error <= tolerance * max(np.linalg.norm(expected), 1e-300), f"{hint}: {found} is not {expected}"


def assert_permutation(case: Case) -> None:
    for m, d in SHAPES:
        for seed in range(3):
            rows, values = instance(m, d, seed)
            order = np.random.default_rng(seed).permutation(m)
            found = direction(case.make(m), rows[order], values[order])
            assert_close(found, direction(case.make(m), rows, values), 1e-8, f"{m=}, {seed=}")


def assert_degree(case: Case) -> None:
    for m, d in SHAPES:
        rows, values = instance(m, d, 0)
        plain = direction(case.make(m), rows, values)
        for scale in SCALES:
            found = direction(case.make(m), scale * rows, scale * values)
            assert_close(found, plain * scale**case.degree, 1e-8, f"{m=}, {scale=}")


def assert_units(case: Case) -> None:
    for m, d in SHAPES:
        rows, values = instance(m, d, 1)
        units = 2.0 ** np.random.default_rng(m).integers(-20, 21, m)
        found = direction(case.make(m), units[:, None] * rows, units * values)
        assert_close(found, direction(case.make(m), rows, values), 1e-8, f"{m=}")


def assert_zero_gradients(case: Case) -> None:
    """A task that is at its optimum, or all of them: finite, and zero where there is nothing to go by."""
    for m, d in SHAPES:
        rows, values = instance(m, d, 2)
        rows[0] = 0.0
        assert np.isfinite(direction(case.make(m), rows, values)).all(), f"{m=}"
        np.testing.assert_array_equal(direction(case.make(m), 0.0 * rows, values), 0.0, err_msg=f"{m=}")


def assert_twins(case: Case) -> None:
    for m, d in SHAPES:
        rows, values = instance(m, d, 3)
        copies = [*range(m), 0]
        balancer = case.make(m + 1)
        direction(balancer, rows[copies], values[copies])
        weights = balancer.diagnostics.weights
        assert abs(weights[0] - weights[m]) <= 1e-9 * abs(weights).max(), f"{m=}: {weights}"


def assert_common_descent(case: Case) -> None:
    """With a common descent direction, each loss falls along minus the direction."""
    for m, d in ((2, 4), (3, 6), (5, 9), (10, 20)):
        for seed in range(3):
            rows, values = instance(m, d, seed)
            rates = rows @ direction(case.make(m), rows, values)
            assert rates.min() > 0.0, f"{m=}, {seed=}: {rates}"


def assert_stationary(case: Case) -> None:
    for m, d in ((2, 4), (3, 6), (5, 9)):
        rows, values = instance(m, d, 4)
        shares = np.random.default_rng(m).uniform(0.5, 2.0, m)
        rows[-1] = -(shares[:-1] @ rows[:-1]) / shares[-1]  # sum_i shares_i rows_i = 0
        found = direction(case.make(m), rows, values)
        assert np.linalg.norm(found) <= case.stationary * np.linalg.norm(rows, axis=1).min(), f"{m=}: {found}"


def assert_single_precision(case: Case) -> None:
    for m, d in ((2, 7), (3, 6), (5, 9)):
        rows, values = instance(m, d, 5)
        rows, values = rows.astype(np.float32).astype(float), values.astype(np.float32).astype(float)
        found = direction(case.make(m), rows, values, torch.float32)
        assert_close(found, direction(case.make(m), rows, values), 1e-5, f"{m=}")


def assert_heads(case: Case) -> None:
    """Each head has the gradient of its loss, times its weight where the method says so."""
    for m, d in ((2, 7), (5, 9)):
        rows, values = instance(m, d, 6)
        problem, balancer = Linear(rows, values), case.make(m)
        balancer.backward(problem.losses(), shared=problem.shared, heads=problem.heads)
        weights = balancer.diagnostics.weights
        one = getattr(balancer, "head_weights", "weighted") == "one" or weights is None
        expected = 3.0 * (np.ones(m) if one else weights)
        np.testing.assert_allclose(problem.head_gradients(), expected, rtol=1e-12)


def assert_combination(case: Case) -> None:
    """Where a method reports weights, the direction is the combination with them."""
    for m, d in SHAPES:
        rows, values = instance(m, d, 7)
        balancer = case.make(m)
        found = direction(balancer, rows, values)
        if balancer.diagnostics.weights is not None:
            assert_close(found, balancer.diagnostics.weights @ rows, 1e-9, f"{m=}")
