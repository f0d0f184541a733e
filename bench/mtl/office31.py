"""Office-31 with ResNet-18: 31 classes in three domains.

python -m bench.mtl.office31 --root FOLDER --lists FOLDER --weights resnet18.pth --method CAGrad [--seeds 0 1 2]
"""

from __future__ import annotations

from bench.mtl.data.office import OFFICE_31
from bench.mtl.harness.cli import main
from bench.mtl.harness.office import OfficeBenchmark


class Office31(OfficeBenchmark):
    """Settings of FORUM, sec. 5.2 (thesis, sec. 3.7), and NORMAL, which follow RLW.

    100 epochs, batches of 64 images of each domain, Adam 1e-4 with weight decay 1e-5; images of 224 x 224 standardised
    as ImageNet's, no augmentation; RLW's split. Reported: test accuracies at the epoch of the best mean validation
    accuracy; the papers do not say which. Baselines: FORUM, Table 3.
    """

    name = "office31"
    title = "Office-31"
    spec = OFFICE_31
    printed = (86.61, 95.63, 96.85)


if __name__ == "__main__":
    raise SystemExit(main(Office31()))
