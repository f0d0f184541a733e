"""Sep-CMA-ES (Ros and Hansen 2008), from the package cmaes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._base import Baseline, FloatArray, values


class SepCma(Baseline):
    """``cmaes.SepCMA`` with its default settings.

    Parameters
    ----------
    bounds : (low, high), optional
        Handed to cmaes, which samples again up to 100 times and then clips.
    """

    def __init__(
        self, x0: npt.ArrayLike, sigma0: float, popsize: int | None = None, seed: int = 0, *, bounds: Any = None
    ) -> None:
        super().__init__(x0, sigma0, popsize, seed)
        from cmaes import SepCMA

        box = None
        if bounds is not None:
            box = np.stack([np.broadcast_to(b, self.mean.shape) for b in bounds], axis=1).astype(float)
        self._es = SepCMA(
            mean=self.mean, sigma=self.sigma0, bounds=box, population_size=self.popsize, seed=seed % 2**32
        )

    def ask(self) -> FloatArray:
        return np.stack([self._es.ask() for _ in range(self.popsize)])

    def tell(self, X: FloatArray, f: npt.ArrayLike) -> None:
        self._es.tell(list(zip(X, values(f, self.popsize).tolist(), strict=True)))
        self.mean = np.array(self._es.mean)

    def stop(self) -> dict[str, Any]:
        reasons = super().stop()
        return reasons or ({"should_stop": True} if self._es.should_stop() else {})
