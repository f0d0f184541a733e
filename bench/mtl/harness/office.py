"""What Office-31 and Office-Home have in common."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from bench.mtl.data.layout import Findings
from bench.mtl.data.office import PARTS, OfficePart, OfficeSet, check
from bench.mtl.models.resnet18 import OfficeNetwork

from .benchmark import Benchmark, Metric, Parts, Settings
from .scores import Accuracy, Score


class OfficeBenchmark(Benchmark):
    """Classification in several domains with ResNet-18, each domain a task with images of its own."""

    spec: ClassVar[OfficeSet]
    settings = Settings(epochs=100, batch_size=64, learning_rate=1e-4, weight_decay=1e-5)

    def __init__(self) -> None:
        self.tasks = self.spec.domains
        self.metrics = tuple(Metric(f"accuracy {name}", task, True) for task, name in enumerate(self.tasks))

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See :class:`Benchmark`."""
        parser.add_argument("--lists", metavar="FOLDER", help="of the list files; default: the root")
        parser.add_argument(
            "--weights", metavar="FILE", help="torchvision's ImageNet weights of ResNet-18, a local file"
        )
        parser.add_argument("--hidden-layer", action="store_true", help="LibMTL's layer behind ResNet-18")
        parser.add_argument("--image-size", type=int, default=224, help="default: %(default)s")

    def check(self, options: argparse.Namespace) -> Findings:
        """See :class:`Benchmark`."""
        findings = check(self.spec, self.root(options), self._lists(options))
        if options.weights is None:
            findings.note("no --weights: ResNet-18 starts from random numbers; the papers have ImageNet's")
        elif not Path(options.weights).is_file():
            findings.problem(f"--weights: there is no file {options.weights}")
        return findings

    def load(self, options: argparse.Namespace) -> Parts:
        """See :class:`Benchmark`."""
        root, lists, size = self.root(options), self._lists(options), (options.image_size,) * 2
        return Parts(*(OfficePart(self.spec, root, lists, part, size) for part in PARTS))

    def network(self, options: argparse.Namespace) -> OfficeNetwork:
        """See :class:`Benchmark`."""
        network = OfficeNetwork(len(self.tasks), self.spec.n_classes, hidden_layer=options.hidden_layer)
        self.load_weights(network, options)
        return network

    @staticmethod
    def load_weights(network: OfficeNetwork, options: argparse.Namespace) -> None:
        """Load ImageNet's weights, if given."""
        if options.weights is not None:
            network.resnet.load_weights(Path(options.weights))

    def loss(self, task: int, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`Benchmark`."""
        return functional.cross_entropy(output, target)

    def scores(self) -> list[Score]:
        """See :class:`Benchmark`."""
        return [Accuracy() for _ in self.tasks]

    def _lists(self, options: argparse.Namespace) -> Path:
        return self.root(options) if options.lists is None else Path(options.lists).expanduser()
