"""What a call of ``backward`` costs, against plain backward passes, TorchJD and LibMTL, paired in one run.

    python -m bench.mtl.cost [--sizes 6k 280k 10M] [--tasks 3 10 40] [--batch 256] [--methods EW MGDA ...]
                                [--mixed] [--peak]

PyTorch on the CPU, one thread; a perceptron as the trunk, a linear head per task, mean squared errors. What a
method adds does not depend on the batch, what it is compared with does: ``--batch``, 256 by default.
Only the backward side is timed (CPU time), on a fresh graph with ``.grad`` None, all variants in each repetition, in
another order each time; a ratio is the median over the repetitions of the variant's time over the baseline's in the
same repetition. Each timed step follows some of the same variant that are not timed, as in a training loop: four for
the smallest model, whose steps take half a millisecond, one for the others. With ``--mixed`` it follows one of another
variant, such as a peer's, so that only what both share is in the caches, and freed memory lies as the other left it:
0.03 ms more for what runs more code than a plain pass.
Baselines: ``torch.stack(losses).sum().backward()`` for loss weighting and for ``features=``; for gradient methods
``loss.backward()`` for each of the m losses, which accumulate into one ``.grad``: no gradient per task is kept. They
check nothing; ours check losses and parameters, and that is part of the time.
"x TorchJD" and "x LibMTL" are our time over theirs for the same method. Their loss weighting gets the losses and
nothing else, and so do our rows "losses alone"; our other rows are told the parameters too, and check them.
Peak memory (``--peak``) is what a new process gains in its first call, in units of one matrix of m x d numbers;
the gradient itself is 1 / m of these.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread

one_thread()

import argparse
import gc
import itertools
import signal
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import pyasmg.mtl as mtl
from bench.mtl.cost_peers import Step, libmtl_steps, torchjd_steps

#: Widths of the trunk from the input on; the number of shared parameters.
SIZES = {"6k": (32, 64, 56), "280k": (128, 384, 384, 208), "10M": (1024, 2048, 2048, 1792)}
#: Steps that are not timed before one that is.
UNTIMED = {"6k": 4, "280k": 1, "10M": 1}
PEERS: dict[str, Callable[[int], dict[str, Step]]] = {"TorchJD": torchjd_steps, "LibMTL": libmtl_steps}


class Problem:
    """A model, and the losses of a forward pass."""

    def __init__(self, size: str, m: int, batch: int) -> None:
        torch.manual_seed(0)
        widths = SIZES[size]
        layers: list[nn.Module] = []
        for first, second in itertools.pairwise(widths):
            layers += [nn.Linear(first, second), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(widths[-1], 1) for _ in range(m))
        self.batch = torch.randn(batch, widths[0])
        self.targets = [torch.randn(batch, 1) for _ in range(m)]
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


def ours_alone(balancer: mtl.LossBalancer) -> Step:
    """Return a call of ``backward`` with the losses and nothing else."""
    return lambda problem: balancer.backward(problem.losses)


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


def measure(problem: Problem, steps: dict[str, Step], repeats: int, untimed: int) -> dict[str, np.ndarray]:
    """Return CPU seconds of each variant in each repetition; NaN for one that fails."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    failed: set[str] = set()
    random = np.random.default_rng(0)
    for repetition in range(repeats + 1):  # the first is a warm-up
        for name in random.permutation(list(steps)).tolist():  # what ran before leaves the caches as it likes
            step = steps[name]
            if name in failed:
                continue
            gc.disable()
            signal.alarm(60)  # LibMTL's MGDA does not stop on some inputs
            try:
                for _ in range(untimed + 1):
                    seconds = _seconds(problem, step)
            except Exception as error:  # a peer may fail in any way; it is named
                if name.split()[0] not in PEERS:
                    raise
                print(f"{name} failed at m = {problem.m}: {type(error).__name__}: {error}")
                failed.add(name)
            signal.alarm(0)
            gc.enable()
            if repetition and name not in failed:
                times[name].append(seconds)
    return {
        name: np.array(values) if name not in failed else np.full(repeats, np.nan) for name, values in times.items()
    }


