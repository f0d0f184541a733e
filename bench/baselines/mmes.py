"""MMES, the mixture-model evolution strategy (He, Zheng and Zhou 2021), from the package pypop7."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from ._base import Baseline, FloatArray, values


class MMES(Baseline):
    """``pypop7.optimizers.es.mmes.MMES`` with its default settings, turned into ask/tell.

    pypop7 draws and evaluates candidates in one method: here its own ``iterate`` runs with a function that only
    records the candidates, and ``tell`` calls its own ``_update_distribution`` with the values. The search is the
    package's, to the last bit (a test compares).

    Parameters
    ----------
    **options
        Any of pypop7's, for instance ``m`` (number of evolution paths) or ``ms`` (mixing strength).

    Notes
    -----
    Source: X. He, Z. Zheng, Y. Zhou, MMES: Mixture Model-Based Evolution Strategy for Large-Scale Optimization, IEEE
    Transactions on Evolutionary Computation 25(2), 2021. The first ``ask()`` returns popsize + 1 rows, the mean first:
    the package evaluates its start too. Memory O(d^1.5): 2 ceil(sqrt(d)) paths.
    """

    def __init__(
        self, x0: npt.ArrayLike, sigma0: float, popsize: int | None = None, seed: int = 0, **options: Any
    ) -> None:
        super().__init__(x0, sigma0, popsize, seed)
        from pypop7.optimizers.es import mmes

        d = self.mean.size
        problem = {
            "fitness_function": self._record,
            "ndim_problem": d,
            "lower_boundary": np.full(d, -np.inf),
            "upper_boundary": np.full(d, np.inf),
        }
        settings = {"mean": self.mean, "sigma": self.sigma0, "n_individuals": self.popsize, "seed_rng": seed}
        self._recorded: list[FloatArray] = []
        self._es = mmes.MMES(problem, {**settings, "verbose": False, **options})
        self._es.start_time = time.time()
        self._x, mean, self._p, self._w, self._q, self._t, self._v, self._y = self._es.initialize()
        self.mean = np.array(mean)
        self._told = False

    def _record(self, x: FloatArray) -> float:
        self._recorded.append(np.array(x))
        return 0.0

    def ask(self) -> FloatArray:
        del self._recorded[0 if self._told else 1 :]  # before the first tell it holds the start
        scratch = np.zeros(self.popsize)
        self._x, _ = self._es.iterate(self._x, self.mean, self._q, self._v, scratch)
        return np.stack(self._recorded)

    def tell(self, X: FloatArray, f: npt.ArrayLike) -> None:
        f = values(f, self.popsize + (not self._told))
        before = self._y if self._told else np.full(self.popsize, f[0])
        self._y = f[-self.popsize :].copy()
        with np.errstate(all="ignore"):
            self.mean, self._p, self._w, self._q, self._t, self._v = self._es._update_distribution(
                self._x, self.mean, self._p, self._w, self._q, self._t, self._v, self._y, before
            )
        self._es._n_generations += 1
        self._told = True

    def stop(self) -> dict[str, Any]:
        reasons = super().stop()
        if not reasons and not 0.0 < self._es.sigma < np.inf:
            reasons["sigma"] = float(self._es.sigma)
        return reasons
