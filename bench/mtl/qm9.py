"""QM9 with a message-passing network: 11 properties of molecules.

python -m bench.mtl.qm9 --root FOLDER --method PIVRG [--seeds 0 1 2] [--device cuda] [--checkpoint FILE]
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor
from torch.nn import functional

from bench.mtl.data import qm9
from bench.mtl.data.layout import Findings
from bench.mtl.harness.benchmark import Benchmark, Metric, Parts, Settings
from bench.mtl.harness.cli import main
from bench.mtl.harness.scores import AbsoluteError, Score
from bench.mtl.models.mpnn import MPNN


class QM9(Benchmark):
    """Settings of BiLB4MTL, sec. 5.1, and PIVRG, sec. 4.2, which follow Nash-MTL.

    300 epochs, batches of 120, Adam 1e-3; the rate is multiplied by 0.7 (Nash-MTL's code) when delta_m on the
    validation part stagnates for 5 epochs, down to 1e-5. 10,000 molecules each are held out for test and validation;
    the split is the same for all seeds. Targets are standardised by the training part alone. Metric: mean absolute
    error in natural units, meV for energies. Reported: the test part at the epoch of the best validation delta_m.
    Baselines: PIVRG, Table 3, with the digits of Nash-MTL's code. FORUM has batches of 128.
    """

    name = "qm9"
    title = "QM9"
    settings = Settings(epochs=300, batch_size=120, learning_rate=1e-3)
    tasks = qm9.NAMES
    metrics = tuple(Metric(f"MAE {name}", task, False) for task, name in enumerate(qm9.NAMES))
    printed = (0.0671, 0.1814, 60.576, 53.915, 0.5027, 4.539, 58.838, 64.244, 63.852, 66.223, 0.07212)
    _factors: list[float]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See :class:`Benchmark`."""
        parser.add_argument("--held-out", type=int, default=qm9.HELD_OUT, help="molecules for test, and validation")
        parser.add_argument("--split-seed", type=int, default=0)
        parser.add_argument("--width", type=int, default=MPNN.WIDTH, help="of the network")

    def check(self, options: argparse.Namespace) -> Findings:
        """See :class:`Benchmark`."""
        return qm9.check(self.root(options))

    def load(self, options: argparse.Namespace) -> Parts:
        """See :class:`Benchmark`."""
        molecules, findings = qm9.load(self.root(options))
        for note in findings.notes:
            print(f"note: {note}")
        split = qm9.split(molecules, options.held_out, options.split_seed)
        milli = [1000.0 if name in qm9.MILLI else 1.0 for name in qm9.NAMES]
        self._factors = (split.std * torch.tensor(milli)).tolist()
        return Parts(*(qm9.MoleculePart(molecules, split, part) for part in ("train", "validation", "test")))

    def network(self, options: argparse.Namespace) -> MPNN:
        """See :class:`Benchmark`."""
        return MPNN(len(self.tasks), options.width)

    def loss(self, task: int, output: Tensor, target: Tensor) -> Tensor:
        """See :class:`Benchmark`."""
        return functional.mse_loss(output, target)

    def scores(self) -> list[Score]:
        """See :class:`Benchmark`."""
        return [AbsoluteError(factor) for factor in self._factors]

    def scheduler(self, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.ReduceLROnPlateau:
        """Return what lowers the rate; with an absolute threshold, as delta_m may be negative."""
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, mode="min", factor=0.7, patience=5, threshold_mode="abs", min_lr=1e-5
        )


if __name__ == "__main__":
    raise SystemExit(main(QM9()))
