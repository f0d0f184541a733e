"""Cityscapes with SegNet-MTAN: segmentation in 7 classes, depth.

python -m bench.mtl.cityscapes --root FOLDER --method PIVRG [--seeds 0 1 2] [--device cuda] [--checkpoint FILE]
"""

from __future__ import annotations

from bench.mtl.data.dense import CITYSCAPES
from bench.mtl.harness.benchmark import Settings
from bench.mtl.harness.cli import main
from bench.mtl.harness.dense import DEPTH, SEGMENTATION, DenseBenchmark


class Cityscapes(DenseBenchmark):
    """Settings of PIVRG, sec. 4.2, and BiLB4MTL, sec. 5.1, which follow Nash-MTL.

    200 epochs, batches of 8, Adam 1e-4, halved after 100 epochs (PIVRG; BiLB4MTL starts at 3e-4). Random crops and
    flips as in FAMO's code. Reported: the mean of the last 10 epochs on the test part. The "depth" is a disparity, and
    its relative error no per cent. Baselines: PIVRG, Table 2.
    """

    name = "cityscapes"
    title = "Cityscapes"
    spec = CITYSCAPES
    settings = Settings(epochs=200, batch_size=8, learning_rate=1e-4)
    tasks = ("segmentation", "depth")
    metrics = (*SEGMENTATION, *DEPTH)
    printed = (74.01, 93.16, 0.0125, 27.77)


if __name__ == "__main__":
    raise SystemExit(main(Cityscapes()))
