"""What stands behind the endpoints: a task, its description, and a log of what was answered."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .._version import __version__
from .projection import Projection

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

SPLITS = ("train", "validation", "test")
MAX_BATCH_ID = 2**32 - 1  # mini-batches are numbered as generations are
#: What the output `status` says of a row.
GOOD, NOT_FINITE, FAILED = 0, 1, 2

_log = logging.getLogger("pyasmg.clip")


class Task(Protocol):
    """What is served: :class:`pyasmg.clip.PromptTask`, or anything with its attributes and methods."""

    task_names: tuple[str, ...]
    batch_size: int
    max_batch: int
    start: Any

    @property
    def n_ctx(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def token_embedding_std(self) -> float: ...
    @property
    def n_train(self) -> tuple[int, ...]: ...
    def losses(self, prompts: Any, batch_id: int = -1) -> FloatArray: ...
    def evaluate(self, prompts: Any, split: str = "test") -> tuple[FloatArray, FloatArray]: ...


class Question(NamedTuple):
    """One request, checked.

    Attributes
    ----------
    prompts : ndarray, shape (N, n_ctx, width), float32
        What is asked about.
    batch_id : int
        The mini-batch, the same for all rows; -1 is the whole training split. Not used with ``split``.
    split : str or None
        A whole split, with accuracies, instead of a mini-batch.
    request_id : str
        The asker's own name for the request.
    """

    prompts: Float32Array
    batch_id: int
    split: str | None
    request_id: str = ""


class Answer(NamedTuple):
    """Losses and accuracies (N, m), float32, NaN in rows that failed, and the status of each row."""

    losses: Float32Array
    accuracies: Float32Array | None
    status: npt.NDArray[np.uint8]


class PromptModel:
    """Answers questions about prompts, and counts them.

    Parameters
    ----------
    task : Task
        Its losses must not depend on the other rows of a call; those of :class:`PromptTask` do not.
    name : str
        Of the model, in the addresses.
    projection : Projection, optional
        Lets requests hold ``v`` instead of ``prompt``.
    log : path, optional
        A line of JSON is appended for every request before it is answered.
    """

    def __init__(
        self, task: Task, name: str = "clip", projection: Projection | None = None, log: str | Path | None = None
    ) -> None:
        shape = (task.n_ctx, task.width)
        if projection is not None and (projection.n_ctx, projection.width) != shape:
            raise ValueError(f"`projection` must be to {shape}; got {(projection.n_ctx, projection.width)}.")
        self.task = task
        self.name = name
        self.projection = projection
        self.start: Float32Array = np.asarray(task.start, np.float32)
        self.counters = {"requests": 0, "prompts": 0, "failed": 0}
        self._log: IO[str] | None = None if log is None else open(log, "a", encoding="utf-8")  # noqa: SIM115

    @property
    def n_tasks(self) -> int:
        """Number of tasks m."""
        return len(self.task.task_names)

    def metadata(self) -> dict[str, Any]:
        """Return the model's description as the protocol wants it."""
        task = self.task
        inputs = [_tensor("prompt", "FP32", -1, task.n_ctx, task.width), _tensor("batch_id", "INT64", -1, 1)]
        parameters: dict[str, Any] = {
            "task_names": list(task.task_names),
            "n_ctx": task.n_ctx,
            "width": task.width,
            "token_embedding_std": task.token_embedding_std,
            "max_batch": task.max_batch,
            "batch_size": task.batch_size,
            "n_train": list(task.n_train),
            "start": "words" if self.start.any() else "zeros",
            "splits": list(SPLITS),
        }
        if self.projection is not None:
            inputs.append(_tensor("v", "FP32", -1, self.projection.d))
            parameters["projection"] = {"d": self.projection.d, "seed": self.projection.seed}
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": f"pyasmg-{__version__}",
            "inputs": inputs,
            "outputs": [
                _tensor("loss", "FP32", -1, self.n_tasks),
                _tensor("accuracy", "FP32", -1, self.n_tasks),
                _tensor("status", "UINT8", -1),
            ],
            "parameters": parameters,
        }

    def answer(self, question: Question) -> Answer:
        """Evaluate; what goes wrong in the task is the rows' failure, never an exception."""
        began = time.perf_counter()
        prompts = question.prompts
        status = np.zeros(len(prompts), np.uint8)
        status[~np.isfinite(prompts).all(axis=(1, 2))] = NOT_FINITE
        values = np.full((2, len(prompts), self.n_tasks), np.nan)
        good = np.flatnonzero(status == GOOD)
        if len(good):
            try:
                if question.split is None:
                    values[0, good] = self.task.losses(prompts[good], question.batch_id)
                else:
                    values[:, good] = self.task.evaluate(prompts[good], question.split)
            except Exception:
                _log.exception("evaluating request %r", question.request_id)
                status[good] = FAILED
            else:
                rows = values[:1] if question.split is None else values
                failed = (status == GOOD) & ~np.isfinite(rows).all(axis=(0, 2))
                values[:, failed], status[failed] = np.nan, FAILED
        with np.errstate(over="ignore"):
            losses, accuracies = values.astype(np.float32)
        self._note(question, status, time.perf_counter() - began)
        return Answer(losses, None if question.split is None else accuracies, status)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _note(self, question: Question, status: npt.NDArray[np.uint8], seconds: float) -> None:
        counters = self.counters
        counters["requests"] += 1
        counters["prompts"] += len(status)
        counters["failed"] += int(np.count_nonzero(status))
        if self._log is None:
            return
        line = {
            "time": round(time.time(), 3),
            "id": question.request_id,
            "batch_id": None if question.split else question.batch_id,
            "split": question.split,
            "prompts": [digest(prompt) for prompt in question.prompts],
            "status": status.tolist(),
            "seconds": round(seconds, 6),
        }
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()


def digest(prompt: npt.NDArray[Any]) -> str:
    """Return a name for the bits of a prompt, as the log has it."""
    return hashlib.blake2b(np.ascontiguousarray(prompt, "<f4").tobytes(), digest_size=8).hexdigest()


def _tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}
