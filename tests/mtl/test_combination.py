"""Weighted sums of rows: in the core and by PyTorch the same, in pieces, for weights of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyasmg.mtl import _combination
from pyasmg.mtl._combination import combine, combine_pieces

SHAPES = [(3, 4), (), (0,), (2, 1, 5)]


@pytest.mark.parametrize("core", [False, True])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_pieces(scale: float, core: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not core:
        monkeypatch.setattr(_combination, "on_core", lambda matrix: False)
    matrix = torch.randn(4, 23, generator=torch.Generator().manual_seed(0)) / scale
    weights = np.array([1.0, -2.0, 0.0, 0.5]) * scale
    expected = weights @ matrix.double().numpy()
    pieces = combine_pieces(weights, matrix, [torch.empty(shape) for shape in SHAPES])
    assert [tuple(piece.shape) for piece in pieces] == SHAPES
    assert {piece.dtype for piece in pieces} == {torch.float32}
    flat = torch.cat([piece.reshape(-1) for piece in pieces]).numpy()
    np.testing.assert_allclose(flat, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(combine(weights, matrix).numpy(), flat, rtol=1e-6, atol=1e-6)


def test_half_precision_and_other_strides() -> None:
    matrix = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    weights = np.array([1.0, -1.0, 2.0])
    expected = weights @ matrix.double().numpy().T
    np.testing.assert_allclose(combine(weights, matrix.T), expected, rtol=1e-5, atol=1e-6)
    half = combine(weights, matrix.T.to(torch.bfloat16))
    assert half.dtype is torch.bfloat16
    np.testing.assert_allclose(half.float(), expected, atol=0.1)
