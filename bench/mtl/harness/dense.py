"""What NYUv2 and Cityscapes have in common."""

from __future__ import annotations

import argparse
from typing import ClassVar

import torch
from torch import Tensor

from bench.mtl.data.dense import DensePart, DenseSet, check
from bench.mtl.data.layout import Findings
from bench.mtl.models.segnet_mtan import WIDTHS, SegNetMTAN

from . import losses
from .benchmark import Benchmark, Metric, Parts
from .scores import Depth, Normals, Score, Segmentation

SEGMENTATION = (Metric("mIoU", 0, True), Metric("pixel accuracy", 0, True))
DEPTH = (Metric("absolute error", 1, False), Metric("relative error", 1, False))
NORMAL = (
    Metric("angle mean", 2, False),
    Metric("angle median", 2, False),
    Metric("within 11.25", 2, True),
    Metric("within 22.5", 2, True),
    Metric("within 30", 2, True),
)


class DenseBenchmark(Benchmark):
    """Segmentation, depth and perhaps surface normals with SegNet-MTAN."""

    spec: ClassVar[DenseSet]
    weighs_by = "train"
    reports = "last"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See :class:`Benchmark`."""
        parser.add_argument("--no-augmentation", action="store_true", help="no random crops and flips")
        parser.add_argument("--attention", choices=("shared", "own"), default="shared", help="whose the masks are")
        parser.add_argument("--widths", type=int, nargs=5, default=list(WIDTHS), help="channels of SegNet's stages")

    def check(self, options: argparse.Namespace) -> Findings:
        """See :class:`Benchmark`."""
        return check(self.spec, self.root(options))

    def load(self, options: argparse.Namespace) -> Parts:
        """See :class:`Benchmark`; the validation part is the test part, as in all the papers."""
        root = self.root(options)
        train = DensePart(self.spec, root, "train", augment=not options.no_augmentation)
        return Parts(train, None, DensePart(self.spec, root, "val"))

    def network(self, options: argparse.Namespace) -> SegNetMTAN:
        """See :class:`Benchmark`."""
        outputs = (self.spec.n_classes, 1, 3)[: len(self.tasks)]
        return SegNetMTAN(outputs, unit_length=(2,), attention=options.attention, widths=options.widths)

    def loss(self, task: int, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`Benchmark`."""
        return (losses.segmentation, losses.depth, losses.normal)[task](output, target)

    def scores(self) -> list[Score]:
        """See :class:`Benchmark`."""
        return [Segmentation(self.spec.n_classes), Depth(), Normals()][: len(self.tasks)]

    def scheduler(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
        """Return what halves the learning rate after 100 epochs (PIVRG, sec. 4.2; BiLB4MTL, sec. 5.1)."""
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=100, gamma=0.5)
