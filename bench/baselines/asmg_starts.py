"""Several searches of pyasmg one after the other, for suites that expect restarts or a front."""

from __future__ import annotations

from typing import Any

import numpy as np

import pyasmg

from ._base import FloatArray


class AsmgStarts:
    """Searches from several points; each gives one point of the answer.

    Parameters
    ----------
    x0, sigma0, popsize, seed
        Of the first search, as for :class:`pyasmg.ASMG`.
    box : (float, float)
        Later searches start at a uniform point of [low, high]^d.
    share : int, optional
        Evaluations after which a search gives way to the next; default: it ends by its own criteria.
    growth : float
        Factor of the population size from one search to the next.
    spread : int
        0: every search has pyasmg's weights. Else search k has the fixed weights (w, 1 - w) of two objectives with
        w = (k + 1/2) / spread, for k = 0, ..., spread - 1 and again.
    """

    def __init__(
        self,
        x0: FloatArray,
        sigma0: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        box: tuple[float, float] = (-4.0, 4.0),
        share: int | None = None,
        growth: float = 1.0,
        spread: int = 0,
    ) -> None:
        self._x0, self._sigma0, self._popsize, self._seed = np.array(x0, dtype=float), sigma0, popsize, seed
        self._box, self._share, self._growth, self._spread = box, share, growth, spread
        self._rng = np.random.default_rng([seed, 1])
        self._done: list[FloatArray] = []
        self._start()

    def _start(self) -> None:
        k = len(self._done)
        x0 = self._rng.uniform(*self._box, self._x0.size) if k else self._x0
        first = self._popsize or pyasmg.ASMG(self._x0, self._sigma0).popsize
        options: dict[str, Any] = {}
        if self._spread:
            w = (k % self._spread + 0.5) / self._spread
            options["weighting"] = (w, 1.0 - w)
        popsize = 2 * round(first * self._growth**k / 2)
        self.optimizer = pyasmg.ASMG(x0, self._sigma0, popsize=popsize, seed=1000 * self._seed + k, **options)

    @property
    def n_starts(self) -> int:
        """How many searches were begun."""
        return len(self._done) + 1

    def ask(self) -> FloatArray:
        return np.asarray(self.optimizer.ask())

    def tell(self, X: FloatArray, F: FloatArray) -> None:
        self.optimizer.tell(X, F)
        opt = self.optimizer
        if opt.stop() or (self._share is not None and opt.n_evaluations + opt.n_candidates > self._share):
            self._done.append(np.array(opt.mean))
            self._start()

    def recommend(self) -> FloatArray:
        """Return the means of all searches, (k, d), without one that has hardly begun."""
        begun = self.optimizer.n_iterations > 0 or not self._done
        return np.array([*self._done, *([np.array(self.optimizer.mean)] if begun else [])])

    def stop(self) -> dict[str, Any]:
        return {}
