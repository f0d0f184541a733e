"""Weighted sums of the rows of a matrix: the step made of the tasks' gradients."""

from __future__ import annotations

import math
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
    return combine_pieces(weights, matrix, [matrix.shape[1:]])[0]


def combine_pieces(weights: FloatArray, matrix: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return ``weights @ matrix`` cut into new tensors of these shapes, one after the other.

    On the CPU by the core's kernel: rows of weight 0 are not read, and the pieces are as large as what the last
    backward pass has freed, in memory that is still in the cache.
    """
    largest = max(map(abs, weights.tolist()))
    factor = 1.0 if 1e-10 < largest < 1e10 or largest == 0.0 else largest
    scaled = np.ascontiguousarray(weights if factor == 1.0 else weights / factor, np.float64)
    if not on_core(matrix):
        direction = torch.as_tensor(scaled).to(matrix) @ matrix
        return cut(direction if factor == 1.0 else direction * factor, shapes)
    pieces = [torch.empty(tuple(shape), dtype=matrix.dtype, device=matrix.device) for shape in shapes]
    if not usual.combine(matrix, scaled, factor, pieces):
        outs = [piece.numpy() for piece in pieces]
        _core.combine_rows(host_array(matrix), scaled, factor, outs)
    return pieces


def cut(vector: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Cut a vector into views of these shapes."""
    flat = torch.split(vector, [math.prod(shape) for shape in shapes])
    return [piece.view(tuple(shape)) for piece, shape in zip(flat, shapes, strict=True)]
