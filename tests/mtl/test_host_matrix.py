"""The memory of the matrix that is kept: zeros of any size, with and without huge pages."""

from __future__ import annotations

import mmap

import pytest
import torch

from pyasmg.mtl import _host_matrix
from pyasmg.mtl._host_matrix import HUGE, host_matrix


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 0), (3, 5), (2, HUGE // 16), (3, HUGE // 4 + 1), (5, 700_001)])
def test_zeros_that_can_be_written(shape: tuple[int, int], dtype: torch.dtype) -> None:
    matrix, other = host_matrix(shape, dtype), host_matrix(shape, dtype)
    assert (matrix.shape, matrix.dtype, matrix.is_contiguous()) == (shape, dtype, True)
    assert not matrix.any()
    matrix.fill_(1.0)
    assert bool((matrix == 1.0).all())
    assert not other.any()


def test_large_ones_begin_at_a_huge_page() -> None:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        pytest.skip("no huge pages on this system")
    assert host_matrix((3, HUGE), torch.float32).data_ptr() % HUGE == 0


class Refusing(mmap.mmap):
    def madvise(self, *arguments: int) -> None:
        raise OSError("no")


@pytest.mark.parametrize("change", ["no advice", "refused"])
def test_systems_without_huge_pages(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if change == "no advice":
        monkeypatch.delattr(_host_matrix.mmap, "MADV_HUGEPAGE", raising=False)
    else:
        monkeypatch.setattr(_host_matrix.mmap, "mmap", Refusing)
    matrix = host_matrix((2, HUGE), torch.float32)
    matrix.fill_(2.0)
    assert float(matrix.sum()) == 4.0 * HUGE
