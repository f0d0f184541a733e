"""Performance-informed weighting on real data: what it does to the variance of the performance drop.

    python -m bench.mtl.digits [--sets labels scales standardised] [--seeds 5] [--epochs 15] [--quick]

Table 5 of PIVRG in small. Three sets from scikit-learn's bundled digits (see ``digits_data.py``): "labels", six
classification tasks in two domains, metric accuracy; "scales", a regression with twelve targets in natural units,
whose squared errors differ by a factor of 10^6, metric mean absolute error; "standardised", the same in units of the
targets' standard deviations. A perceptron as the trunk, a linear head per task, Adam 1e-3, batch 128. Baselines are
the means over the seeds of single-task training with the same network. The weights of the tasks are updated after each
epoch from the validation metrics; the table is of the test part. PI- lowers the variance for a method if the mean over
the seeds of Var[delta_m] is lower; "seeds" says in how many. PIVRG without metrics is FairGrad at alpha = 2, its PI-
variant is PIVRG.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread

one_thread()

import argparse
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import pyasmg.mtl as mtl
from bench.mtl.digits_data import MultiTask, labels, scales, standardised

SETS: dict[str, Callable[[int], MultiTask]] = {"labels": labels, "scales": scales, "standardised": standardised}
WIDTH, BATCH = 64, 128
METHODS: dict[str, Callable[[int, int, int], mtl.Balancer]] = {
    "LS": lambda m, seed, steps: mtl.EW(m),
    "RLW": lambda m, seed, steps: mtl.RLW(m, seed=seed),
    "DWA": lambda m, seed, steps: mtl.DWA(m, steps_per_epoch=steps),
    "UW": lambda m, seed, steps: mtl.UW(m),
    "MGDA": lambda m, seed, steps: mtl.MGDA(m),
    "NashMTL": lambda m, seed, steps: mtl.NashMTL(m, max_norm=1.0),
}
#: Beside Table 5.
OTHERS: dict[str, Callable[[int, int, int], mtl.Balancer]] = {"PIVRG": lambda m, seed, steps: mtl.PIVRG(m)}


class Network(nn.Module):
    """A trunk with a linear head per task."""

    def __init__(self, data: MultiTask, tasks: list[int]) -> None:
        super().__init__()
        n_inputs = data.inputs["train"].shape[1]
        self.trunk = nn.Sequential(nn.Linear(n_inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(WIDTH, data.n_outputs[task]) for task in tasks)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the outputs of each head."""
        features = self.trunk(inputs)
        return [head(features) for head in self.heads]


def loss(outputs: Tensor, target: Tensor, classification: bool) -> Tensor:
    """Cross-entropy, or the mean squared error."""
    if classification:
        return nn.functional.cross_entropy(outputs, target)
    return nn.functional.mse_loss(outputs[:, 0], target)


@torch.no_grad()
def evaluate(network: Network, data: MultiTask, tasks: list[int], part: str) -> list[float]:
    """Return the metric of each task: accuracy, or the mean absolute error."""
    metrics = []
    for outputs, task in zip(network(data.inputs[part]), tasks, strict=True):
        target = data.targets[part][task]
        if data.classification:
            metrics.append(float((outputs.argmax(dim=1) == target).float().mean()))
        else:
            metrics.append(float((outputs[:, 0] - target).abs().mean()))
    return metrics


def train(
    data: MultiTask,
    tasks: list[int],
    make: Callable[[int, int, int], mtl.Balancer],
    seed: int,
    epochs: int,
    performance: mtl.Performance | None = None,
) -> Network:
    """Train one network on some of the tasks."""
    torch.manual_seed(seed)
    network = Network(data, tasks)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    n = len(data.inputs["train"])
    n_steps = n // BATCH
    balancer = make(len(tasks), seed, n_steps)
    informed = None if performance is None else mtl.PerformanceInformed(balancer, performance)
    shared, heads = list(network.trunk.parameters()), [list(head.parameters()) for head in network.heads]
    for _ in range(epochs):
        order = torch.randperm(n)
        for step in range(n_steps):
            rows = order[step * BATCH : (step + 1) * BATCH]
            outputs = network(data.inputs["train"][rows])
            losses = [
                loss(output, data.targets["train"][task][rows], data.classification)
                for output, task in zip(outputs, tasks, strict=True)
            ]
            optimizer.zero_grad()
            balancer.backward(losses, shared=shared, heads=heads)
            optimizer.step()
        if informed is not None:
            informed.update(evaluate(network, data, tasks, "validation"))
    return network


def baselines(name: str, seeds: int, epochs: int) -> dict[str, np.ndarray]:
    """Return the mean metrics of single-task training, per part of the data."""
    found: dict[str, list[list[float]]] = {"validation": [], "test": []}
    for seed in range(seeds):
        data = SETS[name](seed)
        networks = [train(data, [task], lambda m, s, n: mtl.EW(m), seed, epochs) for task in range(len(data.names))]
        for part, rows in found.items():
            rows.append([evaluate(network, data, [task], part)[0] for task, network in enumerate(networks)])
    return {part: np.mean(rows, axis=0) for part, rows in found.items()}


def drops(name: str, method: str, pi: bool, base: dict[str, np.ndarray], seeds: int, epochs: int) -> np.ndarray:
    """Return the performance drops on the test part, shape (seeds, tasks)."""
    make = {**METHODS, **OTHERS}[method]
    rows = []
    for seed in range(seeds):
        data = SETS[name](seed)
        higher = data.classification
        performance = mtl.Performance(base["validation"], higher_is_better=higher) if pi else None
        tasks = list(range(len(data.names)))
        network = train(data, tasks, make, seed, epochs, performance)
        metrics = evaluate(network, data, tasks, "test")
        rows.append(mtl.metrics.performance_drops(metrics, base["test"], higher_is_better=higher))
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Performance-informed weighting on real data.")
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs")
    options = parser.parse_args()
    seeds, epochs = (1, 2) if options.quick else (options.seeds, options.epochs)
    torch.set_num_threads(1)
    print(machine(), f"PyTorch {torch.__version__}")
    columns = ["set", "method", "delta_m", "PI- delta_m", "Var[delta_m]", "PI- Var[delta_m]", "lower", "seeds"]
    table = Table("mtl_digits", columns, title=f"Performance-informed weighting, {seeds} seeds, {epochs} epochs")
    counts = []
    for name in options.sets:
        base = baselines(name, seeds, epochs)
        lower = 0
        for method in (*METHODS, *OTHERS):
            plain, informed = (drops(name, method, pi, base, seeds, epochs) for pi in (False, True))
            variances = [found.var(axis=1) for found in (plain, informed)]
            better = bool(variances[1].mean() < variances[0].mean())
            lower += better and method in METHODS
            table.add(
                name,
                method,
                float(plain.mean()),
                float(informed.mean()),
                *(float(variance.mean()) for variance in variances),
                "yes" if better else "no",
                f"{int((variances[1] < variances[0]).sum())} of {seeds}",
            )
        counts.append(f"{name}: PI- lowers Var[delta_m] for {lower} of {len(METHODS)} methods of Table 5")
    table.show()
    print("\n".join(counts))
    print(f"written: {table.save()}")


if __name__ == "__main__":
    main()
