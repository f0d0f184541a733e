"""What a data set, its network and its settings make a benchmark."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.mtl.data.batches import Part
from bench.mtl.data.layout import Findings
from bench.mtl.models.network import Network

from .scores import Score


@dataclass(frozen=True)
class Metric:
    """A column of the table.

    Attributes
    ----------
    name
        Of the column.
    task
        Whose it is.
    higher
        Whether higher is better.
    counts
        Whether it enters delta_m and delta_p; the accuracy beside F1 does not.
    """

    name: str
    task: int
    higher: bool
    counts: bool = True


@dataclass(frozen=True)
class Settings:
    """The papers' settings; the docstring of each benchmark says from where."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Parts:
    """The parts of a data set; ``validation`` is None where it has none."""

    train: Part
    validation: Part | None
    test: Part


class Benchmark(ABC):
    """One benchmark.

    Attributes
    ----------
    name, title
        For files and for people.
    settings
        Defaults of the options.
    weighs_by
        Whose metrics give the performance-informed weights: of the training part where there is no validation part
        (PIVRG, sec. 4.1).
    reports
        "last": the mean of the test metrics over the last 10 epochs (Nash-MTL); "best": those of the epoch that is
        best on the validation part.
    printed
        Metrics of single-task training in the papers, of those that count; None where none are printed.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    settings: ClassVar[Settings]
    weighs_by: ClassVar[Literal["train", "validation"]] = "validation"
    reports: ClassVar[Literal["last", "best"]] = "best"
    printed: ClassVar[tuple[float, ...] | None] = None

    tasks: tuple[str, ...]
    metrics: tuple[Metric, ...]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:  # noqa: B027  (most have none)
        """Add options of this benchmark alone."""

    @abstractmethod
    def check(self, options: argparse.Namespace) -> Findings:
        """Return what the folder lacks."""

    @abstractmethod
    def load(self, options: argparse.Namespace) -> Parts:
        """Return the parts; the folder has been checked."""

    @abstractmethod
    def network(self, options: argparse.Namespace) -> Network:
        """Return a network with fresh weights."""

    @abstractmethod
    def loss(self, task: int, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss of a task on a batch."""

    @abstractmethod
    def scores(self) -> list[Score]:
        """Return a score per task, whose results are the task's metrics in the order of ``metrics``."""

    def scheduler(
        self, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler | torch.optim.lr_scheduler.ReduceLROnPlateau | None:
        """Return what lowers the learning rate; None by default."""
        return None

    @property
    def command(self) -> str:
        """What stands behind ``python -m``."""
        return f"bench.mtl.{self.name}"

    @property
    def single_task(self) -> dict[str, float] | None:
        """What is printed, by the name of the metric."""
        if self.printed is None:
            return None
        names = [metric.name for metric in self.metrics if metric.counts]
        return dict(zip(names, self.printed, strict=True))

    @staticmethod
    def root(options: argparse.Namespace) -> Path:
        """Return the data folder."""
        return Path(options.root).expanduser()
