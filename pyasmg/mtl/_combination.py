"""Weighted sums of the rows of a matrix: the step made of the tasks' gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .. import _core
from ._gram import host_array, on_core
from ._tensors import usual
from ._types import FloatArray


def combine(weights: FloatArray, matrix: Tensor) -> Tensor:
    """Return ``weights @ matrix``; weights that leave the range of the matrix' type are brought in beforehand."""
    return combine_pieces(weights, matrix, [matrix[0]])[0]


def combine_pieces(weights: FloatArray, matrix: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return ``weights @ matrix`` cut into new tensors of the shapes of these, one after the other.

    On the CPU by the core's kernel: rows of weight 0 are not read, and the pieces are as large as what the last
    backward pass has freed, in memory that is still in the cache.
    """
    made: list[Tensor] | None = usual.combine(matrix, weights, like)
    if made is not None:
        return made
    weights = np.ascontiguousarray(weights, np.float64)
    largest = max(map(abs, weights.tolist()))
    factor = 1.0 if 1e-10 < largest < 1e10 or largest == 0.0 else largest
    if not on_core(matrix):
        direction = torch.from_numpy(weights / factor).to(matrix) @ matrix
        return cut(direction if factor == 1.0 else direction * factor, like)
    pieces = [torch.empty(target.shape, dtype=matrix.dtype, device=matrix.device) for target in like]
    _core.combine_rows(host_array(matrix), weights / factor, factor, [piece.numpy() for piece in pieces])
    return pieces


def cut(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut a vector into views of the shapes of these."""
    flat = torch.split(vector, [target.numel() for target in like])
    return [piece.view(target.shape) for piece, target in zip(flat, like, strict=True)]
