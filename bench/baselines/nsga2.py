"""NSGA-II (Deb et al. 2002), from the package pymoo."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._base import FloatArray


class Nsga2:
    """pymoo's ``NSGA2`` through its own ask/tell: simulated binary crossover, polynomial mutation, its defaults.

    Parameters
    ----------
    x0, sigma0 : array_like, float
        Not used where there are bounds: pymoo starts from a uniform sample of the box. Without bounds the box is
        ``x0 - 3 sigma0`` to ``x0 + 3 sigma0``.
    popsize : int, optional
        Default 100, pymoo's.
    bounds : (low, high), optional
        The box.
    """

    def __init__(
        self,
        x0: npt.ArrayLike,
        sigma0: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        bounds: Any = None,
    ) -> None:
        start = np.asarray(x0, dtype=float)
        self._box = (start - 3 * sigma0, start + 3 * sigma0) if bounds is None else bounds
        self._d = start.size
        self.popsize = 100 if popsize is None else popsize
        self._seed = seed
        self._algorithm: Any = None
        self._best: FloatArray = start[None]

    def _set_up(self, m: int) -> None:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.termination import get_termination

        low, high = (np.broadcast_to(side, self._d).astype(float) for side in self._box)
        problem = Problem(n_var=self._d, n_obj=m, xl=low, xu=high)
        self._algorithm = NSGA2(pop_size=self.popsize)
        forever = get_termination("n_gen", 10**9)
        self._algorithm.setup(problem, termination=forever, seed=self._seed % 2**32, verbose=False)

    def ask(self) -> FloatArray:
        if self._algorithm is None:  # the number of objectives plays no part in what is asked first
            self._set_up(1)
            self._first = True
        self._asked = self._algorithm.ask()
        return np.asarray(self._asked.get("X"), dtype=float)

    def tell(self, X: FloatArray, F: FloatArray) -> None:
        if self._first and F.shape[1] != 1:
            self._set_up(F.shape[1])
            self._asked = self._algorithm.ask()
            self._asked.set("X", X)
        self._first = False
        self._asked.set("F", np.where(np.isnan(F), np.inf, F))
        for individual in self._asked:
            individual.evaluated.update({"F"})
        self._algorithm.tell(infills=self._asked)
        self._best = np.atleast_2d(np.asarray(self._algorithm.opt.get("X"), dtype=float))

    def recommend(self) -> FloatArray:
        """Return the first non-dominated front of the population, (k, d)."""
        return self._best

    def stop(self) -> dict[str, Any]:
        return {}
