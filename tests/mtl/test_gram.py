"""The Gram matrix: exact to the rounding of its entries, in chunks, at every scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyasmg.mtl import _gram
from pyasmg.mtl._gram import gram_matrix


def reference(matrix: torch.Tensor) -> np.ndarray:
    rows = matrix.double().numpy()
    return rows @ rows.T


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "shape", [(1, 1), (3, 5), (4, 0), (5, 1000), (3, 2 * _gram.CHUNK + 7), (12, 70_000), (20, 90_000)]
)
def test_agrees_with_double_precision(shape: tuple[int, int], dtype: torch.dtype) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    found, expected = gram_matrix(matrix), reference(matrix)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, found.T)
    norms = np.sqrt(np.diag(expected))
    exact = dtype is torch.float64 or matrix.numel() * len(matrix) <= _gram.EXACT_WORK
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=(1e-12 if exact else 5e-7) * np.outer(norms, norms).max(initial=0)
    )


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1e18, 1e25])
def test_squares_beyond_single_precision(scale: float) -> None:
    matrix = torch.randn(3, 300_000, generator=torch.Generator().manual_seed(1))
    matrix[0] *= scale
    assert matrix.numel() * 3 > _gram.EXACT_WORK
    expected = reference(matrix)
    norms = np.sqrt(np.diag(expected))
    assert np.all(np.abs(gram_matrix(matrix) - expected) <= 1e-12 * np.outer(norms, norms))


def test_the_matrix_is_left_alone() -> None:
    matrix = torch.randn(3, 10)
    before = matrix.clone()
    gram_matrix(matrix)
    torch.testing.assert_close(matrix, before, rtol=0, atol=0)
