"""What a call of ``backward`` costs, against plain backward passes, TorchJD and LibMTL, paired in one run.

    python -m bench.mtl.cost [--sizes 6k 280k 10M] [--tasks 3 10 40] [--repeats 15] [--methods EW MGDA ...]

PyTorch on the CPU, one thread; a perceptron as the trunk, a linear head per task, mean squared errors, batch 256.
Only the backward side is timed (CPU time), on a fresh graph for each variant, one after the other in each repetition;
a ratio is the median over the repetitions of the variant's time over the baseline's in the same repetition. Baselines:
``sum(losses).backward()`` for loss weighting and for ``features=``, m plain backward passes for gradient methods.
"x TorchJD" is our time over TorchJD's for the same method. Peak memory is what the process gains at most during one
call, in units of one matrix of m x d numbers; the gradient itself is 1 / m of these.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread

one_thread()

import argparse
import gc
import importlib.util
import itertools
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import pyasmg.mtl as mtl

#: Widths of the trunk from the input on; the number of shared parameters.
SIZES = {"6k": (32, 64, 56), "280k": (128, 384, 384, 208), "10M": (1024, 2048, 2048, 1792)}
BATCH = 256
LOSS_METHODS = ("EW", "SI", "RLW", "DWA", "UW", "IMTLL", "FAMO", "GO4Align", "BiLB4MTL", "SmoothChebyshev")
Step = Callable[["Problem"], None]


class Problem:
    """A model, and the losses of a forward pass."""

    def __init__(self, size: str, m: int) -> None:
        torch.manual_seed(0)
        widths = SIZES[size]
        layers: list[nn.Module] = []
        for first, second in itertools.pairwise(widths):
            layers += [nn.Linear(first, second), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(widths[-1], 1) for _ in range(m))
        self.batch = torch.randn(BATCH, widths[0])
        self.targets = [torch.randn(BATCH, 1) for _ in range(m)]
        self.m = m
        self.shared = list(self.trunk.parameters())
        self.own = [list(head.parameters()) for head in self.heads]
        self.n_shared = sum(parameter.numel() for parameter in self.shared)

    def forward(self) -> None:
        """Make a fresh graph, without gradients."""
        for parameter in (*self.shared, *(parameter for head in self.own for parameter in head)):
            parameter.grad = None
        self.features: Tensor = self.trunk(self.batch)
        self.losses: list[Tensor] = [
            (head(self.features) - target).square().mean()
            for head, target in zip(self.heads, self.targets, strict=True)
        ]


def summed(problem: Problem) -> None:
    """Make one plain backward pass."""
    torch.stack(problem.losses).sum().backward()


def separate(problem: Problem) -> None:
    """Make a plain backward pass per task."""
    for i, loss in enumerate(problem.losses):
        loss.backward(retain_graph=i < problem.m - 1)


def ours(balancer: mtl.Balancer, features: bool = False) -> Step:
    """Return a call of ``backward``."""

    def step(problem: Problem) -> None:
        balancer.backward(
            problem.losses,
            shared=problem.shared,
            heads=problem.own,
            features=problem.features if features else None,
        )

    return step


def torchjd_steps(m: int) -> dict[str, tuple[str, Step]]:
    """Return TorchJD's version of methods: name: (name of ours, step)."""
    if importlib.util.find_spec("torchjd") is None:
        print("TorchJD skipped: not installed.")
        return {}
    from torchjd import aggregation, autojac, scalarization

    def gradient(aggregator: aggregation.Aggregator) -> Step:
        def step(problem: Problem) -> None:
            autojac.mtl_backward(
                problem.losses, features=problem.features, tasks_params=problem.own, shared_params=problem.shared
            )
            autojac.jac_to_grad(problem.shared, aggregator)

        return step

    def loss(scalarizer: scalarization.Scalarizer) -> Step:
        return lambda problem: scalarizer(torch.stack(problem.losses)).backward()

    candidates: dict[str, Callable[[], Step]] = {
        "EW": lambda: loss(scalarization.Mean()),
        "RLW": lambda: loss(scalarization.Random()),
        "UW": lambda: loss(scalarization.UW(m)),
        "IMTLL": lambda: loss(scalarization.IMTLL(m)),
        "FAMO": lambda: loss(scalarization.FAMO(m)),
        "MGDA": lambda: gradient(aggregation.MGDA()),
        "FairGrad": lambda: gradient(aggregation.FairGrad(alpha=2.0)),
        "AlignedMTL": lambda: gradient(aggregation.AlignedMTL()),
        "CAGrad": lambda: gradient(aggregation.CAGrad(c=0.4)),
        "IMTLG": lambda: gradient(aggregation.IMTLG()),
        "PCGrad": lambda: gradient(aggregation.PCGrad()),
        "GradVac": lambda: gradient(aggregation.GradVac()),
        "GradDrop": lambda: gradient(aggregation.GradDrop()),
        "UPGrad": lambda: gradient(aggregation.UPGrad()),
        "NashMTL": lambda: gradient(aggregation.NashMTL(n_tasks=m)),
    }
    found = {}
    for name, make in candidates.items():
        try:
            found[f"TorchJD {name}"] = (name, make())
        except ImportError as error:  # noqa: PERF203
            print(f"TorchJD {name} skipped: {error}")
    return found


