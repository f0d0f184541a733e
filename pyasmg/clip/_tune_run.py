"""One tuning run: the search, its validations, and the test at the end, all kept in one store."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from .._progress import progress_bar
from .._resume import restore
from .._run import Run
from .._settings import differences, settings_of
from ..asmg import ASMG
from ..evaluation import Budget, Driver, Points, Record, Retry, Source
from ..evaluation._driver import matrix
from ..result import Result
from ..store import RunStore, StoreError
from ._questions import held_out, row_of
from ._tune_baseline import Baseline
from ._tune_methods import Search, take_start
from ._tune_plan import N_FINAL, N_TEST, Plan
from ._weighting import unit_free_level

FloatArray = npt.NDArray[np.float64]

VALIDATION = held_out("validation")
TEST = (held_out("test", 0), held_out("test", 1))  # the start, and the tuned prompt


class Scores(NamedTuple):
    """Losses and accuracies of one prompt on a whole split, (m,) each."""

    losses: FloatArray
    accuracies: FloatArray

    @classmethod
    def of(cls, record: Record | None) -> Scores | None:
        """Read a record of an evaluation on a split."""
        if record is None or record.values is None:
            return None
        losses, accuracies = np.split(record.values, 2)
        return cls(losses, accuracies)


class End(NamedTuple):
    """How a run has ended: the search, the mean that was chosen, and its test against the start, if it was made."""

    run: Result
    generation: int
    v: FloatArray
    start: Scores | None
    tuned: Scores | None


class Tuning:
    """The work of :func:`pyasmg.clip.tune`.

    Parameters
    ----------
    make : callable
        Returns a new search at its start.
    source : Source
        Answers what :mod:`pyasmg.clip._questions` lists.
    n_tasks : int
        m.
    plan : Plan
        What the budget buys.
    budget : Budget
        In money; everything is paid from it.
    extra : mapping
        Settings that make two runs the same run, besides those of the search.
    kept : RunStore or None
        Where everything is recorded.
    retry : Retry
        When to ask again.
    min_success : float
        Share of a generation that must not fail.
    callback : callable or None
        After each generation.
    """

    def __init__(
        self,
        make: Callable[[], Search],
        source: Source,
        n_tasks: int,
        plan: Plan,
        budget: Budget,
        extra: Mapping[str, Any],
        *,
        kept: RunStore | None,
        retry: Retry,
        min_success: float,
        callback: Callable[[Any], Any] | None,
    ) -> None:
        self.validations: dict[int, Scores] = {}
        self.problems: list[str] = []
        self._make, self._plan, self._budget, self._kept = make, plan, budget, kept
        self._source, self._callback = source, callback
        self._means: dict[int, FloatArray] = {}
        self._money = budget.max_cost
        opt = make()
        budgets = {"max_cost": self._money, "cost_per_evaluation": budget.price, "max_evaluations": plan.max_queries}
        self._settings = {**settings_of(cast(ASMG, opt), source.name, budgets), **extra}
        if kept is not None:
            opt = self._restore(kept, opt)
        common: dict[str, Any] = {"retry": retry, "budget": budget, "keeper": kept}
        driver = Driver(source, n_objectives=n_tasks, **common)
        self._held_out = Driver(source, n_objectives=2 * n_tasks, **common)
        self._run = Run(cast(ASMG, opt), driver, store=kept, min_success=min_success, callback=self._after)

    @property
    def opt(self) -> Search:
        """The search."""
        return self._run.opt

    @property
    def cost(self) -> float:
        """What everything cost so far."""
        return self._budget.cost

    # ---------------------------------------------------------------- before

    def _restore(self, kept: RunStore, opt: Search) -> Search:
        if not kept.has_run:
            kept.begin(self._settings, opt.state_dict())
            return opt
        if difference := differences(kept.settings(), self._settings):
            raise StoreError(f"{str(kept.path)!r} holds a run with other settings: {difference}.")
        if isinstance(opt, Baseline):
            replay(kept, opt)
        else:
            opt = restore(kept, opt)
        self._budget.resume(**kept.spent())
        for generation in kept.generations_of(VALIDATION):
            scores = Scores.of(kept.records(generation)[VALIDATION])
            if scores is not None and generation <= opt.n_iterations:
                self.validations[generation] = scores
        return opt

    # ---------------------------------------------------------------- the search

    def search(self, progress: bool | None) -> Result:
        """Search to the end of the budget; the money for the test is kept back.

        Raises
        ------
        StoreError
            The run has ended with its test, and the budget would now let it go on.
        """
        opt, kept = self._run.opt, self._kept
        self._keep_back(N_TEST)
        if kept is not None:
            if kept.generations_of(TEST[1]) and not opt.stop() and not self._run._afford():
                raise StoreError(
                    f"{str(kept.path)!r} holds a run that has ended with its test: a larger budget would touch the "
                    "test split a second time. Start a run with another store."
                )
            kept.begin_session(self._settings)
        with progress_bar(progress, self._plan.n_generations * opt.n_candidates) as show:
            try:
                self._validate_if_due()
                self._begin()
            except KeyboardInterrupt:
                self._run._extra["interrupted"] = True
            return self._run.go(show)

    def _begin(self) -> None:
        """Give the search what the start scores, before its first generation; a snapshot keeps it."""
        opt = self._run.opt
        if self._plan.needs_start and opt.n_iterations == 0:
            try:
                self._take_start(opt)
            except ValueError as error:
                self.problems.append(f"weights follow the losses as they are: {error}")
            if self._kept is not None:
                self._kept.save(opt)

    def _take_start(self, opt: Search) -> None:
        start = self.validations.get(0)
        if self._plan.needs_start and start is not None:
            take_start(opt, start.losses, start.accuracies)

    def _after(self, opt: ASMG) -> Any:
        self._validate_if_due()
        return None if self._callback is None else self._callback(opt)

    def _validate_if_due(self) -> None:
        if self._plan.is_due(self._run.opt.n_iterations):
            self._validate(self._run.opt.n_iterations)

    def _validate(self, generation: int) -> None:
        """Evaluate the mean on the validation split, unless that is known."""
        mean = self._means[generation] = np.asarray(self._run.opt.mean, np.float64)
        if generation in self.validations:
            return
        record = self._ask(generation, {VALIDATION: mean}).get(VALIDATION)
        scores = Scores.of(record)
        if scores is not None:
            self.validations[generation] = scores
        else:
            reason = record.error if record is not None and record.error else "the budget is spent"
            problem = f"no validation after generation {generation}: {reason}"
            self.problems += [problem] if problem not in self.problems else []

    def _keep_back(self, n_queries: int) -> None:
        """Keep the price of so many queries out of what may be spent now."""
        if self._money is not None:
            self._budget.max_cost = max(0.0, self._money - n_queries * self._budget.price)

    def _ask(self, generation: int, rows: Mapping[int, FloatArray]) -> Mapping[int, Record]:
        """Evaluate rows on a whole split; what the store knows is not asked again, what failed before is."""
        known: dict[int, Record] = {}
        if self._kept is not None:
            records = self._kept.records(generation)
            known = {i: records[i] for i in rows if i in records and (records[i].open or not records[i].error)}
        points = Points(generation, lambda i: rows[i], self._run.opt.dimension, np.dtype(np.float64))
        return self._held_out.evaluate(points, known, list(rows)).records

    # ---------------------------------------------------------------- the end

    def finish(self, run: Result, select: str, test: bool) -> End:
        """Validate the last mean, choose one, and test it: once, at the end; nothing of it after Ctrl-C."""
        start = tuned = None
        if run.stop and not run.stop.keys() & {"interrupted", "nonfinite"}:
            try:
                if self._plan.validate_every:
                    self._keep_back(N_TEST - N_FINAL)  # a driver keeps the final mean's price back, which is paid
                    self._validate(self._run.opt.n_iterations)
                generation, v = self._choose(select)
                if test:
                    start, tuned = self._test(v)
                return End(run, generation, v, start, tuned)
            except KeyboardInterrupt:
                message = f"{run.message}; interrupted by the user before the test was done"
                stop = {**run.stop, "interrupted": True}
                run = dataclasses.replace(run, stop=stop, message=message, success=False)
        return End(run, *self._choose(select), start, tuned)

    def _choose(self, select: str) -> tuple[int, FloatArray]:
        """Return the generation whose mean is the answer, and that mean.

        "best": the one with the least average of the validation losses, each in the unit that the start's error rate
        gives it (:func:`unit_free_level`): about the average error rate, with a loss's finer steps. "last", or if there
        is no validation: the last one.
        """
        last = self._run.opt.n_iterations
        start = self.validations.get(0)
        if select == "last" or self._plan.validate_every == 0 or start is None:
            return last, self._mean_after(last)
        try:
            unit = np.array(unit_free_level(start.losses, start.accuracies)["reference"])
        except ValueError:  # no losses of a classifier
            unit = np.where(start.losses > 0, start.losses, 1.0)
        ranks = {generation: float((scores.losses / unit).mean()) for generation, scores in self.validations.items()}
        chosen = min(ranks, key=lambda generation: (ranks[generation], -generation))
        return chosen, self._mean_after(chosen)

    def _mean_after(self, generation: int) -> FloatArray:
        if generation == self._run.opt.n_iterations:
            return np.asarray(self._run.opt.mean, np.float64)
        if generation not in self._means:  # validated by an earlier session
            opt = self._make()
            with contextlib.suppress(ValueError):
                self._take_start(opt)
            if generation and self._kept is not None:
                replay(self._kept, opt, generation)
            self._means[generation] = np.asarray(opt.mean, np.float64)
        return self._means[generation]

    def _test(self, tuned: FloatArray) -> tuple[Scores | None, Scores | None]:
        """Evaluate start and tuned prompt on the test split: once, at the end."""
        self._keep_back(-N_FINAL)
        rows = dict(zip(TEST, (np.zeros_like(tuned), tuned), strict=True))
        records = self._ask(self._run.opt.n_iterations, rows)
        self.problems += [
            f"no test of the {('start', 'tuned prompt')[row_of(i)]}: {record.error}"
            for i, record in records.items()
            if record.error
        ]
        if len(records) < len(rows):
            self.problems.append("no test: the budget is spent")
        return Scores.of(records.get(TEST[0])), Scores.of(records.get(TEST[1]))

    def leave(self, message: str) -> None:
        """Note the end in the store."""
        if self._kept is not None:
            with contextlib.suppress(StoreError):
                self._kept.end_session(message, self._source.counters)


def replay(kept: RunStore, opt: Search, until: int | None = None) -> None:
    """Tell a new search the stored generations, all of them or the first ``until``."""
    for row in kept.generations():
        generation = row["generation"]
        if until is not None and generation >= until:
            return
        records = {i: record for i, record in kept.records(generation).items() if i >= 0}
        sizes = {record.values.size for record in records.values() if record.values is not None}
        if len(records) != opt.n_candidates or len(sizes) != 1:
            raise StoreError(f"{str(kept.path)!r} is damaged: generation {generation} is not complete.")
        opt._open_generation()
        opt.tell(matrix(records, opt.n_candidates, sizes.pop()))
