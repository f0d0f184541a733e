"""Office-Home with ResNet-18: 65 classes in four domains.

python -m bench.mtl.office_home --root FOLDER --lists FOLDER --weights resnet18.pth --method CAGrad [--seeds 0 1 2]
"""

from __future__ import annotations

from bench.mtl.data.office import OFFICE_HOME
from bench.mtl.harness.cli import main
from bench.mtl.harness.office import OfficeBenchmark


class OfficeHome(OfficeBenchmark):
    """Settings of NORMAL (thesis, sec. 5.5), as Office-31: ResNet-18, a linear head per domain.

    The thesis prints no optimizer, epochs or batch size for it: they are those of Office-31. It prints no single-task
    results either: delta_m needs --baselines.
    """

    name = "office_home"
    title = "Office-Home"
    spec = OFFICE_HOME


if __name__ == "__main__":
    raise SystemExit(main(OfficeHome()))