def measure(problem: Problem, steps: dict[str, Step], repeats: int) -> dict[str, np.ndarray]:
    """Return CPU seconds of each variant in each repetition; NaN for one that fails."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    failed: set[str] = set()
    for repetition in range(repeats + 1):  # the first is a warm-up
        for name, step in steps.items():
            if name in failed:
                continue
            problem.forward()
            gc.disable()
            begin = time.process_time()
            try:
                step(problem)
            except Exception as error:  # a peer may fail in any way; it is named
                if not name.startswith("TorchJD"):
                    raise
                print(f"{name} failed at m = {problem.m}: {type(error).__name__}: {error}")
                failed.add(name)
            seconds = time.process_time() - begin
            gc.enable()
            if repetition:
                times[name].append(seconds)
    return {
        name: np.array(values) if name not in failed else np.full(repeats, np.nan) for name, values in times.items()
    }


def peak_matrices(problem: Problem, step: Step) -> float:
    """Return the extra memory at the peak of one call, in matrices of m x d; NaN where Linux does not tell."""
    problem.forward()
    gc.collect()
    clear = Path("/proc/self/clear_refs")
    try:
        clear.write_text("5")
    except OSError:
        return float("nan")
    before = _status("VmRSS")
    step(problem)
    return (_status("VmHWM") - before) * 1024.0 / (problem.m * problem.n_shared * 4.0)


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return float(line.split()[1])
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description="What a call of backward costs.")
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--tasks", nargs="*", type=int, default=[3, 10, 40])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--methods", nargs="*", default=list(mtl.METHODS), choices=list(mtl.METHODS))
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(machine(), f"PyTorch {torch.__version__}")
    table = Table(
        "mtl_cost",
        ["d", "m", "method", "ms", "x sum", "x m passes", "x TorchJD", "peak, matrices"],
        title="Cost of backward",
    )
    for size in options.sizes:
        for m in options.tasks:
            problem = Problem(size, m)
            steps: dict[str, Step] = {"sum": summed, "m passes": separate}
            for name in options.methods:
                steps[name] = ours(mtl.METHODS[name](m))
                if issubclass(mtl.METHODS[name], mtl.GradientBalancer) and mtl.METHODS[name].supports_features:
                    steps[f"{name}, features"] = ours(mtl.METHODS[name](m), features=True)
            peers = {} if options.no_peers else torchjd_steps(m)
            peers = {key: pair for key, pair in peers.items() if pair[0] in options.methods}
            steps |= {key: step for key, (_, step) in peers.items()}
            times = measure(problem, steps, options.repeats)
            for name, step in steps.items():
                ratios = [float(np.median(times[name] / times[base])) for base in ("sum", "m passes")]
                peer = f"TorchJD {name}"
                against = float(np.median(times[name] / times[peer])) if peer in times else float("nan")
                usable = np.isfinite(times[name]).all()
                peak = peak_matrices(problem, step) if size != "6k" and usable else float("nan")
                table.add(problem.n_shared, m, name, float(np.median(times[name])) * 1e3, *ratios, against, peak)
    table.show()
    print(f"written: {table.save()}")


if __name__ == "__main__":
    main()
