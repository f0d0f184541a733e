"""Where the losses of prompts come from: a server, or a task in this process. Both give the same bits."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluation import HTTP, Job, Outcome, Points, Source
from ..evaluation._http_protocol import Protocol
from ._client_protocol import Description, PromptProtocol, as_sent
from ._questions import images
from ._server_model import Task
from .projection import Projection


class RemoteSource(HTTP):
    """Asks a prompt server.

    Parameters
    ----------
    url, model : str
        Of the server, and the name of its model.
    description : Description
        What the server says of itself.
    projection : Projection, optional
        A; without it, candidates are offsets from the server's start.
    send_v : bool
        Send v, and let the server's own projection make the prompts.
    **options
        For :class:`pyasmg.evaluation.HTTP`.

    Raises
    ------
    ValueError
        ``send_v`` where the server has no projection or another one.
    """

    default_attempts = 12  # a server that is started again within minutes is waited for

    def __init__(
        self,
        url: str,
        model: str,
        description: Description,
        projection: Projection | None = None,
        *,
        send_v: bool = False,
        **options: Any,
    ) -> None:
        mine = None if projection is None else (projection.d, projection.seed)
        if send_v and (mine is None or description.projection != mine):
            raise ValueError(
                "`send_v` needs a server with the same projection: "
                f"(d, seed) is {mine} here and {description.projection} there."
            )
        self._description, self._projection, self._send_v = description, projection, send_v
        super().__init__(url, protocol="kserve", model=model, **options)

    def _make_protocol(self) -> Protocol:
        return PromptProtocol(self._url, self._description, self._projection, self._send_v)


class LocalSource(Source):
    """Evaluates a task right here, with the numbers that a server of it would answer.

    Parameters
    ----------
    task : PromptTask
        What is asked.
    projection : Projection
        A.
    """

    def __init__(self, task: Task, projection: Projection) -> None:
        super().__init__()
        self._task, self._projection = task, projection
        self._start = np.asarray(task.start, np.float32)
        self._outcomes: list[Outcome] = []

    @property
    def name(self) -> str:
        """Which tasks are evaluated."""
        return "prompts for " + ", ".join(self._task.task_names)

    @property
    def n_slots(self) -> int:
        """One call at a time."""
        return 1

    def batch_size(self, n_jobs: int) -> int:
        """Return as many as the task takes."""
        return min(n_jobs, self._task.max_batch)

    def start(self, points: Points, jobs: Sequence[Job]) -> None:
        """Evaluate the jobs, which must be about the same images."""
        began = time.perf_counter()
        self.counters.requests += 1
        about = images(points.generation, jobs[0].candidate)
        try:
            prompts = self._start + self._projection.apply(as_sent(points.rows(jobs)))
            if about.split is None:
                values = self._task.losses(prompts, about.batch_id)
            else:
                values = np.concatenate(self._task.evaluate(prompts, about.split), axis=1)
        except Exception as error:
            trace, line = traceback.format_exc(), f"{type(error).__name__}: {error}"
            self._outcomes += [Outcome(job, error=line, traceback=trace) for job in jobs]
        else:
            with np.errstate(over="ignore"):
                rows = np.asarray(values, np.float32).astype(np.float64)  # what a server's answer holds
            seconds = (time.perf_counter() - began) / len(jobs)
            self._outcomes += [Outcome(job, values=row, seconds=seconds) for job, row in zip(jobs, rows, strict=True)]
        self.counters.evaluations += len(jobs)

    def poll(self, timeout: float | None) -> list[Outcome]:
        """Return what was evaluated."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def cancel(self) -> None:
        """Forget what was not fetched."""
        self.poll(0.0)


def matrix_of(records: Mapping[int, Any], candidates: Sequence[int], n_columns: int) -> npt.NDArray[np.float64]:
    """Return the values of some candidates, one row each; NaN where there are none."""
    F = np.full((len(candidates), n_columns), math.nan)
    for row, candidate in zip(F, candidates, strict=True):
        record = records.get(candidate)
        if record is not None and record.values is not None:
            row[:] = record.values
    return F