def _seconds(problem: Problem, step: Step) -> float:
    problem.forward()
    begin = time.process_time()
    step(problem)
    return time.process_time() - begin


def peak_matrices(problem: Problem, step: Step) -> float:
    """Return the extra memory at the peak of the first call, in matrices of m x d; NaN where Linux does not tell."""
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


def peak_in_a_new_process(size: str, m: int, batch: int, name: str) -> float:
    """Return :func:`peak_matrices` where nothing is warm: no memory that an earlier call has left can be used again."""
    options = ["--sizes", size, "--tasks", str(m), "--batch", str(batch), "--peak-of", name]
    command = [sys.executable, "-m", "bench.mtl.cost", *options]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(answer.stdout.splitlines()[-1]) if answer.returncode == 0 else float("nan")


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return float(line.split()[1])
    return float("nan")


def all_steps(m: int, methods: list[str], peers: bool) -> dict[str, Step]:
    """Return the baselines, our methods on parameters and on the representation, and those of the peers, by name."""
    steps: dict[str, Step] = {"sum": summed, "m passes": separate}
    for name in methods:
        method = mtl.METHODS[name]
        steps[name] = ours(method(m))
        if issubclass(method, mtl.GradientBalancer) and method.supports_features:
            steps[f"{name}, features"] = ours(method(m), features=True)
        if issubclass(method, mtl.LossBalancer):
            steps[f"{name}, losses alone"] = ours_alone(method(m))
    for peer, make in PEERS.items() if peers else ():
        steps |= {f"{peer} {name}": step for name, step in make(m).items() if name in methods}
    return steps


def _alarm(_signal: int, _frame: types.FrameType | None) -> None:
    raise TimeoutError("did not stop within a minute")


def main() -> None:
    parser = argparse.ArgumentParser(description="What a call of backward costs.")
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--tasks", nargs="*", type=int, default=[3, 10, 40])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--methods", nargs="*", default=list(mtl.METHODS), choices=list(mtl.METHODS))
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--mixed", action="store_true", help="time each step after one of another variant")
    parser.add_argument("--peak", action="store_true", help="measure memory too, a process for each row")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGALRM, _alarm)
    warnings.simplefilter("ignore")
    print(machine(), f"PyTorch {torch.__version__}")
    table = Table(
        f"mtl_cost_{options.batch}" + ("_mixed" if options.mixed else ""),
        ["d", "m", "method", "ms", "x sum", "x m passes", *(f"x {peer}" for peer in PEERS), "peak, matrices"],
        title=f"Cost of backward, batch {options.batch}",
    )
    for size in options.sizes:
        for m in options.tasks:
            problem = Problem(size, m, options.batch)
            steps = all_steps(m, options.methods, peers=not options.no_peers)
            if options.peak_of is not None:
                print(peak_matrices(problem, steps[options.peak_of]))
                return
            times = measure(problem, steps, options.repeats, 0 if options.mixed else UNTIMED[size])
            for name in steps:
                method = name.removesuffix(", losses alone")
                ratios = [float(np.median(times[name] / times[base])) for base in ("sum", "m passes")]
                against = [
                    float(np.median(times[name] / times[f"{peer} {method}"])) if f"{peer} {method}" in times else np.nan
                    for peer in PEERS
                ]
                usable = np.isfinite(times[name]).all()
                peak = float("nan")
                if options.peak and usable:
                    peak = peak_in_a_new_process(size, m, options.batch, name)
                table.add(problem.n_shared, m, name, float(np.median(times[name])) * 1e3, *ratios, *against, peak)
    table.show()
    print(f"written: {table.save()}")


if __name__ == "__main__":
    main()
