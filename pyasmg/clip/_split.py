"""The 60/20/20 split."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .. import _core

# The last but one generation's counters: neither a search's samples nor a projection's.
_GENERATION = 2**32 - 2
SHARES = (0.6, 0.2, 0.2)


def split_rows(labels: npt.NDArray[np.int64], seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Return the rows of each split, stratified by class and in ascending order.

    Within each class a seeded order is cut at 60 % and 80 %, rounded; the same seed gives the same split everywhere.
    """
    parts: list[list[npt.NDArray[np.int64]]] = [[], [], []]
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        draws = np.empty((1, rows.size))
        _core.sample_normals(seed, _GENERATION, int(label), draws, 1)
        rows = rows[np.argsort(draws[0], kind="stable")]
        cuts = np.rint(np.cumsum(SHARES[:2]) * rows.size).astype(int)
        for part, piece in zip(parts, np.split(rows, cuts), strict=True):
            part.append(piece)
    return {
        name: np.sort(np.concatenate(pieces)).astype(np.int64)
        for name, pieces in zip(("train", "validation", "test"), parts, strict=True)
    }
