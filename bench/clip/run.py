"""One run: a method on a task, and what its prompt scores on the test split."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pyasmg.clip import Projection, PromptTask

from .methods import Method, Start
from .stress import Objectives


@dataclass(frozen=True)
class Setting:
    """N and the number of generations."""

    popsize: int = 20
    generations: int = 200


@dataclass(frozen=True)
class Outcome:
    """Test losses (m,) and accuracies (m,) in percent, queries asked, seconds taken."""

    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    n_queries: int
    seconds: float


def zero_shot(task: PromptTask, split: str = "test", prompt: npt.NDArray[np.float32] | None = None) -> Outcome:
    """Return what the start scores, or another prompt that no query found."""
    start = time.perf_counter()
    losses, accuracies = task.evaluate((task.start if prompt is None else prompt)[None], split)
    return Outcome(tuple(losses[0].tolist()), tuple((100 * accuracies[0]).tolist()), 0, time.perf_counter() - start)


def run(
    task: PromptTask,
    method: Method,
    d: int,
    seed: int,
    stress: str = "none",
    setting: Setting | None = None,
    split: str = "test",
) -> Outcome:
    """Tune v from 0 and return what the final mean scores; runs of different methods are paired by the seed.

    The seed gives A, the mini-batches and the method's own random numbers. Each generation sees one mini-batch per
    task. The final mean is looked at once.
    """
    setting = setting or Setting()
    begin = time.perf_counter()
    projection = Projection(d, task.n_ctx, task.width, task.token_embedding_std, seed)
    objectives = Objectives(task, stress, seed)
    losses, accuracies = task.evaluate(task.start[None], "validation")
    start = Start(objectives.seen(losses, units=True)[0], objectives.seen(accuracies)[0])
    search = method.make(d, setting.popsize, seed, start)
    first_batch = seed * setting.generations
    n_queries = 0
    for generation in range(setting.generations):
        V = search.ask()
        F = objectives.losses(projection.apply(V, task.start), first_batch + generation)
        n_queries += len(V)
        search.tell(V, F)
    prompt = projection.apply(np.asarray(search.mean, dtype=np.float64)[None], task.start)
    losses, accuracies = task.evaluate(prompt, split)
    return Outcome(
        tuple(losses[0].tolist()), tuple((100 * accuracies[0]).tolist()), n_queries, time.perf_counter() - begin
    )
