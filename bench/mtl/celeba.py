"""CelebA with a 9-layer CNN: 40 binary attributes.

python -m bench.mtl.celeba --root FOLDER --method FAMO [--seeds 0 1 2] [--device cuda] [--checkpoint FILE]
"""

from __future__ import annotations

import argparse

from torch import Tensor
from torch.nn import functional

from bench.mtl.data.celeba import CelebAPart, check, place, read_attributes
from bench.mtl.data.layout import Findings
from bench.mtl.harness.benchmark import Benchmark, Metric, Parts, Settings
from bench.mtl.harness.cli import main
from bench.mtl.harness.scores import F1, Score
from bench.mtl.models.cnn9 import CNN9

# fmt: off
ATTRIBUTES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache",
    "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks",
    "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick",
    "Wearing_Necklace", "Wearing_Necktie", "Young",
)
# fmt: on


class CelebA(Benchmark):
    """Settings of PIVRG, sec. 4.2, and BiLB4MTL, sec. 5.1, which follow FAMO.

    15 epochs, batches of 256, Adam 3e-4, binary cross-entropy (from logits; FAMO's code goes through a sigmoid).
    delta_m is of the F1 of each attribute, as in FAMO's code; the accuracies that the thesis reports stand beside
    them. Reported: the test part at the epoch of the best mean F1 on the validation part. The papers do not print the
    single-task results: delta_m needs --baselines.
    """

    name = "celeba"
    title = "CelebA"
    settings = Settings(epochs=15, batch_size=256, learning_rate=3e-4)
    tasks = tuple(ATTRIBUTES)
    metrics = tuple(
        metric
        for task, name in enumerate(ATTRIBUTES)
        for metric in (Metric(f"F1 {name}", task, True), Metric(f"accuracy {name}", task, True, counts=False))
    )

    def check(self, options: argparse.Namespace) -> Findings:
        """See :class:`Benchmark`."""
        root = self.root(options)
        findings = check(root)
        if not findings.problems:
            names = read_attributes(place(root, "list_attr_celeba.txt"))[0]
            other = [name for name, expected in zip(names, ATTRIBUTES, strict=True) if name != expected]
            if other:
                findings.problem(f"list_attr_celeba.txt has other attributes, or another order: {other[0]} ..")
        return findings

    def load(self, options: argparse.Namespace) -> Parts:
        """See :class:`Benchmark`."""
        root = self.root(options)
        return Parts(*(CelebAPart(root, part) for part in ("train", "validation", "test")))

    def network(self, options: argparse.Namespace) -> CNN9:
        """See :class:`Benchmark`."""
        return CNN9(len(self.tasks))

    def loss(self, task: int, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`Benchmark`."""
        return functional.binary_cross_entropy_with_logits(output, target)

    def scores(self) -> list[Score]:
        """See :class:`Benchmark`."""
        return [F1() for _ in self.tasks]


if __name__ == "__main__":
    raise SystemExit(main(CelebA()))
