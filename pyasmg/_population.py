"""The candidates of one generation, rebuilt from counters on demand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .asmg import ASMG


class Population:
    """A generation that is never stored: ``len``, indexing and iteration give one fresh candidate at a time.

    A slice gives so many candidates in one array; on a device all arrays lie there.

    It belongs to the generation that it was asked for and goes stale with the next ``tell``.
    """

    def __init__(self, optimizer: ASMG) -> None:
        self._optimizer = optimizer
        self._generation = optimizer.n_iterations
        self.shape = (optimizer.n_candidates, optimizer.dimension)

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, index: int) -> npt.NDArray[Any]: ...
    @overload
    def __getitem__(self, index: slice) -> npt.NDArray[Any]: ...
    def __getitem__(self, index: int | slice) -> npt.NDArray[Any]:
        """Return candidate ``index`` of shape (d,), or a slice of them of shape (k, d)."""
        if isinstance(index, slice):
            wanted = range(*index.indices(len(self)))
            if wanted.step == 1:
                self._check_generation()
                chunk: npt.NDArray[Any] = self._optimizer._ask_rows(wanted.start, len(wanted))
                return chunk
            rows = [self[i] for i in wanted]
            return np.array(rows) if rows else np.empty((0, self.shape[1]), dtype=self._optimizer.dtype)
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise IndexError(f"candidate {index} of {len(self)}.")
        self._check_generation()
        candidate: npt.NDArray[Any] = self._optimizer.ask_one(i)
        return candidate

    def _check_generation(self) -> None:
        if self._optimizer.n_iterations != self._generation:
            raise RuntimeError(
                f"this population is of generation {self._generation}; the search is at generation "
                f"{self._optimizer.n_iterations}. Call ask() again."
            )

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        for i in range(len(self)):
            yield self[i]
