"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Failure:
    """One failed evaluation.

    Attributes
    ----------
    generation, candidate : int
        Which evaluation failed (``candidate`` is its row in ``ask()``); -1 and -1 for the final one at the mean.
    reason : str
        One line: the exception, or what was wrong with the values.
    traceback : str
        The whole traceback; empty if nothing was raised.
    """

    generation: int
    candidate: int
    reason: str
    traceback: str = ""


@dataclass(frozen=True)
class Result:
    """The state of a search, or its end.

    Attributes
    ----------
    x : ndarray, shape (d,)
        Mean of the search distribution: not the luckiest sample, which in noisy work is the most overrated one.
    fun : ndarray, shape (m,), or None
        Objective values at ``x``; None as long as they were not evaluated (as in ``ASMG.result``), or if that
        evaluation failed.
    weights : ndarray, shape (m,)
        Current weights of the objectives.
    stds : ndarray, shape (d,)
        Standard deviations of the search distribution.
    stationarity : float
        Value of the simplex QP on the scaled objectives; small near a Pareto-stationary point.
    n_evaluations, n_failed, n_iterations : int
        Evaluations paid for (failed ones included), failed ones, generations.
    seed : int
        The seed that repeats this run.
    stop : dict
        Reasons by name, as ``ASMG.stop()``.
    message : str
        The same in words.
    success : bool
        True if the run ended by itself or by its budget with finite objective values at ``x``.
    history : dict of ndarray
        Per generation: ``n_evaluations`` (T,), ``mean`` and ``best`` (T, m) of the objectives' values, ``weights``
        (T, m), ``max_std`` (T,), ``stationarity`` (T,). Empty for ``ASMG.result``.
    failures : tuple of Failure
        Every failed evaluation with its reason.
    cost : float
        What all attempts cost, in the unit of ``cost_per_evaluation``; 0 where nothing was said about it.
    seconds : float
        Time that the run took, over all its sessions.
    counters : dict
        ``requests``, ``evaluations``, ``retries`` and ``unknown`` of this session, see
        :class:`pyasmg.evaluation.Counters`. Empty for ``ASMG.result``.
    """

    x: npt.NDArray[Any]
    fun: npt.NDArray[np.float64] | None
    weights: npt.NDArray[np.float64]
    stds: npt.NDArray[Any]
    stationarity: float
    n_evaluations: int
    n_failed: int
    n_iterations: int
    seed: int
    stop: dict[str, Any]
    message: str
    success: bool
    history: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    cost: float = 0.0
    seconds: float = 0.0
    counters: dict[str, int] = field(default_factory=dict)
