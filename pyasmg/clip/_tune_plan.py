"""How a budget of queries is spent: generations, validations, the final mean, the test."""

from __future__ import annotations

import math
from typing import NamedTuple

from .._validate import integer, number

N_FINAL, N_TEST = 1, 2  # queries for the final mean, and for start and tuned prompt on the test split


class Plan(NamedTuple):
    """What a budget buys.

    Attributes
    ----------
    n_generations : int
        Of the search.
    validate_every : int
        The mean is validated after generations 0 (the start), k, 2 k, ..., and after the last; 0: none of them.
    needs_start : bool
        The start is validated in any case.
    max_queries : int
        The budget in queries. Asking again for what failed does not count here, but in money.
    """

    n_generations: int
    validate_every: int
    needs_start: bool
    max_queries: int

    def is_due(self, generation: int) -> bool:
        """Return whether the mean after so many generations is validated, whenever the search ends."""
        if self.validate_every == 0:
            return self.needs_start and generation == 0
        return generation % self.validate_every == 0

    @property
    def n_validations(self) -> int:
        """Validations in total."""
        return _n_validations(self.n_generations, self.validate_every, self.needs_start)


def make_plan(
    *,
    n_candidates: int,
    max_queries: int | None,
    max_cost: float | None,
    price: float | None,
    validate_every: int,
    needs_start: bool = False,
) -> Plan:
    """Return the longest search that the budget allows.

    Parameters
    ----------
    n_candidates : int
        Queries of one generation.
    max_queries : int or None
        Budget in queries.
    max_cost, price : float or None
        Budget in money, and what a query costs.
    validate_every : int
        Generations between two validations, 0 for none.
    needs_start : bool
        Whether the start is validated in any case.

    Raises
    ------
    ValueError, TypeError
        There is no budget, or it is too small for one generation.
    """
    validate_every = integer("validate_every", validate_every, 0)
    if price is not None:
        price = number("price_per_query", price, low=0.0)
    limits = [] if max_queries is None else [integer("max_queries", max_queries, 1)]
    if max_cost is not None:
        max_cost = number("max_cost", max_cost, low=0.0, strict=True)
        if not price:
            raise ValueError("`max_cost` needs `price_per_query` > 0.")
        limits.append(math.floor(max_cost / price * (1 + 1e-9)))
    if not limits:
        raise ValueError("`max_queries`, or `max_cost` with `price_per_query`, must be given.")
    budget = min(limits)
    most = (budget - N_FINAL - N_TEST) // n_candidates
    while most > 0 and n_queries(most, n_candidates, validate_every, needs_start) > budget:
        most -= 1
    if most < 1:
        least = n_queries(1, n_candidates, validate_every, needs_start)
        raise ValueError(
            f"the budget must allow one generation, its validations, the final mean and the test: "
            f"`max_queries` >= {least}; got {budget}."
        )
    return Plan(most, validate_every, needs_start, budget)


def n_queries(n_generations: int, n_candidates: int, validate_every: int, needs_start: bool = False) -> int:
    """Return what a search of so many generations costs, everything included."""
    n_validations = _n_validations(n_generations, validate_every, needs_start)
    return n_generations * n_candidates + n_validations + N_FINAL + N_TEST


def _n_validations(n_generations: int, every: int, needs_start: bool) -> int:
    if every == 0:
        return int(needs_start)
    return n_generations // every + 1 + (n_generations % every > 0)
