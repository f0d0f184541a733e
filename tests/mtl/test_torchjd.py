"""Our methods as aggregators of TorchJD, and its aggregators inside ``backward``."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from tests.mtl._cases import CASES, named
from tests.mtl._problems import Linear, Network, batches, direction, instance

torchjd = pytest.importorskip("torchjd")

from torchjd import aggregation, autojac  # noqa: E402

from pyasmg.mtl.torchjd import TorchJD, as_aggregator  # noqa: E402

SHAPES = [(1, 1), (2, 3), (3, 2), (5, 9), (9, 11)]
SCALES = [0.0, 1e-10, 1.0, 1e3, 1e5, 1e10, 1e15]


def matrices() -> dict[str, torch.Tensor]:
    """The kinds of matrices that TorchJD tests its own aggregators on."""
    rng = torch.Generator().manual_seed(0)
    found = {}
    for m, n in SHAPES:
        full = torch.randn(m, n, generator=rng)
        low = torch.randn(m, 1, generator=rng) @ torch.randn(1, n, generator=rng)
        weak = full - full.mean(dim=0)  # weakly stationary: the rows add up to 0
        for scale in SCALES:
            found[f"{m}x{n}, {scale:g}"] = scale * full
        found[f"{m}x{n}, rank 1"] = low
        found[f"{m}x{n}, stationary"] = weak
    return found


MATRICES = matrices()


def aggregator_of(name: str, m: int):
    aggregator = as_aggregator(CASES[name].make(m))
    aggregator.losses = torch.linspace(1.0, 2.0, m)
    return aggregator


@pytest.mark.parametrize("name", CASES)
def test_expected_structure(name: str) -> None:
    for hint, matrix in MATRICES.items():
        before = matrix.clone()
        vector = aggregator_of(name, len(matrix))(matrix)
        assert vector.shape == matrix.shape[1:], hint
        assert vector.dtype == matrix.dtype, hint
        assert vector.isfinite().all(), hint
        torch.testing.assert_close(matrix, before, rtol=0, atol=0)


@pytest.mark.parametrize("name", named(lambda case: case.symmetric))
def test_permutation_invariant(name: str) -> None:
    for m, n in SHAPES:
        rows, losses = (torch.from_numpy(array) for array in instance(m, n + 3, 0))
        order = torch.randperm(m, generator=torch.Generator().manual_seed(m))
        plain, permuted = aggregator_of(name, m), aggregator_of(name, m)
        plain.losses, permuted.losses = losses, losses[order]
        torch.testing.assert_close(permuted(rows[order]), plain(rows), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", named(lambda case: case.common_descent))
def test_non_conflicting(name: str) -> None:
    for hint, matrix in MATRICES.items():
        rows = matrix.double()
        vector = aggregator_of(name, len(rows))(rows)
        products = (rows @ vector) / (rows.norm(dim=1) * vector.norm()).clamp_min(1e-300)
        stationary = vector.norm() <= 1e-2 * rows.norm(dim=1).min()
        assert stationary or products.min() >= -1e-6, f"{hint}: {products}"


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_backward(name: str) -> None:
    rows, losses = instance(4, 6, 1)
    aggregator = as_aggregator(CASES[name].make(4))
    aggregator.losses = losses
    found = aggregator(torch.from_numpy(rows))
    np.testing.assert_allclose(found, direction(CASES[name].make(4), rows, losses), rtol=1e-9, atol=1e-12)


def test_in_mtl_backward() -> None:
    """TorchJD's own training step with our method is our step."""
    network, other = Network(3), Network(3)
    features, losses = network(batches(1)[0])
    autojac.mtl_backward(losses, features=features)
    weights = autojac.jac_to_grad(network.trunk.parameters(), as_aggregator(mtl.PIVRG(3)))
    balancer = mtl.PIVRG(3)
    balancer.backward(other(batches(1)[0])[1], shared=other.trunk.parameters())
    np.testing.assert_allclose(weights, balancer.diagnostics.weights, rtol=1e-9)
    for found, expected in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-8, atol=1e-12)


def test_losses_are_asked_for() -> None:
    for name in ("SI", "DWA", "MGDA loss"):
        with pytest.raises(ValueError, match=r"looks at the values of the losses: assign them to `losses`"):
            as_aggregator(CASES[name].make(3))(torch.eye(3))
    for name in ("EW", "RLW", "MGDA", "PIVRG"):
        assert as_aggregator(CASES[name].make(3))(torch.eye(3)).shape == (3,)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"the matrix must have n_tasks = 3 rows; got 2\."):
        as_aggregator(mtl.MGDA(3))(torch.eye(2))
    with pytest.raises(ValueError, match="dimension 2"):
        as_aggregator(mtl.MGDA(3))(torch.ones(3))
    with pytest.raises(TypeError, match=r"`balancer` must be a LossBalancer or GradientBalancer; got 3\."):
        as_aggregator(3)
    with pytest.raises(TypeError, match=r"`aggregator` must be an aggregator of TorchJD; got 3\."):
        TorchJD(3, 3)


def test_performance_informed() -> None:
    wrapped = mtl.PerformanceInformed(mtl.NashMTL(2), mtl.Performance([1.0, 1.0]))
    wrapped.update([2.0, 1.0])
    rows = torch.tensor([[1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
    expected = mtl.NashMTL(2)
    expected.preference = wrapped.balancer.preference
    torch.testing.assert_close(as_aggregator(wrapped)(rows), as_aggregator(expected)(rows))


# ---- the other way round ----

AGGREGATORS = {
    "UPGrad": lambda: aggregation.UPGrad(),
    "MGDA": lambda: aggregation.MGDA(),
    "Mean": lambda: aggregation.Mean(),
    "Sum": lambda: aggregation.Sum(),
    "AlignedMTL": lambda: aggregation.AlignedMTL(),
    "DualProj": lambda: aggregation.DualProj(),
    "IMTLG": lambda: aggregation.IMTLG(),
    "ConFIG": lambda: aggregation.ConFIG(),
    "TrimmedMean": lambda: aggregation.TrimmedMean(trim_number=1),
    "Krum": lambda: aggregation.Krum(n_byzantine=1),
}


@pytest.mark.parametrize("name", AGGREGATORS)
def test_aggregators_inside_backward(name: str) -> None:
    if name in ("UPGrad", "DualProj"):
        pytest.importorskip("quadprog")
    rows, losses = instance(5, 9, 2)
    problem, balancer = Linear(rows, losses), TorchJD(5, AGGREGATORS[name]())
    balancer.backward(problem.losses(), shared=problem.shared, heads=problem.heads)
    expected = AGGREGATORS[name]()(torch.from_numpy(rows))
    np.testing.assert_allclose(problem.gradient(), expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(problem.head_gradients(), 3.0)


def test_agrees_with_their_methods() -> None:
    """The same direction as TorchJD's Mean, and as its FairGrad up to what a least-squares solver leaves."""
    pytest.importorskip("scipy")
    rows, losses = instance(3, 6, 3)
    np.testing.assert_allclose(
        direction(TorchJD(3, aggregation.Mean()), rows, losses), direction(mtl.EW(3), rows, losses), rtol=1e-12
    )
    theirs = direction(TorchJD(3, aggregation.FairGrad(alpha=2.0)), rows, losses)
    np.testing.assert_allclose(direction(mtl.FairGrad(3), rows, losses), theirs, rtol=1e-3)
