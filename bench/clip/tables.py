"""The tables, from the outcomes of all runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.common import Table
from pyasmg.clip import PromptTask

from .cells import Cell
from .run import Outcome, zero_shot
from .stress import STRESSES
from .white_box import white_box

FloatArray = npt.NDArray[np.float64]
Outcomes = dict[Cell, Outcome]
MEASURES = ("average", "worst", "loss")


def measures(outcome: Outcome) -> tuple[float, float, float]:
    """Return average and worst accuracy in percent, and the mean loss."""
    return float(np.mean(outcome.accuracies)), min(outcome.accuracies), float(np.mean(outcome.losses))


def by_seed(outcomes: Outcomes, method: str, d: int, stress: str) -> FloatArray:
    """Return the measures (n_seeds, 3), seeds in ascending order; a run that diverged scores NaN."""
    chosen = [cell for cell in outcomes if (cell.method, cell.d, cell.stress) == (method, d, stress)]
    return np.array([measures(outcomes[cell]) for cell in sorted(chosen, key=lambda cell: cell.seed)])


def mean_and_error(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean over seeds, and its standard error."""
    n = len(values)
    error = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(values.shape[1], np.nan)
    return values.mean(axis=0), error


def cells_of(values: FloatArray) -> list[str]:
    """Return "mean ± standard error" of each measure."""
    return [
        f"{mean:.{digits}f} ± {error:.{digits}f}"
        for mean, error, digits in zip(*mean_and_error(values), (2, 2, 4), strict=True)
    ]


def main_table(
    name: str, outcomes: Outcomes, task: PromptTask, methods: Sequence[str], dimensions: Sequence[int]
) -> Table:
    """Return Table 4.1's form: average and worst accuracy, and mean loss, on the test split."""
    columns = ["method", *(f"d={d} {measure}" for d in dimensions for measure in MEASURES)]
    title = "test split: average and worst domain's accuracy in percent, mean loss; ± standard error over seeds"
    table = Table(name, columns, title)
    fixed = {"zero-shot": zero_shot(task), "white box (gradients)": zero_shot(task, prompt=white_box(task))}
    for row, outcome in fixed.items():
        average, worst, loss = measures(outcome)
        table.add(row, *[f"{average:.2f}", f"{worst:.2f}", f"{loss:.4f}"] * len(dimensions))
    for method in methods:
        table.add(method, *(text for d in dimensions for text in cells_of(by_seed(outcomes, method, d, "none"))))
    return table


def stress_table(name: str, outcomes: Outcomes, methods: Sequence[str], d: int, stresses: Sequence[str]) -> Table:
    """Return the same measures under each stress."""
    chosen = ["none", *stresses]
    columns = ["method", *(f"{stress} {measure}" for stress in chosen for measure in MEASURES)]
    title = f"d = {d}; " + "; ".join(f"{stress}: {STRESSES[stress]}" for stress in stresses)
    table = Table(name, columns, title)
    for method in methods:
        table.add(method, *(text for stress in chosen for text in cells_of(by_seed(outcomes, method, d, stress))))
    return table


def differences(
    name: str,
    outcomes: Outcomes,
    reference: str,
    methods: Sequence[str],
    dimensions: Sequence[int],
    stress_dimension: int,
    stresses: Sequence[str],
) -> Table:
    """Return paired differences, the reference minus each method: above 0 is better, for the loss below 0."""
    table = Table(
        name,
        [f"{reference} minus", "d", "stress", *MEASURES],
        f"paired differences over seeds, {reference} minus the method; ± standard error",
    )
    places = [(d, "none") for d in dimensions] + [(stress_dimension, stress) for stress in stresses]
    for d, stress in places:
        ours = by_seed(outcomes, reference, d, stress)
        for method in methods:
            if method != reference:
                table.add(method, d, stress, *cells_of(ours - by_seed(outcomes, method, d, stress)))
    return table
