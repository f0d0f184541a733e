"""Batches whose order depends on the seed and the epoch alone, so that a resumed run sees what it would have seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class Part(Protocol):
    """One of the training, validation and test parts of a data set."""

    def __len__(self) -> int:
        """Return the number of samples, of the largest task where the tasks have their own."""

    def batches(self, size: int, *, order: tuple[int, int] | None = None, workers: int = 0) -> Iterator[Any]:
        """Iterate over (inputs, targets), one target per task; shuffled by ``order`` = (seed, epoch), if given."""


class Samples(Dataset[Any], ABC):
    """A part where each sample has a target for every task.

    A subclass gives ``__len__`` and :meth:`sample`.
    """

    collate: Callable[[list[Any]], Any] | None = None

    def __init__(self) -> None:
        self._order: tuple[int, ...] | None = None

    @abstractmethod
    def sample(self, index: int, rng: np.random.Generator | None) -> Any:
        """Return (input, targets) of one sample; ``rng`` for augmentation, None without."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, index: int) -> Any:
        return self.sample(index, None if self._order is None else np.random.default_rng([*self._order, index]))

    def batches(self, size: int, *, order: tuple[int, int] | None = None, workers: int = 0) -> Iterator[Any]:
        """See :class:`Part`; the last batch may be smaller."""
        return iter(self.loader(size, order, workers))

    def loader(
        self, size: int, order: tuple[int, ...] | None, workers: int = 0, *, drop_last: bool = False
    ) -> DataLoader[Any]:
        """Return the loader of one epoch."""
        self._order = order
        indices = np.arange(len(self)) if order is None else np.random.default_rng(order).permutation(len(self))
        return DataLoader(
            self,
            batch_size=size,
            sampler=indices.tolist(),
            num_workers=workers,
            collate_fn=self.collate,
            drop_last=drop_last,
            generator=torch.Generator(),  # not the global one: the order of its numbers is the network's
        )


def to_device(batch: Any, device: torch.device) -> Any:
    """Move tensors in lists, tuples and dicts."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(entry, device) for entry in batch)
    if isinstance(batch, dict):
        return {key: to_device(entry, device) for key, entry in batch.items()}
    return batch
