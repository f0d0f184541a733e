"""GradVac against a transcription on whole gradients."""

from __future__ import annotations

import numpy as np
import pytest

import pyasmg.mtl as mtl
from pyasmg.mtl.pcgrad import orders
from tests.mtl._problems import direction, instance


class Reference:
    """The rule as printed, on vectors; the orders are those of the balancer."""

    def __init__(self, m: int, beta: float, always: bool, seed: int) -> None:
        self.usual = np.zeros((m, m))
        self.beta, self.always = beta, always
        self.rng = np.random.Generator(np.random.PCG64(seed))

    def step(self, rows: np.ndarray) -> np.ndarray:
        m = len(rows)
        total = np.zeros(rows.shape[1])
        for i, order in enumerate(orders(self.rng, m)):
            v = rows[i].copy()
            for j in order:
                length, other = np.linalg.norm(v), np.linalg.norm(rows[j])
                phi, target = v @ rows[j] / length / other, self.usual[i, j]
                if phi < target:
                    numerator = target * np.sqrt(1 - phi**2) - phi * np.sqrt(1 - target**2)
                    v = v + length * numerator / (other * np.sqrt(1 - target**2)) * rows[j]
                    reached = v @ rows[j] / np.linalg.norm(v) / other
                    assert abs(reached - target) <= 1e-9
                if phi < target or self.always:
                    self.usual[i, j] = (1 - self.beta) * target + self.beta * phi
            total += v
        return total


@pytest.mark.parametrize("update", ["always", "violation"])
@pytest.mark.parametrize("shape", [(2, 3), (3, 7), (6, 9)])
def test_several_steps(shape: tuple[int, int], update: str) -> None:
    m, d = shape
    reference = Reference(m, 0.3, update == "always", 7)
    balancer = mtl.GradVac(m, beta=0.3, update=update, seed=7)
    for step in range(10):
        rows, values = instance(m, d, step)
        rows = rows * 10.0 ** np.random.default_rng(step).uniform(-2, 2, (m, 1))
        np.testing.assert_allclose(
            direction(balancer, rows, values), reference.step(rows), rtol=1e-8, err_msg=f"{step=}"
        )


def test_the_two_updates_differ() -> None:
    found = []
    for update in ("always", "violation"):
        balancer = mtl.GradVac(3, update=update)
        for step in range(3):
            last = direction(balancer, *instance(3, 7, step))
        found.append(last)
    assert np.linalg.norm(found[0] - found[1]) > 1e-3


def test_the_first_step_is_that_of_pcgrad() -> None:
    for seed in range(3):
        rows, values = instance(6, 4, seed)
        found = direction(mtl.GradVac(6, seed=seed), rows, values)
        np.testing.assert_allclose(found, direction(mtl.PCGrad(6, seed=seed), rows, values), rtol=1e-9)


def test_equal_tasks_are_left_alone() -> None:
    """Their usual cosine becomes 1, where the divisor of the rule vanishes."""
    row = instance(1, 5, 0)[0][0]
    balancer = mtl.GradVac(2, beta=1.0)
    for _ in range(5):
        found = direction(balancer, np.array([row, 2.0 * row]), np.ones(2))
        np.testing.assert_allclose(found, 3.0 * row, rtol=1e-12)


def test_opposed_tasks_cancel() -> None:
    """Also where that is usual, and no cosine is left."""
    rows = np.array([[1.0, 2.0], [-1.0, -2.0]])
    balancer = mtl.GradVac(2, beta=1.0)
    for _ in range(4):
        np.testing.assert_allclose(direction(balancer, rows, np.ones(2)), 0.0, atol=1e-5)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`beta` must be a finite number >= 0 and <= 1; got 1\.5\."):
        mtl.GradVac(2, beta=1.5)
    with pytest.raises(ValueError, match=r"`update` must be 'always' or 'violation'; got 'never'\."):
        mtl.GradVac(2, update="never")
