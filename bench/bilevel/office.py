"""Office-31 and Office-Home with ResNet-18: learned task weights, and NORMAL.

    python -m bench.bilevel.office office31 --root FOLDER --lists FOLDER --weights resnet18.pth --method FORUM
    python -m bench.bilevel.office office_home normal --root FOLDER --lists FOLDER --weights resnet18.pth [--method EW]

The first form is Table 3.3 (problem (3.2), methods of ``pyasmg.mtl.bilevel``); the second Tables 5.1 and 5.4 (the
block with any balancer of ``pyasmg.mtl``). Data, splits, checkpoints and tables are those of ``bench.mtl``; ``--help``
behind the names says more. The rows of other methods: ``python -m bench.mtl.office31 --method ...``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

import pyasmg.mtl as mtl
from bench.mtl.data.batches import Part, to_device
from bench.mtl.harness import methods
from bench.mtl.harness.benchmark import Benchmark
from bench.mtl.harness.cli import main as run_benchmark
from bench.mtl.harness.office import OfficeBenchmark
from bench.mtl.harness.run import Row, Run
from bench.mtl.models.resnet18 import OfficeNetwork, ResNet18
from bench.mtl.office31 import Office31
from bench.mtl.office_home import OfficeHome
from pyasmg.mtl import bilevel

#: Settings of sec. 3.7.2; it searches rho of BOME in {0.1, 0.5, 0.9}, and the barrier of BVFIM in {0.05, 0.1, 0.5, 1}.
METHODS: dict[str, dict[str, Any]] = {
    "FORUM": {"lower_steps": 5, "rho": 0.1},
    "MOML": {"lower_steps": 1},
    "MoCo": {"lower_steps": 1},
    "BOME": {"lower_steps": 5},
    "BVFIM": {"lower_steps": 5},
}
TURNS = 1_000_000  # more than an epoch goes through the data


class Stream:
    """Batches of one level in one epoch, in a new order each time they are gone through."""

    def __init__(self, part: Part, size: int, order: tuple[int, int], workers: int, device: torch.device) -> None:
        self.part, self.size, self.order, self.workers, self.device = part, size, order, workers, device
        self.turn = 0

    def __iter__(self) -> Iterator[Any]:
        seed, first = self.order
        order = (seed, first * TURNS + self.turn)
        self.turn += 1
        for batch in self.part.batches(self.size, order=order, workers=self.workers):
            yield to_device(batch, self.device)


class BilevelRun(Run):
    """Training by a bilevel method; an epoch has as many iterations as the training part has batches.

    Rows of the training part have the mean objectives as losses.
    """

    default = "FORUM"

    @classmethod
    def choices(cls) -> list[str]:
        """See :class:`Run`."""
        return list(METHODS)

    @classmethod
    def check_method(cls, benchmark: Benchmark, options: argparse.Namespace) -> None:
        """See :class:`Run`."""
        if options.features or options.pi:
            raise ValueError("--features and --pi belong to balancers; a bilevel method has neither.")
        if options.upper_batch_size is None:
            options.upper_batch_size = options.batch_size
        model = torch.nn.Linear(1, 1)  # refuses options that the method does not have
        cls._method(mtl.bilevel.TaskWeights(model, lambda forward, batch: [], len(benchmark.tasks)), model, options)

    def _set_up(self) -> None:
        self.balancer, self.informed = None, None  # type: ignore[assignment]
        benchmark = self.benchmark

        def losses(forward: Any, batch: Any) -> list[Tensor]:
            outputs = forward(batch[0])
            return [benchmark.loss(task, output, batch[1][task]) for task, output in enumerate(outputs)]

        self.problem = bilevel.TaskWeights(self.network, losses, len(self.tasks))
        self.method = self._method(self.problem, self.network, self.options)
        self.optimizer = self.method.omega_optimizer  # type: ignore[assignment]

    @staticmethod
    def _method(problem: Any, network: torch.nn.Module, options: argparse.Namespace) -> bilevel.BilevelMethod:
        optimizer = torch.optim.Adam(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        given = {**METHODS[options.method], "lower_learning_rate": 0.1, **methods.parse_options(options.option)}
        kind = bilevel.METHODS[options.method]
        return problem.method(kind, weights_lr=options.alpha_learning_rate, omega_optimizer=optimizer, **given)

    def _train(self) -> tuple[dict[str, float], dict[str, float]]:
        self.network.train()
        options, train = self.options, self.parts.train
        upper = self.parts.validation if options.upper == "validation" else train
        streams = [
            Stream(part, size, (self.seed, 2 * self.epoch + i), options.workers, self.device)
            for i, (part, size) in enumerate(((upper, options.upper_batch_size), (train, options.batch_size)))
        ]
        batches = bilevel.Batches(upper=streams[0], lower=streams[1])
        n_steps = max(len(train) // options.batch_size, 1)
        values = [self.method.step(batches).upper for _ in range(n_steps)]
        names = [f"loss {task}" for task in self.benchmark.tasks]
        weights = {
            f"weight {task}": w for task, w in zip(self.benchmark.tasks, self.problem.weights.tolist(), strict=True)
        }
        return {**dict(zip(names, np.mean(values, axis=0).tolist(), strict=True)), **weights}, {}

    def reported(self) -> Row:
        """See :class:`Run`; where validation data train the model, no epoch is chosen by them."""
        if self.options.upper == "validation":
            self.best = None
        return super().reported()

    def _state(self) -> dict[str, Any]:
        return {"method": self.method.state_dict()}

    def _restore(self, state: dict[str, Any]) -> None:
        self.method.load_state_dict(state["method"])


class WithTaskWeights(OfficeBenchmark):
    """The objectives are the domains' losses on the validation part, the lower level is the weighted training loss.

    Settings of the thesis, sec. 3.7.2: 100 epochs, batches of 64 images of each domain, Adam 1e-4 with weight decay
    1e-5 on the network, Adam 1e-3 on the softmax of the task weights, lower steps with rate 0.1 (--option
    lower_learning_rate=0.1), T = 5 for FORUM, BOME and BVFIM and 1 for MOML and MoCo, rho = 0.1 for FORUM. Reported
    are test accuracies, the mean of the last ten epochs: the validation part trains the network, so that no epoch can
    be chosen by it (with --upper train the best epoch on the validation part is).
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See :class:`Benchmark`."""
        super().add_arguments(parser)
        add = parser.add_argument
        add("--upper", choices=["validation", "train"], default="validation", help="the data of the upper level")
        add("--upper-batch-size", type=int, help="as --batch-size by default")
        add("--alpha-learning-rate", type=float, default=1e-3, help="default: %(default)s")


class NormalNetwork(OfficeNetwork):
    """ResNet-18, NORMAL's block, and a linear head per domain (thesis, sec. 5.5.1)."""

    def __init__(self, n_tasks: int, n_classes: int, *, hidden_layer: bool, **options: Any) -> None:
        super().__init__(n_tasks, n_classes, hidden_layer=hidden_layer)
        self.block = mtl.NormalBlock(n_tasks, ResNet18.WIDTH, **options)

    def features(self, inputs: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return z(p_i) for each domain's images."""
        return self.block(super().features(inputs))

    def head_parameters(self) -> list[list[torch.nn.Parameter]]:
        """Return the parameters of each task's own, its position among them."""
        own = super().head_parameters()
        return [[*head, position] for head, position in zip(own, self.block.coordinates, strict=True)]


VARIANTS: dict[str, dict[str, Any]] = {
    "normal": {},
    "fixed": {"learn_positions": False},
    "exp": {"form": "exp"},
    "first-order": {"order": 1},
}


class WithNormal(OfficeBenchmark):
    """NORMAL's block behind ResNet-18, with Euler's method and layers of width 512.

    Settings of the thesis, sec. 5.5.1; the optimizer, epochs and batches it does not print are those of sec. 3.7.2.
    Reported are test accuracies at the epoch of the best mean validation accuracy. Rows of Table 5.4: --variant, with
    --positions 1 or 1 1.25 1.5 for "fixed".
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """See :class:`Benchmark`."""
        super().add_arguments(parser)
        add = parser.add_argument
        add("--variant", choices=list(VARIANTS), default="normal", help="of Table 5.4")
        add("--positions", type=float, nargs="+", default=[1.0], help="at the start: one, or one for each domain")
        add("--solver", default="euler", help="of torchdiffeq; default: %(default)s")
        add("--solver-steps", type=int, default=4, help="of a solver with a fixed step; default: %(default)s")
        add("--xi", type=float, default=0.1, help="default: %(default)s")
        add("--adjoint", action="store_true", help="solve the adjoint equation, as the thesis does")

    def network(self, options: argparse.Namespace) -> NormalNetwork:
        """See :class:`Benchmark`."""
        positions = options.positions
        network = NormalNetwork(
            len(self.tasks),
            self.spec.n_classes,
            hidden_layer=options.hidden_layer,
            positions=positions[0] if len(positions) == 1 else positions,
            method=options.solver,
            n_steps=options.solver_steps,
            xi=options.xi,
            adjoint=options.adjoint,
            **VARIANTS[options.variant],
        )
        self.load_weights(network, options)
        return network


SETS: dict[tuple[str, str], type[OfficeBenchmark]] = {
    (benchmark.name, model): type(
        f"{benchmark.__name__}{mixin.__name__}",
        (mixin, benchmark),
        {"name": f"{benchmark.name}_{model}", "command": f"bench.bilevel.office {benchmark.name} {model}"},
    )
    for benchmark in (Office31, OfficeHome)
    for model, mixin in (("bilevel", WithTaskWeights), ("normal", WithNormal))
}


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    model = given.pop(1) if len(given) > 1 and given[1] in ("bilevel", "normal") else "bilevel"
    name = given.pop(0) if given else ""
    if (name, model) not in SETS:
        print(__doc__, file=sys.stderr)
        print(f"the first argument must be office31 or office_home; got {name!r}.", file=sys.stderr)
        return 2
    return run_benchmark(SETS[name, model](), given, run_type=BilevelRun if model == "bilevel" else Run)


if __name__ == "__main__":
    raise SystemExit(main())
