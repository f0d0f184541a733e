"""COMO-CMA-ES (Toure et al. 2019), from the package comocma."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from ._base import FloatArray


class Como:
    """comocma's ``Sofomore`` with its kernels of CMA-ES, for two objectives.

    Parameters
    ----------
    x0 : array_like, shape (d,)
        The kernels start around it: uniformly in the box, or from N(x0, sigma0^2) where there is none.
    popsize : int, optional
        Of each kernel; pycma's default.
    reference : array_like of shape (2,)
        Reference point of the hypervolume.
    n_kernels : int
        Points of the front that are looked for; 10.
    """

    def __init__(
        self,
        x0: npt.ArrayLike,
        sigma0: float,
        popsize: int | None = None,
        seed: int = 0,
        *,
        bounds: Any = None,
        reference: npt.ArrayLike | None = None,
        n_kernels: int = 10,
    ) -> None:
        import comocma

        if reference is None:
            raise ValueError("`reference` must be given: a point that no point of the front is behind.")
        rng = np.random.default_rng(seed)
        start = np.asarray(x0, dtype=float)
        options: dict[str, Any] = {
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": math.nan,
            "verbose": -10,
            "verb_log": 0,
            "verb_disp": 0,
        }
        if popsize is not None:
            options["popsize"] = popsize
        if bounds is not None:
            low, high = (np.broadcast_to(side, start.size).astype(float) for side in bounds)
            options["bounds"] = [low.tolist(), high.tolist()]
            starts = low + (high - low) * rng.random((n_kernels, start.size))
        else:
            starts = start + sigma0 * rng.standard_normal((n_kernels, start.size))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kernels = comocma.get_cmas(starts.tolist(), sigma0, options)
            self._moes = comocma.Sofomore(
                kernels,
                list(map(float, np.asarray(reference))),
                {"archive": False, "verb_log": 0, "verb_disp": 0, "update_order": lambda _: rng.random()},
            )

    def ask(self) -> FloatArray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._asked = self._moes.ask()
        return np.asarray(self._asked, dtype=float)

    def tell(self, X: FloatArray, F: FloatArray) -> None:
        if F.shape[1] != 2:
            raise ValueError(f"COMO-CMA-ES is for two objectives; got {F.shape[1]}.")
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            self._moes.tell(self._asked, F.tolist())

    def recommend(self) -> FloatArray:
        """Return the kernels' incumbents, (n_kernels, d)."""
        return np.asarray([kernel.incumbent for kernel in self._moes.kernels], dtype=float)

    def stop(self) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(self._moes.stop() or {})
