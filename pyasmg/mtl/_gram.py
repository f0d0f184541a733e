"""The Gram matrix of the rows of a matrix, in float64 on the host."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ._types import FloatArray

CHUNK = 16384  # columns at a time; larger ones are hardly faster, and less accurate by a digit
EXACT_WORK = 2**21  # up to this many products in float64 cost next to nothing
SYMMETRIC_FROM = 8  # rows from which on NumPy, which computes one triangle only, is faster than PyTorch on the CPU
SMALLEST, LARGEST = 1e-30, 1e34  # squares outside may have lost digits in single precision


def gram_matrix(matrix: Tensor) -> FloatArray:
    """Return ``matrix @ matrix.T``.

    Sums of products of single-precision numbers are taken in single precision over 16,384 columns at a time, and over
    these in float64; small matrices, and those whose squares leave single precision, in float64 altogether. Half
    precision counts as single. Exactly symmetric.
    """
    m, d = matrix.shape
    if matrix.dtype is torch.float64 or m * m * d <= EXACT_WORK:
        return _sum(matrix, torch.float64)
    gram = _sum(matrix, torch.float32)
    diagonal = np.diag(gram)
    if diagonal.max() > LARGEST or not np.isfinite(gram).all() or ((diagonal < SMALLEST) & (diagonal >= 0)).any():
        return _sum(matrix, torch.float64)
    return gram


def _sum(matrix: Tensor, dtype: torch.dtype) -> FloatArray:
    m, d = matrix.shape
    if m >= SYMMETRIC_FROM and matrix.device.type == "cpu" and matrix.dtype is dtype:
        rows = matrix.detach().numpy()
        chunks = (rows[:, start : start + CHUNK] for start in range(0, d, CHUNK))
        return np.asarray(sum((chunk @ chunk.T for chunk in chunks), np.zeros((m, m))))
    total = torch.zeros((m, m), dtype=torch.float64, device=matrix.device)
    for start in range(0, d, CHUNK):
        columns = matrix[:, start : start + CHUNK].to(dtype)
        total += (columns @ columns.T).double()
    gram: FloatArray = total.cpu().numpy()
    return np.asarray(0.5 * (gram + gram.T))
