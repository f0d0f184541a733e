"""The quadratic program with equalities, against every face."""

from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from pyasmg.mtl.bilevel._simplex_program import equality_qp


def best_face(H: np.ndarray, b: np.ndarray, A: np.ndarray, c: np.ndarray) -> float:
    """The least value over all faces, each by the pseudo-inverse of its system."""
    m, k = len(b), len(A)
    best = np.inf
    for face in chain.from_iterable(combinations(range(m), size) for size in range(1, m + 1)):
        f = list(face)
        system = np.block([[H[np.ix_(f, f)], A[:, f].T], [A[:, f], np.zeros((k, k))]])
        y = np.zeros(m)
        y[f] = (np.linalg.pinv(system, rcond=1e-11) @ np.append(-b[f], c))[: len(f)]
        if y.min() >= -1e-10 and np.abs(A @ y - c).max() <= 1e-10:
            best = min(best, 0.5 * float(y @ H @ y) + float(b @ y))
    return best


@pytest.mark.parametrize("rank", [0, 1, 3, 6])
@pytest.mark.parametrize("n_rows", [1, 2])
def test_every_face(rank: int, n_rows: int) -> None:
    for seed in range(15):
        rng = np.random.default_rng([rank, n_rows, seed])
        m = int(rng.integers(2, 7))
        root = rng.standard_normal((rank, m))
        H, b = root.T @ root / max(rank, 1), rng.standard_normal(m)
        A = np.vstack([np.ones(m), rng.standard_normal(m)])[:n_rows]
        start = rng.dirichlet(np.ones(m))
        y = equality_qp(H, b, A, start)
        assert y.min() >= 0.0, f"{seed=}"
        np.testing.assert_allclose(A @ y, A @ start, rtol=0, atol=1e-12, err_msg=f"{seed=}")
        value = 0.5 * float(y @ H @ y) + float(b @ y)
        assert value <= best_face(H, b, A, A @ start) + 1e-10, f"{seed=}"


def test_from_a_vertex() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 5))
    H, b, ones = root.T @ root, rng.standard_normal(5), np.ones((1, 5))
    values = []
    for i in range(5):
        y = equality_qp(H, b, ones, np.eye(5)[i])
        values.append(0.5 * float(y @ H @ y) + float(b @ y))
    np.testing.assert_allclose(values, values[0], rtol=1e-12)
