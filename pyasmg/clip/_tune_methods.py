"""The searches that the tuner knows, by name, with settings for noisy, high-dimensional work on a small budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..asmg import ASMG
from ..weighting import make_weighting
from ._tune_baseline import Baseline
from ._tune_cma import CMA
from ._tune_es import ES
from ._weighting import unit_free_level

Search = ASMG | Baseline

#: What each is.
METHODS = {
    "asmg": "ASMG with weights that follow each loss's level, in units that the start gives",
    "asmg-ew": "ASMG with equal weights",
    "cma-es": "CMA-ES on the sum of the scaled losses",
    "es": "evolution strategy on the sum of the scaled losses",
}
_BASELINES: dict[str, type[Baseline]] = {"cma-es": CMA, "es": ES}
_WEIGHTINGS = {"asmg": "level", "asmg-ew": "equal"}
SIGMA0 = 1.0  # of v: a prompt then varies as much as the token embeddings do
_STEPS = {"step_size": 1.0, "std_step_size": 0.05}


def needs_start(method: str, options: Mapping[str, Any]) -> bool:
    """Return whether a search's weighting is that of :func:`unit_free_level`, made from what the start scores."""
    return method == "asmg" and "weighting" not in options


def take_start(search: Search, losses: npt.ArrayLike, accuracies: npt.ArrayLike) -> None:
    """Give a search that needs it, before its first generation, what the start scores on the validation split.

    Raises
    ------
    ValueError
        If these scores are none of a classifier; the search then keeps weights that follow the losses as they are.
    """
    if isinstance(search, ASMG):
        search._weighting = make_weighting(unit_free_level(losses, accuracies))


def make_search(
    method: str,
    d: int,
    *,
    sigma0: float = SIGMA0,
    popsize: int = 20,
    seed: int = 0,
    max_iterations: int = 200,
    **options: Any,
) -> Search:
    """Return a search that starts at v = 0 and ends after its last generation only.

    Parameters
    ----------
    method : "asmg", "asmg-ew", "cma-es" or "es"
        See :data:`METHODS`.
    d, sigma0, popsize, seed, max_iterations
        Dimension, standard deviation at the start, candidates per generation, seed, number of generations.
    **options
        Of :class:`pyasmg.ASMG` (``weighting``, ``step_size``, ...), or ``scale_objectives`` for the others.

    Raises
    ------
    ValueError, TypeError
        For an option that makes no sense, or is none of this method.
    """
    if method not in METHODS:
        raise ValueError(f"`method` must be one of {', '.join(map(repr, METHODS))}; got {method!r}.")
    if method in _BASELINES:
        unknown = sorted(set(options) - {"scale_objectives"})
        if unknown:
            raise TypeError(f"`{unknown[0]}` is for ASMG; `method` is {method!r}.")
        return _BASELINES[method](d, sigma0, popsize=popsize, seed=seed, max_iterations=max_iterations, **options)
    if method == "asmg-ew" and "weighting" in options:
        raise TypeError("`weighting` is for `method` 'asmg'; 'asmg-ew' has equal weights.")
    settings = {"weighting": _WEIGHTINGS[method], **_STEPS, "tolx": 0.0, "stagnation": 0, **options}
    return ASMG(np.zeros(d), sigma0, popsize=popsize, seed=seed, max_iterations=max_iterations, **settings)
