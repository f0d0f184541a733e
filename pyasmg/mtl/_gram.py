"""The Gram matrix of the rows of a matrix, in float64 on the host."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _core
from ._tensors import usual
from ._types import FloatArray

CHUNK = 16384  # columns at a time where the core does not serve
EXACT_WORK = 2**21  # up to this many products in float64 cost next to nothing
SMALLEST, LARGEST = 1e-30, 1e34  # squares outside may have lost digits in single precision


def gram_matrix(matrix: Tensor) -> FloatArray:
    """Return ``matrix @ matrix.T``.

    Sums of products of single-precision numbers are taken in single precision over some thousand columns at a time,
    and over these in float64; small matrices, and those whose squares leave single precision, in float64 altogether.
    Half precision counts as single. Exactly symmetric. By the core's kernel on the CPU, by PyTorch elsewhere.
    """
    found = usual.gram(matrix, EXACT_WORK)  # which looks at the range by itself
    if found is not None:
        return found
    in_double = is_exact(matrix)
    if on_core(matrix):
        return _core.row_products(host_array(matrix), in_double)
    gram = _products(matrix, in_double)
    return gram if in_double or _is_safe(gram) else _products(matrix, in_double=True)


def is_exact(matrix: Tensor) -> bool:
    """Whether products are taken in float64 altogether: where it costs next to nothing, or they are anyway."""
    m, d = matrix.shape
    return matrix.dtype is torch.float64 or m * m * d <= EXACT_WORK


def _is_safe(gram: FloatArray) -> bool:
    """Whether products in single precision have lost nothing that float64 would keep."""
    in_range = all(SMALLEST <= square <= LARGEST for square in np.diag(gram).tolist())
    return in_range and bool(np.isfinite(gram).all())


def on_core(matrix: Tensor) -> bool:
    """Whether the core's kernels serve this matrix."""
    return matrix.device.type == "cpu" and matrix.dtype in (torch.float32, torch.float64)


def host_array(matrix: Tensor) -> Any:
    """Return a matrix on the host as an array, without a copy where it is contiguous."""
    usual = matrix.is_contiguous() and not matrix.requires_grad
    return matrix.numpy() if usual else matrix.detach().contiguous().numpy()


def _products(matrix: Tensor, in_double: bool) -> FloatArray:
    m, d = matrix.shape
    total = torch.zeros((m, m), dtype=torch.float64, device=matrix.device)
    for start in range(0, d, CHUNK):
        columns = matrix[:, start : start + CHUNK].to(torch.float64 if in_double else torch.float32)
        total += (columns @ columns.T).double()
    gram: FloatArray = total.cpu().numpy()
    return np.asarray(0.5 * (gram + gram.T))
