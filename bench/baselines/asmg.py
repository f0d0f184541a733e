"""pyasmg itself, as the harness asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyasmg

from ._base import FloatArray


class Asmg:
    """:class:`pyasmg.ASMG`; told all objectives, it recommends its mean."""

    def __init__(
        self, x0: FloatArray, sigma0: float, popsize: int | None = None, seed: int = 0, **options: Any
    ) -> None:
        self.optimizer = pyasmg.ASMG(x0, sigma0, popsize=popsize, seed=seed, **options)

    @property
    def mean(self) -> FloatArray:
        """Mean of the search distribution, shape (d,)."""
        return np.asarray(self.optimizer.mean)

    def ask(self) -> FloatArray:
        return np.asarray(self.optimizer.ask())

    def tell(self, X: FloatArray, F: FloatArray) -> None:
        self.optimizer.tell(X, F)

    def recommend(self) -> FloatArray:
        return self.mean[None]

    def stop(self) -> dict[str, Any]:
        return self.optimizer.stop()
