"""Memory for large matrices that are kept from one step to the next."""

from __future__ import annotations

import math
import mmap

import numpy as np
import torch
from torch import Tensor

HUGE = 2**21  # bytes of a huge page on x86-64, and on most other machines


def host_matrix(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return a matrix of zeros on the host, in huge pages where Linux has them for those who ask.

    Its rows are read in parallel, each of them in other pages: with pages of 4 KiB, looking these up takes as long as
    the inner products of the rows. The last page is a huge one where more than half of it is used.
    """
    n_bytes = math.prod(shape) * dtype.itemsize
    n_pages = (n_bytes + HUGE // 2) // HUGE
    advice = getattr(mmap, "MADV_HUGEPAGE", None)
    if advice is None or n_pages == 0:
        return torch.zeros(shape, dtype=dtype, device="cpu")
    try:
        memory = mmap.mmap(-1, n_bytes + 2 * HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        data = np.frombuffer(memory, dtype=np.uint8)
        start = -data.ctypes.data % HUGE
        memory.madvise(advice, start, n_pages * HUGE)
    except OSError:  # a kernel without them
        return torch.zeros(shape, dtype=dtype, device="cpu")
    return torch.from_numpy(data[start : start + n_bytes]).view(dtype).view(shape)


def kept_matrix(kept: object, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the matrix of an earlier step where it is such a one, new zeros elsewhere."""
    if isinstance(kept, Tensor) and (kept.shape, kept.dtype, kept.device) == (shape, dtype, device):
        return kept
    return host_matrix(shape, dtype) if device.type == "cpu" else torch.zeros(shape, dtype=dtype, device=device)
