"""pycma through its own ask/tell, with what the full and the diagonal variant share."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from ._base import Baseline, FloatArray, values


class Pycma(Baseline):
    """pycma's ``CMAEvolutionStrategy`` with its default settings.

    Its stopping criteria for slow progress (``tolstagnation``, ``tolxstagnation``, ``maxiter``) are off, because the
    budget ends a run; those for a finished search hold.

    Parameters
    ----------
    bounds : (low, high), optional
        Handed to pycma, which then transforms the coordinates (its ``BoundTransform``).
    **options
        Any of pycma's.
    """

    diagonal = False

    def __init__(
        self,
        x0: npt.ArrayLike,
        sigma0: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        bounds: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(x0, sigma0, popsize, seed)
        import cma

        rng = self.rng
        settings = {
            "popsize": self.popsize,
            "CMA_diagonal": self.diagonal,
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": math.nan,  # "do nothing"
            "verbose": -10,
            "verb_log": 0,
            "maxiter": math.inf,
            "tolstagnation": math.inf,
            "tolxstagnation": False,
            **options,
        }
        if bounds is not None:
            settings["bounds"] = [np.broadcast_to(b, self.mean.shape).tolist() for b in bounds]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._es = cma.CMAEvolutionStrategy(self.mean, self.sigma0, settings)
        self._transform = bounds is not None

    def ask(self) -> FloatArray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._asked = self._es.ask()
        return np.asarray(self._asked)

    def tell(self, X: FloatArray, f: npt.ArrayLike) -> None:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            self._es.tell(self._asked, values(f, len(self._asked)).tolist())
            mean = self._es.mean
            self.mean = np.asarray(self._es.boundary_handler.repair(mean) if self._transform else mean)

    def stop(self) -> dict[str, Any]:
        return dict(self._es.stop())
