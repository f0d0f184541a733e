"""What a tuning run gives back: the prompt as a file, and the table."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._version import __version__
from ..result import Result
from ._imports import optional
from ._tune_run import Scores

if TYPE_CHECKING:
    from rich.table import Table

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TuneResult:
    """A tuned prompt, what it is worth and what it cost.

    Attributes
    ----------
    v : ndarray, shape (d,), float64
        What was searched for: the mean of the search distribution after generation ``generation``.
    offset : ndarray, shape (n_ctx, width), float32
        A v: what is added to the start p0.
    prompt : ndarray, shape (n_ctx, width), float32, or None
        p0 + A v; None where p0 is a server's secret.
    task_names : tuple of str
        The m tasks.
    start, tuned : Scores or None
        Losses and accuracies on the test split of p0 (zero-shot) and of the tuned prompt; None if they were not
        evaluated.
    validations : dict of int to Scores
        Of the mean, by the number of generations before it; 0 is the start.
    generation : int
        Which mean was taken.
    queries : dict of str to int
        "search", "final", "validation", "test", and their "total": each prompt once, however often it was asked.
    run : Result
        The search: weights, history, failures, cost, counters.
    settings : dict
        With which the run can be repeated.
    problems : list of str
        What could not be evaluated, in words.
    """

    v: FloatArray
    offset: npt.NDArray[np.float32]
    prompt: npt.NDArray[np.float32] | None
    task_names: tuple[str, ...]
    start: Scores | None
    tuned: Scores | None
    validations: dict[int, Scores]
    generation: int
    queries: dict[str, int]
    run: Result
    settings: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the prompt as a safetensors file, whole or not at all.

        Tensors: ``v``, ``offset`` and, where it is known, ``prompt``. Metadata: the settings, the weights of the tasks,
        what was spent, and the scores, each as JSON.
        """
        optional("safetensors")
        from safetensors.numpy import save

        tensors = {"v": self.v, "offset": self.offset}
        if self.prompt is not None:
            tensors["prompt"] = self.prompt
        content = {
            "settings": self.settings,
            "task_names": self.task_names,
            "weights": dict(zip(self.task_names, self.run.weights.tolist(), strict=False)),
            "generation": self.generation,
            "queries": self.queries,
            "cost": self.run.cost,
            "counters": self.run.counters,
            "zero_shot": _plain(self.start),
            "tuned": _plain(self.tuned),
            "validations": {str(generation): _plain(scores) for generation, scores in self.validations.items()},
            "message": self.run.message,
        }
        metadata = {"format": "pyasmg.clip.prompt", "version": "1", "pyasmg": __version__}
        metadata.update({name: json.dumps(value) for name, value in content.items()})
        target = Path(path)
        unfinished = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            unfinished.write_bytes(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata))
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    def table(self) -> Table:
        """Return the table per domain: zero-shot, tuned, difference."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(title="Test split", title_justify="left", box=SIMPLE_HEAD)
        table.add_column("domain")
        for words in ("zero-shot %", "tuned %", "difference", "zero-shot loss", "tuned loss", "difference"):
            table.add_column(words, justify="right")
        for name, numbers in self.rows():
            formats = ("{:.1f}", "{:.1f}", "{:+.1f}", "{:.3f}", "{:.3f}", "{:+.3f}")
            texts = [f.format(x) if np.isfinite(x) else "-" for f, x in zip(formats, numbers, strict=True)]
            table.add_row(Text(name), *texts, end_section=name == self.task_names[-1])
        return table

    def rows(self) -> list[tuple[str, list[float]]]:
        """Return name, accuracies in % and losses (each: start, tuned, difference); then the average and the worst."""
        m = len(self.task_names)
        nothing = Scores(np.full(m, np.nan), np.full(m, np.nan))
        pair = [self.start or nothing, self.tuned or nothing]
        accuracies = 100.0 * np.array([scores.accuracies for scores in pair])
        losses = np.array([scores.losses for scores in pair])
        columns = [(name, accuracies[:, i], losses[:, i]) for i, name in enumerate(self.task_names)]
        columns.append(("average", accuracies.mean(axis=1), losses.mean(axis=1)))
        columns.append(("worst", accuracies.min(axis=1), losses.max(axis=1)))
        return [
            (name, [*map(float, a), float(a[1] - a[0]), *map(float, f), float(f[1] - f[0])]) for name, a, f in columns
        ]

    def summary(self) -> str:
        """Say in a few lines what was spent, and what went wrong."""
        q, run = self.queries, self.run
        lines = [
            f"{q['total']:,} queries: {q['search']:,} search in {run.n_iterations:,} generations, {q['final']} final "
            f"mean, {q['validation']} validation, {q['test']} test; {run.n_failed:,} failed, "
            f"{run.counters.get('retries', 0):,} asked again"
        ]
        if run.cost:
            lines.append(f"cost {run.cost:.6g}")
        weights = ", ".join(f"{n} {w:.2f}" for n, w in zip(self.task_names, run.weights, strict=False))
        lines.append(f"prompt of generation {self.generation}; weights {weights}; stopped: {run.message}")
        return "\n".join([*lines, *self.problems])


def _plain(scores: Scores | None) -> dict[str, list[float]] | None:
    if scores is None:
        return None
    return {"losses": scores.losses.tolist(), "accuracies": scores.accuracies.tolist()}
