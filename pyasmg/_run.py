"""One run: generations until it is over, each evaluated, told and kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ._history import FloatArray, History, mean_and_best
from .asmg import ASMG
from .evaluation import Budget, Driver, Points, Record
from .evaluation._base import FINAL
from .evaluation._driver import failures, matrix
from .result import Failure, Result

if TYPE_CHECKING:
    from ._distribution import SearchDistribution
    from .store import RunStore

Show = Callable[["Run", FloatArray], None]

WORDS = {
    "max_evaluations": "the budget of evaluations is spent",
    "max_seconds": "the budget of seconds is spent",
    "max_cost": "the budget of cost is spent",
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
    "store": "the disk is full",
}


class EvaluationError(RuntimeError):
    """Too many of a generation's evaluations failed.

    Attributes
    ----------
    result : Result
        The last good state, with every failure in ``result.failures``.
    state : dict
        ``ASMG.state_dict()`` of it: mend the objective, then go on with ``ASMG.from_state_dict(state)``; with a store,
        call ``minimize`` again: what failed in the last generation is then asked for again.
    """

    def __init__(self, message: str, result: Result, state: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result
        self.state = state


class Run:
    """The loop of :func:`pyasmg.minimize`.

    Parameters
    ----------
    opt : ASMG
        At the start, or restored.
    driver : Driver
        Asks for values; its budget is the run's.
    store : RunStore, optional
        Where everything is kept.
    min_success : float
        Share of a generation that must not fail.
    callback : callable, optional
        After each generation.
    """

    def __init__(
        self,
        opt: ASMG,
        driver: Driver,
        *,
        store: RunStore | None,
        min_success: float,
        callback: Callable[[ASMG], Any] | None,
    ) -> None:
        self.opt, self.driver, self.store = opt, driver, store
        self.history = History()
        self.failures: list[Failure] = []
        self._max_failed = min(math.floor((1.0 - min_success) * opt.n_candidates + 1e-9), opt.n_candidates - 1)
        self._callback = callback
        self._open: Mapping[int, Record] = {}  # what an earlier session knows of the generation that is open
        self._extra: dict[str, Any] = {}
        self._final: Record | None = None
        if store is not None:
            self._restore(store)

    @property
    def budget(self) -> Budget:
        """Seconds and cost."""
        return self.driver.budget

    def _restore(self, store: RunStore) -> None:
        """Take over what the store knows besides the optimizer."""
        n = self.opt.n_iterations
        self.history = History(row for row in store.generations() if row["generation"] < n)
        told = ((generation, record) for generation, record in store.failures() if generation < n)
        self.failures = [record.failure(g) for g, record in told if record.candidate >= 0]
        self._open = store.records(n)
        broken = [i for i, record in self._open.items() if record.error and not record.open and i >= 0]
        if len(broken) > self._max_failed:  # the generation that ended the last session: somebody mended something
            anew = {i: dataclasses.replace(self._open[i], open=True, attempts=0) for i in broken}
            self._open = {**self._open, **anew}

    # ------------------------------------------------------------------------------------------- the loop

    def go(self, show: Show) -> Result:
        """Run to the end and return the result."""
        opt = self.opt
        try:
            while not opt.stop() and not self._extra:
                self._extra = self._afford()
                if not self._extra:
                    self._generation(show)
        except KeyboardInterrupt:
            self._extra["interrupted"] = True
        except EvaluationError as error:
            self._leave(str(error), careful=True)
            raise
        except Exception as error:  # of the callback, a weighting rule, the store: what was paid for goes with it
            error.pyasmg_state = opt.state_dict()  # type: ignore[attr-defined]
            self._leave(f"{type(error).__name__}: {error}", careful=True)
            raise
        return self._finish()

    def _afford(self) -> dict[str, Any]:
        """Return the budget that a whole generation and the final mean would overrun."""
        n_known = sum(not record.open for i, record in self._open.items() if i >= 0)
        name = self.budget.spent(self.opt.n_candidates - n_known + 1)
        return {name: getattr(self.budget, name)} if name else {}

    def _generation(self, show: Show) -> None:
        opt, driver = self.opt, self.driver
        known, self._open = self._open, {}
        whole = opt._options.memory == "store" and not known and not driver.source.rebuilds
        points = self._points(opt.ask() if whole else None)
        opt._open_generation()
        work = driver.evaluate(points, known, range(opt.n_candidates), self._max_failed)
        n_failed = sum(bool(record.error) and not record.open for record in work.records.values())
        if n_failed > self._max_failed or work.cut == "source":
            raise self._broken(work.records, n_failed)
        if work.cut:
            self._extra[work.cut] = getattr(self.budget, work.cut, True)
        if not work.complete:
            return
        F = matrix(work.records, opt.n_candidates, driver.n_objectives)
        opt.tell(F)
        self.failures += failures(opt.n_iterations - 1, work.records)
        mean, best = mean_and_best(F)
        self.history.add(opt, mean, best)
        if self.store is not None:
            self.store.told(opt, mean, best, driver.source.counters)
        show(self, F)
        answer = self._callback(opt) if self._callback is not None else None
        if isinstance(answer, (bool, np.bool_)) and answer:
            self._extra["callback"] = True

    def _points(self, array: Any = None) -> Points:
        opt = self.opt

        def get(index: int) -> Any:
            if index == FINAL:
                return opt.mean
            return opt.ask_one(index) if array is None else array[index]

        center = opt._options.center
        search = cast("SearchDistribution", opt._search)  # `minimize` runs on the CPU alone
        return Points(opt.n_iterations, get, opt.dimension, opt.dtype, search, center, array)

    def _broken(self, records: Mapping[int, Record], n_failed: int) -> EvaluationError:
        opt = self.opt
        n = opt.n_candidates
        latest = [record.failure(opt.n_iterations) for _, record in sorted(records.items()) if record.error]
        self.failures += latest
        reason = f"The last reason: {latest[-1].reason}"
        if n_failed > self._max_failed:
            allowed = "more than half" if self._max_failed == n // 2 else f"more than the {self._max_failed} allowed"
            message = f"{n_failed} of {n} evaluations failed in generation {opt.n_iterations}: {allowed}. {reason}"
        else:
            message = f"generation {opt.n_iterations} cannot be evaluated any further. {reason}"
        return EvaluationError(message, self._result(opt.result, message=message, success=False), opt.state_dict())

    # ------------------------------------------------------------------------------------------- the end

    def _finish(self) -> Result:
        """Evaluate the mean, unless the user wants out, and put the result together."""
        if "interrupted" not in self._extra and "store" not in self._extra:
            try:
                self._evaluate_mean()
            except KeyboardInterrupt:
                self._extra["interrupted"] = True
        result, record = self.opt.result, self._final
        stop = {**self.opt.stop(), **self._extra}
        message = "; ".join(WORDS.get(name, name) for name in stop)
        fun = None
        n_evaluations, n_failed = result.n_evaluations, result.n_failed
        if record is not None and record.error:
            n_evaluations += not record.open
            n_failed += not record.open
            self.failures.append(Failure(-1, -1, record.error, record.traceback))
            message += f"; the evaluation of the final mean failed: {record.error}"
        elif record is not None:
            n_evaluations += 1
            fun = record.values
        elif "interrupted" not in stop and "store" not in stop:
            message += "; the final mean was not evaluated, which would have overrun the budget"
        self._leave(message)
        if "store" in stop and self.store is not None:
            raise self.store.full()
        success = fun is not None and "nonfinite" not in stop
        numbers = {"n_evaluations": n_evaluations, "n_failed": n_failed}
        return self._result(result, fun=fun, stop=stop, message=message, success=success, **numbers)

    def _evaluate_mean(self) -> None:
        known: dict[int, Record] = {}
        if self.store is not None:
            records = self.store.records(self.opt.n_iterations)
            known = {FINAL: records[FINAL]} if FINAL in records and not records[FINAL].error else {}
        work = self.driver.evaluate(self._points(), known, [FINAL])
        self._final = work.records.get(FINAL)

    def _result(self, result: Result, **changes: Any) -> Result:
        return dataclasses.replace(
            result,
            history=self.history.arrays(),
            failures=tuple(self.failures),
            cost=self.budget.cost,
            seconds=self.budget.seconds,
            counters=dataclasses.asdict(self.driver.source.counters),
            **changes,
        )

    def _leave(self, how: str, *, careful: bool = False) -> None:
        """Save the last state; ``careful`` where an error is on its way already."""
        if self.store is None:
            return
        try:
            self.store.save(self.opt)
            self.store.end_session(how, self.driver.source.counters)
        except RuntimeError:
            if not careful:
                raise
