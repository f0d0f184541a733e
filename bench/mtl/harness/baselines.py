"""Single-task baselines, and what is reported against them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import pyasmg.mtl as mtl

from .benchmark import Benchmark

REPORTED = "reported"


def read_baselines(files: Sequence[str]) -> dict[str, float]:
    """Return the mean of each reported metric over tables that ``--method STL`` has written."""
    found: dict[str, list[float]] = {}
    for file in files:
        with Path(file).open(newline="") as lines:
            rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
        kept = [row for row in rows if row.get("epoch") == REPORTED and row.get("seed") != "mean"]
        if not kept:
            raise ValueError(f"{file} has no row that is {REPORTED!r}; expected a table of --method STL.")
        for row in kept:
            for name, value in row.items():
                if name not in ("seed", "epoch", "part", "delta_m", "delta_p", "variance") and value:
                    found.setdefault(name, []).append(float(value))
    return {name: float(np.mean(values)) for name, values in found.items()}


class Baselines:
    """The baselines of all metrics that count; or none, and then there is no delta_m.

    Parameters
    ----------
    benchmark : Benchmark
        Whose metrics.
    values : dict or None
        By the name of the metric. Where one that counts is missing, ``missing`` names them, and there are none.
    """

    def __init__(self, benchmark: Benchmark, values: dict[str, float] | None) -> None:
        self.metrics = [metric for metric in benchmark.metrics if metric.counts]
        self.missing = [metric.name for metric in self.metrics if metric.name not in (values or {})]
        self.values = None if self.missing or values is None else [values[metric.name] for metric in self.metrics]
        self.higher = [metric.higher for metric in self.metrics]
        self.n_tasks = len(benchmark.tasks)

    def deltas(self, found: dict[str, float]) -> dict[str, float]:
        """Return delta_m, delta_p and the variance of the drops for metrics by name; nothing without baselines."""
        values = [found.get(metric.name, float("nan")) for metric in self.metrics]
        if self.values is None or not np.isfinite(values).all():
            return {}
        counts = [sum(metric.task == task for metric in self.metrics) for task in range(self.n_tasks)]
        higher = {"higher_is_better": self.higher}
        return {
            "delta_m": mtl.metrics.delta_m(values, self.values, **higher),
            "delta_p": mtl.metrics.delta_p(values, self.values, metrics_per_task=counts, **higher),
            "variance": mtl.metrics.delta_m_variance(values, self.values, **higher),
        }

    def performance(self, bounds: tuple[float, float]) -> mtl.Performance:
        """Return the baselines task by task."""
        if self.values is None:
            raise ValueError("no baselines")
        return mtl.Performance(self._per_task(self.values), higher_is_better=self._per_task(self.higher), bounds=bounds)

    def per_task(self, found: dict[str, float]) -> list[list[float]]:
        """Return metrics by name in the layout of :meth:`performance`."""
        return self._per_task([found[metric.name] for metric in self.metrics])

    def _per_task(self, values: Sequence) -> list[list]:
        pairs = list(zip(self.metrics, values, strict=True))
        return [[value for metric, value in pairs if metric.task == task] for task in range(self.n_tasks)]
