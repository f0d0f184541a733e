"""What the thesis says about figures 4.1-4.4 (section 4.6.1, "Result"), cell by cell, and whether our runs agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bench.harness import Run, median_evaluations, select

TARGET = 1e-4
L1, L_HALF, MIXED = "l1 (4.21)", "l1/2 (4.22)", "mixed (4.23)"


@dataclass(frozen=True)
class Cell:
    """The runs of all optimizers on one problem, dimension and population size."""

    problem: str
    d: int
    popsize: int

    def __str__(self) -> str:
        return f"{self.problem}, d = {self.d}, N = {self.popsize}"

    def runs(self, runs: Sequence[Run], optimizer: str) -> list[Run]:
        return select(runs, problem=self.problem, d=self.d, popsize=self.popsize, optimizer=optimizer)


@dataclass(frozen=True)
class Claim:
    """``test`` gets the median of the last distances."""

    figure: str
    text: str
    cell: Cell
    optimizer: str
    test: Callable[[float], bool]


def precise(distance: float) -> bool:
    return distance <= TARGET


def imprecise(distance: float) -> bool:
    return distance > TARGET


def failing(distance: float) -> bool:
    return distance > 0.1


def about(level: float) -> Callable[[float], bool]:
    """Within a factor of sqrt(10) of the level, as one reads it off a logarithmic axis."""
    return lambda distance: level / 10**0.5 <= distance <= level * 10**0.5


def claims() -> Iterator[Claim]:
    """Yield the thesis's statements, those about CMA-ES for pycma with a full covariance matrix.

    The text says that CMA-ES converges on 4.21 "when N = 10 and 50" and, in the next sentence, that it fails at N = 10;
    with the sentence on N = 50 and 100 for 4.22 after it, 50 and 100 must be meant.
    """
    for figure, popsize in (("4.1", 10), ("4.2", 50), ("4.3", 100)):
        for problem in (L1, L_HALF, MIXED):
            cell = Cell(problem, 100, popsize)
            yield Claim(figure, "ASMG arrives at 1e-4", cell, "asmg-paper", precise)
            yield Claim(figure, "MMES cannot reach a high precision", cell, "mmes", imprecise)
            yield Claim(figure, "ES fails", cell, "es", failing)
            yield Claim(figure, "BES fails", cell, "bes", failing)
        small = popsize == 10
        yield Claim(
            figure,
            "CMA-ES fails to converge" if small else "CMA-ES converges with high precision",
            Cell(L1, 100, popsize),
            "cma-full",
            failing if small else precise,
        )
        level = "1e1" if small else "1e-1"
        yield Claim(
            figure, f"CMA-ES only achieves {level}", Cell(L_HALF, 100, popsize), "cma-full", about(float(level))
        )
        yield Claim(figure, "CMA-ES fails", Cell(MIXED, 100, popsize), "cma-full", failing)
    for problem in (L1, L_HALF):  # the caption names one, the text the other
        for d in (200, 500, 1000):
            yield Claim("4.4", "ASMG arrives at 1e-4", Cell(problem, d, 100), "asmg-paper", precise)
        yield Claim("4.4", "CMA-ES still converges at d = 200", Cell(problem, 200, 100), "cma-full", precise)
        yield Claim("4.4", "CMA-ES does not converge at d = 1000", Cell(problem, 1000, 100), "cma-full", failing)


def rows(runs: Sequence[Run]) -> Iterator[tuple[str, str, str, int, int, str, str]]:
    """Yield (figure, claim, problem, d, N, our figure, holds) for every claim whose cell was run."""
    for claim in claims():
        cell = claim.cell
        inside = cell.runs(runs, claim.optimizer)
        if not inside:
            continue
        distance = float(np.median([r.value for r in inside]))
        reached = sum(r.evaluations is not None for r in inside)
        evaluations = median_evaluations(inside)
        found = f"distance {distance:.2g} after {np.median([r.spent for r in inside]):,.0f}"
        if evaluations is not None:
            found += f", 1e-4 after {evaluations:,.0f}"
        found += f" ({reached} of {len(inside)} runs)"
        holds = "holds" if claim.test(distance) else "does not hold"
        yield claim.figure, claim.text, cell.problem, cell.d, cell.popsize, found, holds
