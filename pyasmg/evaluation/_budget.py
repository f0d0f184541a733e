"""Budgets in seconds and in money: hard limits, looked at before anything is asked for."""

from __future__ import annotations

import time

from .._validate import number


class Budget:
    """Says whether another evaluation may be started.

    An evaluation is started only if, with what is running and the evaluation of the final mean, the budget would not
    be overrun: each of them counts with the price or, if more, with the largest cost seen so far, and as much time must
    be left as the longest evaluation so far has taken twice: one for it, one for the final mean.

    Parameters
    ----------
    max_seconds, max_cost : float, optional
        In total over all sessions of a run.
    price : float
        Cost of one evaluation where the source does not say.
    """

    def __init__(
        self, *, max_seconds: float | None = None, max_cost: float | None = None, price: float | None = None
    ) -> None:
        self.max_seconds = None if max_seconds is None else number("max_seconds", max_seconds, low=0.0, strict=True)
        self.max_cost = None if max_cost is None else number("max_cost", max_cost, low=0.0, strict=True)
        self.price = 0.0 if price is None else number("cost_per_evaluation", price, low=0.0)
        self.cost = 0.0
        self.largest_cost = self.price
        self.longest = 0.0
        self._seconds_before = 0.0
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds spent, earlier sessions included."""
        return self._seconds_before + time.monotonic() - self._start

    def resume(self, seconds: float, cost: float, largest_cost: float, longest: float) -> None:
        """Take over what earlier sessions of this run have spent."""
        self._seconds_before, self.cost = seconds, cost
        self.largest_cost, self.longest = max(self.price, largest_cost), longest

    def charge(self, cost: float, seconds: float) -> None:
        """Count an attempt that came back."""
        self.cost += cost
        self.largest_cost = max(self.largest_cost, cost)
        if seconds > self.longest:  # not for NaN
            self.longest = seconds

    def spent(self, n_more: int, *, final: bool = False) -> str:
        """Return the name of the budget that does not allow ``n_more`` evaluations, running ones included; else "".

        ``final``: it is the final mean, for which time was left.
        """
        reserve = 0.0 if final else 2.0 * self.longest
        if self.max_seconds is not None and self.seconds + reserve >= self.max_seconds:
            return "max_seconds"
        # A relative slack, because a hundred times a cent is not exactly one.
        if self.max_cost is not None and self.cost + n_more * self.largest_cost > self.max_cost * (1 + 1e-9):
            return "max_cost"
        return ""
