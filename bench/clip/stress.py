"""What may go wrong with a set of tasks: other units, duplicates, failed queries."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pyasmg.clip import PromptTask

FloatArray = npt.NDArray[np.float64]

STRESSES = {
    "none": "",
    "units": "the last task's loss is multiplied by 20",
    "duplicates": "the last task stands there five times",
    "failures": "10 % of the queries fail",
    "units first": "the first task's loss is multiplied by 20",
    "duplicates first": "the first task stands there five times",
}
#: The first task of the tiny CLIP is what it has learnt by heart: 20 times nothing is no stress for a raw sum.
USUAL = ("units", "duplicates", "failures")
UNITS, COPIES, FAILURES = 20.0, 5, 0.1


class Objectives:
    """The losses that a search sees: those of a task, under one of :data:`STRESSES`.

    Parameters
    ----------
    task : PromptTask
        Answers the queries.
    stress : str
        Key of :data:`STRESSES`.
    seed : int
        Of the failures.
    """

    def __init__(self, task: PromptTask, stress: str, seed: int) -> None:
        if stress not in STRESSES:
            raise ValueError(f"`stress` must be one of {tuple(STRESSES)}; got {stress!r}.")
        m = len(task.task_names)
        self.task, self.stress = task, stress
        self.stressed = 0 if stress.endswith("first") else m - 1
        copies = [self.stressed] * (COPIES - 1) if stress.startswith("duplicates") else []
        self.columns = np.array([*range(m), *copies])
        self._rng = np.random.default_rng((seed, 20_000))

    def seen(self, values: FloatArray, *, units: bool = False) -> FloatArray:
        """Return what the search sees of losses or accuracies (N, m); losses have units."""
        values = values[:, self.columns]
        if units and self.stress.startswith("units"):
            values[:, self.stressed] *= UNITS
        return values

    def losses(self, prompts: npt.NDArray[np.float32], batch_id: int) -> FloatArray:
        """Return the losses (N, m'), a failed query as a row of NaN."""
        values = self.seen(self.task.losses(prompts, batch_id), units=True)
        if self.stress == "failures":
            values[self._rng.random(len(values)) < FAILURES] = np.nan
        return values
