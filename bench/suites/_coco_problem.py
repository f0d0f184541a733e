"""COCO's problems with what the suite knows about them: optimum, ideal, nadir, COCO's own reference value."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """Work in an empty folder for a moment: cocoex writes into the current one."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


@cache  # a problem must not outlive its suite
def _suite(name: str, instance: int, d: int) -> Any:
    import cocoex

    return cocoex.Suite(name, f"instances: {instance}", f"dimensions: {d}")


def _get(suite: str, function: int, d: int, instance: int) -> Any:
    return _suite(suite, instance, d).get_problem_by_function_dimension_instance(function, d, instance)


def optimum(problem: Any) -> FloatArray:
    """Return the best parameter (d,) of a problem with one objective."""
    with _scratch():
        problem._best_parameter("print")
        return np.loadtxt("._bbob_problem_best_parameter.txt").reshape(-1)


@dataclass(frozen=True)
class SingleObjective:
    """A function of ``bbob-largescale`` and its least value."""

    problem: Any
    optimum: FloatArray
    least: float

    def error(self, X: FloatArray) -> FloatArray:
        """Return f(x) - f(optimum) of each row, (N,)."""
        return np.array([self.problem(x) for x in X]) - self.least


def single_objective(function: int, d: int, instance: int = 1) -> SingleObjective:
    """Return a function of ``bbob-largescale``."""
    problem = _get("bbob-largescale", function, d, instance)
    best = optimum(problem)
    return SingleObjective(problem, best, float(problem(best)))


@dataclass(frozen=True)
class TwoObjectives:
    """A function of ``bbob-biobj``, normalised: the ideal point is (0, 0), the nadir point (1, 1).

    ``optima`` (2, d) are those of the two objectives, ``reference`` is the hypervolume of the best front that COCO's
    authors know, in these units and within [0, 1]^2.
    """

    problem: Any
    optima: FloatArray
    ideal: FloatArray
    nadir: FloatArray
    reference: float

    def __call__(self, X: FloatArray) -> FloatArray:
        """Return the normalised objectives, (N, 2)."""
        raw = np.array([self.problem(x) for x in X]).reshape(len(X), 2)
        return (raw - self.ideal) / (self.nadir - self.ideal)


def two_objectives(function: int, d: int, instance: int = 1) -> TwoObjectives:
    """Return a function of ``bbob-biobj``; its ideal and nadir from the optima of the two ``bbob`` functions in it."""
    problem = _get("bbob-biobj", function, d, instance)
    parts = re.findall(r"bbob_f(\d+)_i(\d+)_d", problem.name)
    optima = np.array([optimum(_get("bbob", int(f), d, int(i))) for f, i in parts])
    values = np.array([problem(x) for x in optima])
    reference = _reference_value(function, d, instance)
    return TwoObjectives(problem, optima, values.diagonal().copy(), values[::-1].diagonal().copy(), reference)


def log_indicator(function: int, d: int, X: FloatArray, instance: int = 1) -> tuple[float, float]:
    """Return what COCO itself logs after these evaluations: the indicator's reference value, and its last value."""
    import cocoex

    with _scratch() as folder:
        options = f"outer_folder: {folder} result_folder: log log_nondominated: none"
        level = cocoex.log_level("warning")
        observer = cocoex.Observer("bbob-biobj", options)
        cocoex.log_level(level)
        problem = cocoex.Suite(
            "bbob-biobj", f"instances: {instance}", f"dimensions: {d} function_indices: {function}"
        ).get_problem(0)
        problem.observe_with(observer)
        for x in X:
            problem(x)
        problem.free()
        (log,) = folder.rglob("*_hyp.dat")
        text = log.read_text()
    reference = re.search(r"reference value = (\S+)", text)
    if reference is None:
        raise RuntimeError(f"COCO's log has no reference value: {text[:200]!r}.")
    last = [line for line in text.splitlines() if line and not line.startswith("%")][-1]
    return float(reference.group(1)), float(last.split()[1])


def _reference_value(function: int, d: int, instance: int) -> float:
    return log_indicator(function, d, np.zeros((1, d)), instance)[0]
