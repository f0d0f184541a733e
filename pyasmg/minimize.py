"""The one-call interface."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import numpy.typing as npt

from ._progress import progress_bar
from ._resume import restore
from ._run import EvaluationError, Run
from ._settings import differences, settings_of
from ._validate import integer, number
from .asmg import ASMG
from .evaluation import Budget, CallableSource, Driver, Retry, Source
from .result import Result

__all__ = ["EvaluationError", "minimize"]


def minimize(
    fun: Callable[[Any], Any] | Source,
    x0: npt.ArrayLike,
    sigma0: npt.ArrayLike,
    *,
    max_evaluations: int,
    max_seconds: float | None = None,
    max_cost: float | None = None,
    cost_per_evaluation: float | None = None,
    popsize: int | None = None,
    bounds: Any = None,
    seed: int | None = None,
    executor: Executor | Any = None,
    vectorized: bool = False,
    store: str | os.PathLike[str] | None = None,
    resume: str = "auto",
    retry: Retry | int | None = None,
    timeout: float | None = None,
    straggler_timeout: float | None = None,
    min_success: float = 0.5,
    callback: Callable[[ASMG], Any] | None = None,
    progress: bool | None = None,
    **asmg_options: Any,
) -> Result:
    """Minimise a black-box vector function.

    Parameters
    ----------
    fun : callable or Source
        ``fun(x) -> m numbers`` for x of shape (d,), or, if ``vectorized``, ``fun(X) -> (k, m)`` for X of shape (k, d).
        An exception or a value that is not finite is a failed evaluation: counted and kept with its traceback in
        ``result.failures``, while the generation goes on with the rest. Or where else the values come from:
        :class:`pyasmg.evaluation.Command`, :class:`pyasmg.evaluation.HTTP`.
    x0, sigma0, popsize, bounds, seed
        As for :class:`ASMG`.
    max_evaluations : int
        Hard budget, never overrun; one evaluation of it is kept for the final mean. Asking again for an evaluation
        that failed does not count here, but in ``max_cost``.
    max_seconds : float, optional
        Budget of time, over all sessions of a stored run. Nothing is started that would, at the longest time that an
        evaluation took so far, overrun it; what is running then is waited for.
    max_cost, cost_per_evaluation : float, optional
        Budget of money, and the price of an evaluation where the source does not report one. Each attempt that was or
        may have been billed counts. Nothing is started that may overrun it at the largest price seen.
    executor : concurrent.futures.Executor or dask.distributed.Client, optional
        Where ``fun`` runs: threads, processes, ``mpi4py.futures``, or a Dask cluster, on which candidates travel as
        numbers and not as vectors. The result does not depend on it.
    vectorized : bool
        Whether ``fun`` takes whole populations.
    store : path-like, optional
        An SQLite file in which the run is kept, evaluation by evaluation. A run found there is continued: nothing that
        is recorded is asked for again, and it ends with the same bits as if it had never been interrupted.
    resume : "auto" or "never"
        "never" refuses a store that holds a run already.
    retry : Retry or int, optional
        When to ask again for an evaluation that failed; an integer is the number of attempts in total.
    timeout : float, optional
        Seconds after which a call of a Python function has failed; see :class:`pyasmg.evaluation.CallableSource`.
    straggler_timeout : float, optional
        Seconds to wait for the next answer when nothing more can be started in a generation; what is still running
        then counts as failed.
    min_success : float in (0, 1]
        Share of each generation that must not fail.
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
        Too many evaluations of a generation failed; it carries the last good state.
    StoreError
        The store cannot be used: it is of a run with other settings, damaged, locked, read-only, or full.
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
    if callback is not None and not callable(callback):
        raise TypeError(f"`callback` must be callable; got {type(callback).__name__}.")
    if asmg_options.get("device", "cpu") != "cpu":
        raise ValueError("`device` must be 'cpu' in `minimize`, which evaluates on the host; use ASMG's ask and tell.")
    n_most = integer("max_evaluations", max_evaluations, 1)
    number("min_success", min_success, low=0.0, strict=True, high=1.0)
    if isinstance(retry, int):
        retry = Retry(attempts=retry)
    elif retry is not None and not isinstance(retry, Retry):
        raise TypeError(f"`retry` must be a Retry or a number of attempts; got {type(retry).__name__}.")
    budgets = {"max_seconds": max_seconds, "max_cost": max_cost, "cost_per_evaluation": cost_per_evaluation}
    budget = Budget(max_seconds=max_seconds, max_cost=max_cost, price=cost_per_evaluation)

    def optimizer(seed: int | None, limit: int) -> ASMG:
        return ASMG(x0, sigma0, popsize=popsize, bounds=bounds, seed=seed, max_evaluations=limit or 1, **asmg_options)

    with contextlib.ExitStack() as stack:
        if isinstance(fun, Source):
            _refuse_with_source(executor=executor, vectorized=vectorized, timeout=timeout)
            source = fun
        else:
            source = stack.enter_context(_source(fun, executor, vectorized, timeout))
        opt = optimizer(seed, n_most - 1)
        if n_most < opt.n_candidates + 1:
            raise ValueError(
                "`max_evaluations` must allow one generation and the final mean: "
                f">= {opt.n_candidates + 1}; got {n_most}."
            )
        kept = None
        if store is not None:
            from .store import RunStore, StoreError

            kept = stack.enter_context(RunStore(store, resume=resume))
            stored = kept.settings() if kept.has_run else {}
            if stored and seed is None:
                opt = optimizer(stored["seed"], n_most - 1)
            settings = settings_of(opt, source.name, {"max_evaluations": n_most, **budgets})
            if not stored:
                kept.begin(settings, opt.state_dict())
            elif difference := differences(stored, settings):
                raise StoreError(f"{str(kept.path)!r} holds a run with other settings: {difference}.")
            else:
                opt = restore(kept, opt)
                _limit(opt, kept, n_most - 1)
                budget.resume(**kept.spent())
        elif resume not in ("auto", "never"):
            raise ValueError(f"`resume` must be 'auto' or 'never'; got {resume!r}.")
        driver = Driver(
            source,
            retry=retry,
            budget=budget,
            straggler_timeout=straggler_timeout,
            n_objectives=opt.n_objectives,
            keeper=kept,
        )
        run = Run(opt, driver, store=kept, min_success=min_success, callback=callback)
        if kept is not None:
            kept.begin_session(settings)  # from here on the file is written
        with progress_bar(progress, n_most) as show:
            return run.go(show)


def _limit(opt: ASMG, kept: Any, limit: int) -> None:
    """Limit a stored search: a final mean that was evaluated before the run was extended has been paid for as well."""
    n, most = opt.n_iterations, opt._stopping.max_iterations
    opt._set_limits(limit - kept.n_means(n), most)
    if not opt.stop():
        opt._set_limits(limit - kept.n_means(n + 1), most)


def _source(
    fun: Callable[[Any], Any], executor: Any, vectorized: bool, timeout: float | None
) -> CallableSource | Source:
    if not callable(fun):
        raise TypeError(f"`fun` must be callable; got {type(fun).__name__}.")
    bases = {base.__module__.split(".")[0] for base in type(executor).__mro__}
    if "distributed" in bases and hasattr(executor, "scheduler_info"):  # a Client, known without importing Dask
        from .evaluation.dask import DaskSource

        return DaskSource(fun, executor, vectorized=vectorized, timeout=timeout)
    return CallableSource(fun, executor=executor, vectorized=vectorized, timeout=timeout)


def _refuse_with_source(**options: Any) -> None:
    for name, value in options.items():
        if value not in (None, False):
            raise TypeError(f"`{name}` is for Python functions; a source of values has options of its own.")
