"""A problem as the harness sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Objectives, where a search starts, and how a search's answer is judged.

    Attributes
    ----------
    name : str
        As in the tables.
    d, n_objectives : int
        Parameters and objectives.
    evaluate : callable
        ``X (N, d) -> F (N, m)``, all minimised. Counts as N evaluations.
    start : callable
        ``seed -> x0 (d,)``: the same start for every optimizer.
    measures : callable
        ``points (k, d) -> {name: value}``, of what an optimizer recommends (one point, or a front). It costs no
        evaluation. The first measure is traced over the run, and `target` applies to it; lower is better.
    sigma0 : float
        First standard deviation.
    bounds : (low, high), optional
        Scalars or vectors (d,). Methods without bounds of their own get their candidates clipped.
    target : float, optional
        A run ends, and has succeeded, when the first measure is at or below it.
    reference : ndarray of shape (m,), optional
        Reference point of the hypervolume, for methods that need one.
    """

    name: str
    d: int
    n_objectives: int
    evaluate: Callable[[FloatArray], FloatArray]
    start: Callable[[int], FloatArray]
    measures: Callable[[FloatArray], dict[str, float]]
    sigma0: float = 1.0
    bounds: tuple[Any, Any] | None = None
    target: float | None = None
    reference: FloatArray | None = None
