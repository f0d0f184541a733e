"""What a run remembers of its generations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .asmg import ASMG

FloatArray = npt.NDArray[np.float64]

_NAMES = ("n_evaluations", "mean", "best", "weights", "max_std", "stationarity")


class History:
    """One row per generation."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._rows: list[tuple[Any, ...]] = [tuple(row[name] for name in _NAMES) for row in rows]

    def add(self, opt: ASMG, mean: FloatArray, best: FloatArray) -> None:
        """Add the generation just told."""
        self._rows.append((opt.n_evaluations, mean, best, opt.weights, float(opt.stds.max()), opt.stationarity))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return one array per column."""
        return {name: np.array([row[i] for row in self._rows]) for i, name in enumerate(_NAMES)}


def mean_and_best(F: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return each objective's mean and least value over the rows that did not fail."""
    valid = F[np.isfinite(F).all(axis=1)]
    return valid.mean(axis=0), valid.min(axis=0)
