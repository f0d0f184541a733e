"""NYUv2 with SegNet-MTAN: segmentation in 13 classes, depth, surface normals.

python -m bench.mtl.nyuv2 --root FOLDER --method PIVRG [--seeds 0 1 2] [--device cuda] [--checkpoint FILE]
"""

from __future__ import annotations

from bench.mtl.data.dense import NYUV2
from bench.mtl.harness.benchmark import Settings
from bench.mtl.harness.cli import main
from bench.mtl.harness.dense import DEPTH, NORMAL, SEGMENTATION, DenseBenchmark


class NYUv2(DenseBenchmark):
    """Settings of PIVRG, sec. 4.2, and BiLB4MTL, sec. 5.1, which follow Nash-MTL.

    200 epochs, Adam 1e-4, halved after 100 epochs; batches of 8 (BiLB4MTL and FORUM; Nash-MTL's code has 2). Random
    crops and flips as in Nash-MTL's code. Reported: the mean of the last 10 epochs on the test part. FORUM and NORMAL
    have other networks (DeepLabV3+), which are not here. Baselines: PIVRG, Table 1.
    """

    name = "nyuv2"
    title = "NYUv2"
    spec = NYUV2
    settings = Settings(epochs=200, batch_size=8, learning_rate=1e-4)
    tasks = ("segmentation", "depth", "normal")
    metrics = (*SEGMENTATION, *DEPTH, *NORMAL)
    printed = (38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15)


if __name__ == "__main__":
    raise SystemExit(main(NYUv2()))
