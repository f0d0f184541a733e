"""One run: a network, a method, a seed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pyasmg.mtl as mtl
from bench.mtl.data.batches import Part, to_device

from . import checkpoint, methods
from .baselines import REPORTED, Baselines
from .benchmark import Benchmark, Parts

LAST = 10
Row = dict[str, Any]


class Run:
    """Training and evaluation, epoch by epoch; the same whether it is interrupted between epochs or not.

    Exactly so on the CPU. On CUDA, PyTorch's own kernels add up in varying order.

    Parameters
    ----------
    benchmark, parts, baselines
        What is run.
    options : argparse.Namespace
        As ``cli.parser`` makes them.
    seed : int
        Of the weights, the order of the batches, the augmentation, and the method.

    Attributes
    ----------
    rows
        One per epoch and part: seed, epoch, part, mean losses, metrics, delta_m, delta_p, variance of the drops.
    """

    #: The method where none is named.
    default = "EW"

    def __init__(
        self, benchmark: Benchmark, parts: Parts, baselines: Baselines, options: argparse.Namespace, seed: int
    ) -> None:
        self.benchmark, self.parts, self.baselines, self.options, self.seed = benchmark, parts, baselines, options, seed
        self.device = torch.device(options.device)
        single = options.method == methods.SINGLE_TASK
        self.tasks = [benchmark.tasks.index(options.task)] if single else list(range(len(benchmark.tasks)))
        torch.manual_seed(seed)
        self.network = benchmark.network(options).to(self.device)
        self._set_up()
        self.scheduler = benchmark.scheduler(self.optimizer)
        self.epoch = 0
        self.rows: list[Row] = []
        self.best: tuple[float, int] | None = None

    def _set_up(self) -> None:
        """Make what trains the network: the balancer and the optimizer."""
        options, n = self.options, len(self.tasks)
        self.balancer = mtl.EW(n)
        if options.method != methods.SINGLE_TASK:
            chosen = methods.parse_options(options.option)
            self.balancer = methods.make(options.method, n, self.seed, chosen).to(self.device)
        self.informed = None
        if options.pi:
            performance = self.baselines.performance(tuple(options.pi_bounds))
            self.informed = mtl.PerformanceInformed(self.balancer, performance)
        self.features = options.features or methods.needs_features(self.balancer)
        self.shared = self.network.shared_parameters()
        own = self.network.head_parameters()
        self.heads = [own[task] for task in self.tasks]
        self.optimizer = torch.optim.Adam(
            [
                {"params": list(self.network.parameters())},
                {"params": list(self.balancer.parameters()), "lr": options.method_learning_rate, "weight_decay": 0.0},
            ],
            lr=options.learning_rate,
            weight_decay=options.weight_decay,
        )

    @classmethod
    def choices(cls) -> list[str]:
        """Return the names that ``--method`` takes."""
        return [*mtl.METHODS, methods.SINGLE_TASK]

    @classmethod
    def check_method(cls, benchmark: Benchmark, options: argparse.Namespace) -> None:
        """Raise ValueError or TypeError where method and options do not go together."""
        balancer = methods.make(options.method, len(benchmark.tasks), 0, methods.parse_options(options.option))
        if options.features and not getattr(balancer, "supports_features", True):
            raise ValueError(f"{options.method} needs gradients on parameters: --features cannot be.")

    # ---- training ----

    def epochs(self, until: int) -> None:
        """Train up to so many epochs in all; a checkpoint, if any, is written after each."""
        while self.epoch < until:
            losses, found = self._train()
            self._row("train", found, losses)
            score = None
            for name, part in (("validation", self.parts.validation), ("test", self.parts.test)):
                if part is not None:
                    metrics = self.evaluate(part)
                    self._row(name, metrics)
                    if name == "validation":
                        score, found = self._score(metrics), metrics
            if score is not None and (self.best is None or score > self.best[0]):
                self.best = (score, self.epoch)
            self._close_epoch(found, score)
            self.epoch += 1
            if self.options.checkpoint:
                self.save(self.path)

    def _train(self) -> tuple[dict[str, float], dict[str, float]]:
        """Train one epoch; return the mean losses, and metrics where those of the training part are wanted."""
        self.network.train()
        scores = self.benchmark.scores()
        total, n_steps = np.zeros(len(self.tasks)), 0
        order = (self.seed, self.epoch)
        for batch in self.parts.train.batches(self.options.batch_size, order=order, workers=self.options.workers):
            inputs, targets = to_device(self._own(batch), self.device)
            values, outputs = self._step(inputs, targets)
            total, n_steps = total + values, n_steps + 1
            if self.benchmark.weighs_by == "train":
                for task in self.tasks:
                    scores[task].update(outputs[task].detach(), targets[task])
        if n_steps == 0:
            raise ValueError("the training part is empty.")
        names = [f"loss {self.benchmark.tasks[task]}" for task in self.tasks]
        found = self._named(scores) if self.benchmark.weighs_by == "train" else {}
        return dict(zip(names, (total / n_steps).tolist(), strict=True)), found

    def _step(self, inputs: Any, targets: Any) -> tuple[np.ndarray, list[Any]]:
        features = self.network.features(inputs)
        outputs = self.network.predict(methods.rotate(self.balancer, features))
        losses = self._losses(outputs, targets)
        self.optimizer.zero_grad()
        self.balancer.backward(
            losses,
            shared=self.shared,
            heads=self.heads,
            features=self._given(features) if self.features else None,
            **methods.double_loop(self.balancer, lambda: self._losses(self.network(inputs), targets)),
        )
        self.optimizer.step()
        if isinstance(self.balancer, mtl.FAMO):  # on the same batch, in training mode, as in the authors' code
            with torch.no_grad():
                self.balancer.update(self._losses(self.network(inputs), targets))
        return np.array([float(loss) for loss in torch.stack(losses).detach().cpu()]), outputs

    def _losses(self, outputs: list[Any], targets: Any) -> list[Tensor]:
        return [self.benchmark.loss(task, outputs[task], targets[task]) for task in self.tasks]

    def _own(self, batch: Any) -> Any:
        """Leave out the inputs of tasks that are not trained, where each task has its own."""
        inputs, targets = batch
        if isinstance(inputs, list) and len(self.tasks) < len(inputs):
            inputs = [entry if task in self.tasks else None for task, entry in enumerate(inputs)]
        return inputs, targets

    def _given(self, features: Any) -> Any:
        return features if isinstance(features, Tensor) else [features[task] for task in self.tasks]

    def _close_epoch(self, found: dict[str, float], score: float | None) -> None:
        """Tell the method, the weights of the tasks and the learning rate that an epoch is over."""
        methods.end_epoch(self.balancer)
        if self.informed is not None:
            self.informed.update(self.baselines.per_task(found))
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(-score)
        elif self.scheduler is not None:
            self.scheduler.step()

    # ---- evaluation ----

    @torch.no_grad()
    def evaluate(self, part: Part) -> dict[str, float]:
        """Return the metrics of the trained tasks on a part, by name."""
        self.network.eval()
        scores = self.benchmark.scores()
        for batch in part.batches(self.options.batch_size, workers=self.options.workers):
            inputs, targets = to_device(self._own(batch), self.device)
            outputs = self.network.predict(methods.rotate(self.balancer, self.network.features(inputs)))
            for task in self.tasks:
                if outputs[task] is not None:
                    scores[task].update(outputs[task], targets[task])
        return self._named(scores)

    def _named(self, scores: list[Any]) -> dict[str, float]:
        results = [list(score.result()) if task in self.tasks else [] for task, score in enumerate(scores)]
        return {metric.name: results[metric.task].pop(0) for metric in self.benchmark.metrics if results[metric.task]}

    def _row(self, part: str, found: dict[str, float], losses: dict[str, float] | None = None) -> None:
        self.rows.append(
            {"seed": self.seed, "epoch": self.epoch, "part": part, **(losses or {}), **found}
            | self.baselines.deltas(found)
        )

    def _score(self, found: dict[str, float]) -> float:
        """Return what chooses the best epoch: the mean metric if higher is better in all, else -delta_m."""
        counted = [metric for metric in self.benchmark.metrics if metric.counts and metric.name in found]
        values = [found[metric.name] for metric in counted]
        if all(metric.higher for metric in counted):
            return float(np.mean(values))
        deltas = self.baselines.deltas(found)
        if deltas:
            return -deltas["delta_m"]
        signs = [1.0 if metric.higher else -1.0 for metric in counted]
        return float(np.dot(signs, np.log(np.maximum(values, 1e-300))) / len(values))

    def reported(self) -> Row:
        """Return the row that stands for the run: see ``Benchmark.reports``."""
        test = [row for row in self.rows if row["part"] == "test"]
        if self.benchmark.reports == "best" and self.best is not None:
            chosen = [row for row in test if row["epoch"] == self.best[1]]
        else:
            chosen = test[-LAST:]
        names = [metric.name for metric in self.benchmark.metrics if metric.name in chosen[0]]
        found = {name: float(np.mean([row[name] for row in chosen])) for name in names}
        return {"seed": self.seed, "epoch": REPORTED, "part": "test", **found, **self.baselines.deltas(found)}

    # ---- checkpoints ----

    @property
    def path(self) -> Path:
        """Where the checkpoint of this seed is."""
        return Path(str(self.options.checkpoint).replace("{seed}", str(self.seed)))

    def settings(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with the one before."""
        left_out = {
            "root",
            "lists",
            "device",
            "workers",
            "threads",
            "checkpoint",
            "stop_after",
            "check",
            "epochs",
            "seeds",
        }
        kept = {name: value for name, value in vars(self.options).items() if name not in left_out}
        plain = {name: value if isinstance(value, (int, float, str)) else repr(value) for name, value in kept.items()}
        baselines = None if self.baselines.values is None else repr(self.baselines.values)
        n = len(self.parts.train)
        return {**plain, "benchmark": self.benchmark.name, "baselines": baselines, "seed": self.seed, "samples": n}

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        state = {**self._state(), "scheduler": scheduler, "epoch": self.epoch, "rows": self.rows, "best": self.best}
        checkpoint.save(path, self.settings(), state, self.device)

    def resume(self) -> bool:
        """Continue from the checkpoint, if there is one; return whether there was."""
        if not self.options.checkpoint or not self.path.exists():
            return False
        state = checkpoint.load(self.path, self.settings(), self.device)
        self._restore(state)
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.epoch, self.rows = state["epoch"], state["rows"]
        self.best = None if state["best"] is None else tuple(state["best"])
        return True

    def _state(self) -> dict[str, Any]:
        """Return the state of what trains the network, and of the network."""
        return {
            "network": self.network.state_dict(),
            "balancer": self.balancer.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.balancer.load_state_dict(state["balancer"])
        self.optimizer.load_state_dict(state["optimizer"])
