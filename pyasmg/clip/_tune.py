"""Tune one prompt for several image domains through queries (thesis sec. 4.6.2, Eq. 4.25)."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._validate import number
from ..evaluation import Budget, Retry
from ..minimize import EvaluationError
from ..store import RunStore
from ._client_protocol import as_sent
from ._server_model import Task
from ._sources import LocalSource, RemoteSource
from ._tune_methods import SIGMA0, Search, make_search, needs_start
from ._tune_plan import make_plan
from ._tune_result import TuneResult
from ._tune_run import End, Scores, Tuning
from .client import RemoteTask
from .projection import Projection

__all__ = ["Scores", "TuneResult", "tune"]


def tune(
    task: Task | RemoteTask,
    *,
    method: str = "asmg",
    d: int = 256,
    popsize: int = 20,
    sigma0: float = SIGMA0,
    seed: int = 0,
    projection_seed: int | None = None,
    max_queries: int | None = None,
    price_per_query: float | None = None,
    max_cost: float | None = None,
    validate_every: int = 20,
    select: str = "best",
    test: bool = True,
    store: str | os.PathLike[str] | None = None,
    resume: str = "auto",
    retry: Retry | int | None = None,
    min_success: float = 0.5,
    send_v: bool = False,
    model_name: str = "",
    callback: Callable[[Any], Any] | None = None,
    progress: bool | None = None,
    **search_options: Any,
) -> TuneResult:
    """Tune the prompt p = p0 + A v by searching for v, starting at v = 0: the zero-shot prompt.

    Each generation is asked on a mini-batch of its own, the same for all its prompts and chosen by the generation's
    number. Its noise stops nothing: a run goes on to the end of its budget.

    Parameters
    ----------
    task : PromptTask or RemoteTask
        Here, or behind a server; both give the same bits.
    method : "asmg", "asmg-ew", "cma-es" or "es"
        See :mod:`pyasmg.clip._tune_methods`. All resume exactly.
    d : int
        Dimension of v.
    popsize : int
        Prompts per generation.
    sigma0 : float
        Standard deviation of v at the start.
    seed : int
        Of the search.
    projection_seed : int, optional
        Of A; default: ``seed``, or that of the server with ``send_v``.
    max_queries : int, optional
        Budget: everything that is asked, on whatever split, counts; a question that is repeated because it failed
        counts once.
    price_per_query, max_cost : float, optional
        Budget in money: repeated questions cost again where they were or may have been evaluated. Either this
        pair or ``max_queries`` must be given.
    validate_every : int
        Generations between two looks of the mean at the validation split, each a query; 0: never, but for the start
        where ``weighting`` is not given: the weights' units come from what it scores, see
        :func:`pyasmg.clip._weighting.unit_free_level`.
    select : "best" or "last"
        Which mean is the answer: the one with the least average validation loss, each in the unit that the start's
        error rate gives it (the start itself, where nothing is better), or that after the last generation.
    test : bool
        Evaluate start and tuned prompt on the test split at the end: two queries, the only ones there.
    store, resume
        As for :func:`pyasmg.minimize`: nothing that was recorded is asked again, validations and test included,
        and the run ends with the same bits as if it had never been interrupted.
    retry : Retry or int, optional
        When to ask again for what failed; default: 12 times for a server, once here.
    min_success : float
        Share of a generation that must not fail for good.
    send_v : bool
        Send v instead of the prompts: d instead of n_ctx * width numbers, where the server has a projection.
    model_name : str
        Noted in the result, and compared when a run is resumed.
    callback : callable, optional
        ``callback(search)`` after each generation; True stops the run.
    progress : bool, optional
        Show a progress bar; by default on a terminal only.
    **search_options
        Of :class:`pyasmg.ASMG`, for the methods that are ASMG: ``weighting``, ``step_size``, ``std_step_size``, ...;
        ``scale_objectives`` for all.

    Returns
    -------
    TuneResult
        After Ctrl-C or a spent budget, what was reached by then, with ``start`` and ``tuned`` None if the test was not
        made.

    Raises
    ------
    EvaluationError
        Too many questions of a generation failed. Its attribute ``tuned`` is the TuneResult of the last good state.
    StoreError
        The store cannot be used, or holds another run.
    ValueError, TypeError
        For an option that makes no sense.
    """
    if select not in ("best", "last"):
        raise ValueError(f"`select` must be 'best' or 'last'; got {select!r}.")
    if resume not in ("auto", "never"):
        raise ValueError(f"`resume` must be 'auto' or 'never'; got {resume!r}.")
    number("min_success", min_success, low=0.0, strict=True, high=1.0)
    projection = _projection(task, d, seed if projection_seed is None else projection_seed, send_v, projection_seed)

    def make(n_generations: int) -> Search:
        options: dict[str, Any] = {"sigma0": sigma0, "popsize": popsize, "seed": seed, "max_iterations": n_generations}
        return make_search(method, d, **options, **search_options)

    plan = make_plan(
        n_candidates=make(1).n_candidates,
        max_queries=max_queries,
        max_cost=max_cost,
        price=price_per_query,
        validate_every=validate_every,
        needs_start=needs_start(method, search_options),
    )
    extra = {
        "method": method,
        "model": model_name,
        "task_names": list(task.task_names),
        "n_ctx": task.n_ctx,
        "width": task.width,
        "projection_seed": projection.seed,
        "validate_every": validate_every,
        "select": select,
        "weighting_from_start": plan.needs_start,
    }
    settings = {
        **extra,
        "d": d,
        "popsize": popsize,
        "sigma0": sigma0,
        "seed": seed,
        "token_embedding_std": task.token_embedding_std,
        "max_queries": plan.max_queries,
        "price_per_query": price_per_query,
        "max_cost": max_cost,
        **{name: repr(value) for name, value in search_options.items()},
    }
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_source(task, projection, send_v))
        kept = None if store is None else stack.enter_context(RunStore(store, resume=resume))
        tuning = Tuning(
            lambda: make(plan.n_generations),
            source,
            len(task.task_names),
            plan,
            Budget(max_cost=max_cost, price=price_per_query),
            extra,
            kept=kept,
            retry=_retry(retry, task),
            min_success=min_success,
            callback=callback,
        )
        try:
            end = tuning.finish(tuning.search(progress), select, test)
        except EvaluationError as error:
            end = tuning.finish(error.result, "last", False)
            error.tuned = _result(task, projection, source, tuning, end, settings)  # type: ignore[attr-defined]
            raise
        tuning.leave(end.run.message)
        return _result(task, projection, source, tuning, end, settings)


def _result(
    task: Task | RemoteTask,
    projection: Projection,
    source: LocalSource | RemoteSource,
    tuning: Tuning,
    end: End,
    settings: dict[str, Any],
) -> TuneResult:
    """Put together what comes back."""
    counters = dataclasses.asdict(source.counters)
    if isinstance(source, RemoteSource):
        counters["refused"] = source.refused
    offset = projection.apply(as_sent(end.v[None]))[0]
    known = not isinstance(task, RemoteTask)
    n_evaluations = tuning.opt.n_evaluations
    queries = {
        "search": n_evaluations,
        "final": int(end.run.n_evaluations > n_evaluations),
        "validation": len(tuning.validations),
        "test": (end.start is not None) + (end.tuned is not None),
    }
    where = {
        "objective": source.name,
        "origin": "prompt" if known else "offset from the server's start",
    }
    return TuneResult(
        v=end.v,
        offset=offset,
        prompt=np.asarray(task.start, np.float32) + offset if known else None,
        task_names=tuple(task.task_names),
        start=end.start,
        tuned=end.tuned,
        validations=dict(sorted(tuning.validations.items())),
        generation=end.generation,
        queries={**queries, "total": sum(queries.values())},
        run=dataclasses.replace(end.run, cost=tuning.cost, counters=counters),
        settings={**settings, **where},
        problems=tuning.problems,
    )


def _projection(task: Task | RemoteTask, d: int, seed: int, send_v: bool, given: int | None) -> Projection:
    if send_v:
        own = task.description.projection if isinstance(task, RemoteTask) else None
        if own is None:
            raise ValueError("`send_v` needs a server with a projection of its own.")
        if own[0] != d:
            raise ValueError(f"`d` must be that of the server's projection, {own[0]}; got {d}.")
        seed = own[1] if given is None else given
    return Projection(d, task.n_ctx, task.width, task.token_embedding_std, seed)


@contextlib.contextmanager
def _source(task: Task | RemoteTask, projection: Projection, send_v: bool) -> Iterator[LocalSource | RemoteSource]:
    if isinstance(task, RemoteTask):
        with task.source(projection, send_v=send_v) as source:
            yield source
    else:
        with LocalSource(task, projection) as local:
            yield local


def _retry(retry: Retry | int | None, task: Task | RemoteTask) -> Retry:
    if isinstance(retry, int):
        return Retry(attempts=retry)
    if retry is None:
        return task.retry if isinstance(task, RemoteTask) else Retry()
    return retry
