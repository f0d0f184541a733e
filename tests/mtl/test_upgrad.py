"""UPGrad against SciPy's non-negative least squares, and against TorchJD."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from pyasmg import _core
from pyasmg.mtl._nonnegative_qp import bounded_qp
from tests.mtl._problems import direction, instance
from tests.twins.simplex_qp import FAMILIES


def projections(rows: np.ndarray) -> np.ndarray:
    """Each row projected onto what is dual to all: the residual of a non-negative least-squares problem."""
    optimize = pytest.importorskip("scipy.optimize")
    return np.array([row + optimize.nnls(rows.T, -row)[0] @ rows for row in rows])


@pytest.mark.parametrize("shape", [(1, 3), (2, 4), (3, 2), (5, 9), (10, 4), (20, 30)])
def test_the_mean_of_projections(shape: tuple[int, int]) -> None:
    for seed in range(5):
        rows, values = instance(*shape, seed)
        found = direction(mtl.UPGrad(len(rows)), rows, values)
        expected = projections(rows).mean(axis=0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10 * np.abs(rows).max(), err_msg=f"{seed=}")
        rates = rows @ found / np.linalg.norm(rows, axis=1)
        assert rates.min() >= -1e-10 * np.linalg.norm(rows, axis=1).max(), f"{seed=}: {rates}"


def test_norms_over_16_orders() -> None:
    """No loss rises, relative to its own gradient and to what the projections are made of."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((6, 8)) * 10.0 ** rng.uniform(-8, 8, (6, 1))
        balancer = mtl.UPGrad(6)
        found = direction(balancer, rows, np.ones(6))
        norms = np.linalg.norm(rows, axis=1)
        terms = np.abs(rows / norms[:, None]) @ (np.abs(balancer.diagnostics.weights[:, None] * rows).sum(axis=0))
        assert ((rows @ found) / norms >= -1e-13 * terms).all(), f"{seed=}"
        assert np.linalg.norm(found) > 0.0


def test_a_stationary_point() -> None:
    rows, values = instance(4, 6, 0)
    rows[-1] = -np.array([0.5, 1.0, 2.0]) @ rows[:-1]
    np.testing.assert_allclose(direction(mtl.UPGrad(4), rows, values), 0.0, atol=1e-13)


def test_dependent_gradients_have_one_direction() -> None:
    rows, values = instance(3, 5, 1)
    twice = np.concatenate((rows, rows))
    found = direction(mtl.UPGrad(6), twice, np.tile(values, 2))
    np.testing.assert_allclose(found, direction(mtl.UPGrad(3), rows, values), rtol=1e-12)


@pytest.fixture
def projector():
    """TorchJD's interface to a solver of the quadratic program, with DAQP: theirs is under the GPL."""
    linalg = pytest.importorskip("torchjd.linalg")
    daqp = pytest.importorskip("daqp")

    class Projector(linalg.DualConeProjector):
        def __call__(self, U: torch.Tensor, G: torch.Tensor) -> torch.Tensor:
            m = G.shape[0]
            gram = G.double().numpy() + 1e-13 * G.trace().item() * np.eye(m)
            found = [
                daqp.solve(gram, np.zeros(m), np.eye(m), np.full(m, 1e30), u, np.zeros(m, dtype=np.int32))[0]
                for u in U.double().numpy()
            ]
            return torch.from_numpy(np.array(found)).to(G)

    return Projector()


def test_against_torchjd(projector) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    for seed in range(5):
        rows, values = instance(6, 10, seed)
        expected = aggregation.UPGrad(projector=projector)(torch.from_numpy(rows))
        np.testing.assert_allclose(direction(mtl.UPGrad(6), rows, values), expected, rtol=1e-6, atol=1e-9)


def test_a_preference_is_the_preference_vector_of_torchjd(projector) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    rows, values = instance(4, 6, 3)
    preference = np.array([0.5, 1.0, 1.5, 3.0])
    balancer = mtl.UPGrad(4)
    balancer.preference = preference
    expected = aggregation.UPGrad(pref_vector=torch.from_numpy(preference / 4), projector=projector)
    np.testing.assert_allclose(
        direction(balancer, rows, values), expected(torch.from_numpy(rows)), rtol=1e-6, atol=1e-9
    )


def test_against_the_solver_of_torchjd() -> None:
    """Theirs adds 1e-4 to the diagonal."""
    aggregation = pytest.importorskip("torchjd.aggregation")
    pytest.importorskip("quadprog")
    rows, values = instance(6, 10, 0)
    expected = aggregation.UPGrad()(torch.from_numpy(rows))
    np.testing.assert_allclose(direction(mtl.UPGrad(6), rows, values), expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("m", [1, 2, 3, 10, 40])
def test_weights_in_one_call(m: int) -> None:
    """Against the programs one by one, on the cosines."""
    for family, make in FAMILIES.items():
        gram = make(m, np.random.default_rng(m))
        gram = 0.5 * (gram + gram.T)
        used = np.flatnonzero(np.diag(gram) > 0.0)
        norms = np.sqrt(np.diag(gram)[used])
        cosines = np.clip(gram[np.ix_(used, used)] / norms / norms[:, None], -1.0, 1.0)
        np.fill_diagonal(cosines, 1.0)
        expected = np.ones(m)
        for norm, row in zip(norms, cosines, strict=True):
            expected[used] += norm * bounded_qp(cosines, row) / norms
        found = _core.upgrad_weights(gram) * m
        assert found.min() >= 1.0
        lengths = np.sqrt(np.diag(gram))
        difference = (found - expected) * lengths / max(lengths.max(), 1e-300)
        units = gram / np.outer(*[np.where(lengths > 0.0, lengths, 1.0)] * 2)
        size = (expected * lengths).sum() / max(lengths.max(), 1e-300)
        assert abs(difference @ units @ difference) <= 1e-13 * max(size, 1.0) ** 2, family
    with pytest.raises(ValueError, match="gram must have shape"):
        _core.upgrad_weights(np.ones((2, 3)))
