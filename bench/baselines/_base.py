"""What a baseline offers: ask/tell on one scalar objective, and its mean."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Baseline(ABC):
    """A minimiser of one scalar objective with the interface that all baselines share.

    Several objectives are made one outside of it, see :mod:`bench.harness.scalarise`.

    Parameters
    ----------
    x0 : array_like, shape (d,)
        Start. Copied.
    sigma0 : float
        Start of the standard deviation, or the radius of the smoothing where that is fixed.
    popsize : int, optional
        Samples per generation; default ``4 + floor(3 ln d)``.
    seed : int
        Of the method's own generator; numpy's global state is left alone.

    Attributes
    ----------
    mean : ndarray, shape (d,)
        What the method would recommend now.
    """

    def __init__(self, x0: npt.ArrayLike, sigma0: float, popsize: int | None = None, seed: int = 0) -> None:
        self.mean: FloatArray = np.array(x0, dtype=np.float64)
        if self.mean.ndim != 1 or self.mean.size == 0:
            raise ValueError(f"`x0` must have shape (d,) with d >= 1; got shape {self.mean.shape}.")
        if not sigma0 > 0:
            raise ValueError(f"`sigma0` must be > 0; got {sigma0}.")
        self.sigma0 = float(sigma0)
        self.popsize = default_popsize(self.mean.size) if popsize is None else int(popsize)
        if self.popsize < 2:
            raise ValueError(f"`popsize` must be >= 2; got {popsize}.")
        self.rng = np.random.default_rng(seed)

    @abstractmethod
    def ask(self) -> FloatArray:
        """Return the candidates (n, d) of this generation; n may differ from `popsize` where a method asks for more."""

    @abstractmethod
    def tell(self, X: FloatArray, f: npt.ArrayLike) -> None:
        """Make one step with the values ``f`` (n,) of the candidates that `ask` returned."""

    def stop(self) -> dict[str, Any]:
        """Return {} while the search should go on, else the reasons by name."""
        return {} if np.isfinite(self.mean).all() else {"nonfinite": True}


def default_popsize(d: int) -> int:
    """Return the population size of CMA-ES's authors, 4 + floor(3 ln d)."""
    return 4 + int(3 * np.log(d))


def values(f: npt.ArrayLike, n: int) -> FloatArray:
    """Return the values (n,) as float64, with failed evaluations (NaN) as the worst ones."""
    array = np.array(f, dtype=np.float64)
    if array.shape != (n,):
        raise ValueError(f"`f` must have shape (n,) = ({n},); got shape {array.shape}.")
    array[np.isnan(array)] = np.inf
    return array
