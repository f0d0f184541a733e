"""ASMG-EW: pyasmg with equal weights."""

from __future__ import annotations

from typing import Any

from ._base import FloatArray
from .asmg import Asmg


class AsmgEw(Asmg):
    """``pyasmg.ASMG(weighting="equal")``: the ablation of the thesis (section 4.6.2) without the simplex QP."""

    def __init__(
        self, x0: FloatArray, sigma0: float, popsize: int | None = None, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(x0, sigma0, popsize, seed, weighting="equal", **options)
