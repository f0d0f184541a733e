"""The one-call interface."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from ._progress import progress_bar
from ._validate import integer
from .asmg import ASMG
from .evaluation import Evaluator
from .result import Failure, Result

_WORDS = {
    "max_evaluations": "the budget of evaluations is spent",
    "max_iterations": "the last generation was reached",
    "tolx": "the search distribution has shrunk to the wanted precision",
    "noeffect": "the search distribution has shrunk to the precision of the number format",
    "tolfun": "the objectives no longer vary",
    "target": "the target is reached",
    "tolstationarity": "the point is Pareto stationary within the tolerance",
    "stagnation": "no objective improved for a long time",
    "nonfinite": "a step led to numbers that are not finite",
    "callback": "the callback asked to stop",
    "interrupted": "interrupted by the user",
}


class EvaluationError(RuntimeError):
    """More than half of a generation's evaluations failed.

    Attributes
    ----------
    result : Result
        The last good state, with every failure in ``result.failures``.
    state : dict
        ``ASMG.state_dict()`` of it: mend the objective, then go on with ``ASMG.from_state_dict(state)``.
    """

    def __init__(self, message: str, result: Result, state: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result
        self.state = state


def minimize(
    fun: Callable[[Any], Any],
    x0: npt.ArrayLike,
    sigma0: npt.ArrayLike,
    *,
    max_evaluations: int,
    popsize: int | None = None,
    bounds: Any = None,
    seed: int | None = None,
    executor: Executor | None = None,
    vectorized: bool = False,
    callback: Callable[[ASMG], Any] | None = None,
    progress: bool | None = None,
    **asmg_options: Any,
) -> Result:
    """Minimise a black-box vector function.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> m numbers`` for x of shape (d,), or, if ``vectorized``, ``fun(X) -> (k, m)`` for X of shape (k, d).
        An exception or a value that is not finite is a failed evaluation: counted and kept with its traceback in
        ``result.failures``, while the generation goes on with the rest.
    x0, sigma0, popsize, bounds, seed
        As for :class:`ASMG`.
    max_evaluations : int
        Hard budget, never overrun; one evaluation of it is kept for the final mean.
    executor : concurrent.futures.Executor, optional
        Where ``fun`` runs: threads, processes, ``mpi4py.futures``. The result does not depend on it.
    vectorized : bool
        Whether ``fun`` takes whole populations.
    callback : callable, optional
        ``callback(opt)`` after each generation; returning True stops the run.
    progress : bool, optional
        Show a progress bar; by default on a terminal only.
    **asmg_options
        Further options of :class:`ASMG`.

    Returns
    -------
    Result
        ``result.x`` is the mean of the final distribution and ``result.fun`` its value, evaluated. After Ctrl-C the
        state of the last whole generation, with ``fun=None`` (no further query is made) and ``message`` saying so.

    Raises
    ------
    EvaluationError
        More than half of a generation failed; it carries the last good state.
    ValueError, TypeError
        For an option that makes no sense.
    Exception
        Of the callback or of a weighting rule: passed on, with ``ASMG.state_dict()`` of the last good state as its
        attribute ``pyasmg_state``.

    Examples
    --------
    >>> import pyasmg
    >>> res = pyasmg.minimize(lambda x: [sum((x - 1) ** 2), sum((x + 1) ** 2)], [5.0] * 4, 2.0,
    ...                       max_evaluations=2000, seed=1)
    >>> res.success, res.n_evaluations <= 2000
    (True, True)
    """
    if not callable(fun):
        raise TypeError(f"`fun` must be callable; got {type(fun).__name__}.")
    if callback is not None and not callable(callback):
        raise TypeError(f"`callback` must be callable; got {type(callback).__name__}.")
    budget = integer("max_evaluations", max_evaluations, 1)
    opt = ASMG(x0, sigma0, popsize=popsize, bounds=bounds, seed=seed, max_evaluations=budget - 1 or 1, **asmg_options)
    if budget < opt.n_candidates + 1:
        raise ValueError(
            f"`max_evaluations` must allow one generation and the final mean: >= {opt.n_candidates + 1}; got {budget}."
        )
    evaluate = Evaluator(fun, executor=executor, vectorized=vectorized, n_objectives=opt.n_objectives)
    history = _History()
    extra: dict[str, Any] = {}
    with progress_bar(progress, budget) as show:
        try:
            while not opt.stop() and not extra:
                X = opt.ask()
                F = evaluate(X, opt.n_iterations)
                _refuse_broken_generation(F, opt, evaluate, history)
                opt.tell(F)
                history.add(opt, F)
                show(opt, F)
                answer = callback(opt) if callback is not None else None
                if isinstance(answer, (bool, np.bool_)) and answer:
                    extra["callback"] = True
        except KeyboardInterrupt:
            extra["interrupted"] = True
        except EvaluationError:
            raise
        except Exception as error:  # of the callback, or of a weighting rule: what was paid for goes with it
            error.pyasmg_state = opt.state_dict()  # type: ignore[attr-defined]
            raise
    return _finish(opt, evaluate, history, extra)


def _refuse_broken_generation(F: npt.NDArray[np.float64], opt: ASMG, evaluate: Evaluator, history: _History) -> None:
    failed = int((~np.isfinite(F).all(axis=1)).sum())
    if 2 * failed <= len(F):
        return
    last = evaluate.failures[-1].reason if evaluate.failures else "unknown"
    message = (
        f"{failed} of {len(F)} evaluations failed in generation {opt.n_iterations}: more than half. "
        f"The last reason: {last}"
    )
    result = dataclasses.replace(
        opt.result,
        message=message,
        success=False,
        history=history.arrays(),
        failures=tuple(evaluate.failures),
    )
    raise EvaluationError(message, result, opt.state_dict())


def _finish(opt: ASMG, evaluate: Evaluator, history: _History, extra: dict[str, Any]) -> Result:
    """Evaluate the mean, unless the user wants out, and put the result together."""
    result = opt.result
    values = None
    if "interrupted" not in extra:
        try:
            values = evaluate(result.x[None, :], -1)[0]
        except KeyboardInterrupt:
            extra["interrupted"] = True
    stop = {**opt.stop(), **extra}
    message = "; ".join(_WORDS.get(name, name) for name in stop)
    fun = None
    n_evaluations, n_failed = result.n_evaluations, result.n_failed
    if values is not None:
        n_evaluations += 1
        if np.isfinite(values).all():
            fun = values
        else:
            n_failed += 1
            evaluate.failures[-1] = Failure(-1, -1, evaluate.failures[-1].reason, evaluate.failures[-1].traceback)
            message += f"; the evaluation of the final mean failed: {evaluate.failures[-1].reason}"
    return dataclasses.replace(
        result,
        fun=fun,
        n_evaluations=n_evaluations,
        n_failed=n_failed,
        stop=stop,
        message=message,
        success=fun is not None and "nonfinite" not in stop,
        history=history.arrays(),
        failures=tuple(evaluate.failures),
    )


class _History:
    """One row per generation."""

    def __init__(self) -> None:
        self._rows: list[tuple[Any, ...]] = []

    def add(self, opt: ASMG, F: npt.NDArray[np.float64]) -> None:
        valid = F[np.isfinite(F).all(axis=1)]
        self._rows.append(
            (
                opt.n_evaluations,
                valid.mean(axis=0),
                valid.min(axis=0),
                opt.weights,
                float(opt.stds.max()),
                opt.stationarity,
            )
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        names = ("n_evaluations", "mean", "best", "weights", "max_std", "stationarity")
        return {name: np.array([row[i] for row in self._rows]) for i, name in enumerate(names)}
