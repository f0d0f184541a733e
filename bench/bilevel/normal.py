"""NORMAL on real data: what its positions say about the tasks, and Table 5.4 in small.

    python -m bench.bilevel.normal [--parts relations ablation] [--seeds 5] [--quick]

"relations": six tasks on pairs of digits (``bench.mtl.digits_data.labels``), and a copy of one of them with a head of
its own. Tasks of the first and of the second image are unrelated: the pairs are drawn at random. Two columns compare
the distance of the two copies' positions with the distance of unrelated tasks, on average and of the copies' nearest;
a plot shows the positions over training (Fig. 5.2).

"ablation": ten classes in three domains, each with images of its own, as in Office-31 (``domains_data``); the rows of
Table 5.4. Reported are test accuracies at the epoch of the best mean validation accuracy. Of the different constant
positions, permutations of 1, 1.25 and 1.5, the best is chosen on the validation part. "+-" is the standard error of
the mean over the seeds, and "NORMAL is better by" is paired by seed.

A perceptron as the trunk, width 64, a linear head per task, Adam 1e-3 (positions 1e-2), batches of 128 or 64 per
domain, equal weights.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread, save_figure

one_thread()

import argparse
import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import pyasmg.mtl as mtl
from bench.bilevel.domains_data import N_CLASSES, NAMES, domains
from bench.mtl.digits_data import labels

WIDTH, BATCH = 64, 128
LEARNING_RATE, POSITION_RATE = 1e-3, 1e-2
FIRST, SECOND = (0, 1, 2, 3), (4, 5)  # tasks of the first and of the second image
POSITIONS = (1.0, 1.25, 1.5)


def trunk(n_inputs: int) -> nn.Sequential:
    """Return the trunk of all networks."""
    return nn.Sequential(nn.Linear(n_inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())


# ---- positions and relations ----


def relations(copied: int, seed: int, epochs: int) -> np.ndarray:
    """Train on the six tasks and a copy of one; return the positions per epoch, shape (epochs + 1, 7)."""
    data = labels(seed)
    tasks = [*FIRST, *SECOND, copied]
    torch.manual_seed(seed)
    heads = [nn.Linear(WIDTH, data.n_outputs[task]) for task in tasks]
    model = mtl.NormalMTL(trunk(data.inputs["train"].shape[1]), heads, width=WIDTH)
    optimizer = torch.optim.Adam(model.parameter_groups(lr=LEARNING_RATE, position_lr=POSITION_RATE))
    balancer = mtl.EW(len(tasks))
    inputs, targets = data.inputs["train"], data.targets["train"]
    history = [model.positions]
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(BATCH):
            outputs = model(inputs[rows])
            optimizer.zero_grad()
            balancer.backward([cross_entropy(out, targets[t][rows]) for out, t in zip(outputs, tasks, strict=True)])
            optimizer.step()
        history.append(model.positions)
    return np.array(history)


def distances(positions: np.ndarray, copied: int) -> tuple[float, float, float]:
    """Return the distance of the copies, the mean one of unrelated tasks, and of the copies to the nearest of these."""
    first, second = [positions[list(side)] for side in (FIRST, SECOND)]
    twin = positions[-1]
    unrelated = second if copied in FIRST else first
    pairs = [positions[copied], twin]
    nearest = min(abs(a - b) for a in pairs for b in unrelated)
    return abs(pairs[0] - pairs[1]), float(np.abs(first[:, None] - second).mean()), float(nearest)


def show_relations(seeds: int, epochs: int) -> None:
    """Print the distances for a copy of each task, and save the plot of the last run of the first task."""
    columns = ["copied task", "copies", "unrelated", "nearest unrelated", "closer than the mean", "than the nearest"]
    title = f"Distances of learned positions, mean of {seeds} seeds, {epochs} epochs"
    table = Table("normal_relations", columns, title=title)
    names = labels(0).names
    for copied, name in enumerate(names):
        found = []
        for seed in range(seeds):
            history = relations(copied, seed, epochs)
            found.append(distances(history[-1], copied))
            if copied == 0 and seed == 0:
                figure = mtl.plot_positions(history, names=[*names, f"{name} (copy)"])
                figure.axes[0].set_xlabel("epoch")
                print(f"written: {save_figure(figure, 'normal_positions')}")
        rows = np.array(found)
        counts = [f"{int((rows[:, 0] < rows[:, i]).sum())} of {seeds}" for i in (1, 2)]
        table.add(name, *rows.mean(axis=0).tolist(), *counts)
    table.show()
    print(f"written: {table.save()}")


# ---- Table 5.4 ----


class HardSharing(nn.Module):
    """The trunk and heads without a block, with more layers for all tasks or for each."""

    def __init__(self, *, shared: bool = False, own: bool = False) -> None:
        super().__init__()
        self.trunk = trunk(64)
        if shared:  # as many parameters as u and g
            self.trunk = nn.Sequential(self.trunk, layers(WIDTH), layers(WIDTH))
        heads = [nn.Linear(WIDTH, N_CLASSES) for _ in NAMES]
        if own:  # together as many
            hidden = round(2 * WIDTH / len(NAMES))
            heads = [nn.Sequential(layers(hidden), head) for head in heads]
        self.heads = nn.ModuleList(heads)

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return the outputs of each domain."""
        return [head(self.trunk(images)) for head, images in zip(self.heads, inputs, strict=True)]


def layers(hidden: int) -> nn.Sequential:
    """Return two layers, as in u and g, behind an activation."""
    return nn.Sequential(nn.Linear(WIDTH, hidden), nn.LeakyReLU(), nn.Linear(hidden, WIDTH), nn.LeakyReLU())


def normal(**options: object) -> Callable[[], nn.Module]:
    """Return what makes a model with NORMAL's block."""

    def make() -> nn.Module:
        heads = [nn.Linear(WIDTH, N_CLASSES) for _ in NAMES]
        return mtl.NormalMTL(trunk(64), heads, width=WIDTH, **options)  # type: ignore[arg-type]

    return make


Makers = list[Callable[[], nn.Module]]
ROWS: dict[str, Makers] = {
    "hard sharing (EW)": [HardSharing],
    "constant and identical positions": [normal(learn_positions=False)],
    "constant but different positions": [
        normal(learn_positions=False, positions=chosen) for chosen in itertools.permutations(POSITIONS)
    ],
    "positions exp(v)": [normal(form="exp")],
    "first-order flow": [normal(order=1)],
    "more task-shared layers": [lambda: HardSharing(shared=True)],
    "more task-specific layers": [lambda: HardSharing(own=True)],
    "NORMAL, adjoint": [normal(adjoint=True)],
    "NORMAL": [normal()],
}


def accuracies(model: nn.Module, inputs: list[Tensor], targets: list[Tensor]) -> np.ndarray:
    """Return the accuracy in each domain, in percent."""
    with torch.no_grad():
        outputs = model(list(inputs))
    found = [(out.argmax(dim=1) == target).double().mean() for out, target in zip(outputs, targets, strict=True)]
    return 100.0 * np.array([float(one) for one in found])


def train(make: Callable[[], nn.Module], seed: int, epochs: int) -> tuple[float, np.ndarray, int]:
    """Return the best mean validation accuracy, the test accuracies there, and the number of parameters."""
    data = domains(seed)
    torch.manual_seed(seed)
    model = make()
    if isinstance(model, mtl.NormalMTL):
        groups = model.parameter_groups(lr=LEARNING_RATE, position_lr=POSITION_RATE)
    else:
        groups = [{"params": list(model.parameters()), "lr": LEARNING_RATE}]
    optimizer = torch.optim.Adam(groups)
    balancer = mtl.EW(len(NAMES))
    inputs, targets = data.inputs["train"], data.targets["train"]
    n = min(map(len, inputs))
    best = (-1.0, np.zeros(len(NAMES)))
    for _ in range(epochs):
        orders = [torch.randperm(len(images)) for images in inputs]
        for start in range(0, n - n % 64, 64):
            rows = [order[start : start + 64] for order in orders]
            outputs = model([images[chosen] for images, chosen in zip(inputs, rows, strict=True)])
            optimizer.zero_grad()
            balancer.backward(
                [cross_entropy(out, target[chosen]) for out, target, chosen in zip(outputs, targets, rows, strict=True)]
            )
            optimizer.step()
        validation = accuracies(model, data.inputs["validation"], data.targets["validation"]).mean()
        if validation > best[0]:
            best = (validation, accuracies(model, data.inputs["test"], data.targets["test"]))
    return (*best, sum(parameter.numel() for parameter in model.parameters()))


def show_ablation(seeds: int, epochs: int) -> None:
    """Print the rows of Table 5.4."""
    columns = ["model", "parameters", *NAMES, "mean", "+-", "NORMAL is better by", "+-"]
    table = Table("normal_ablation", columns, title=f"Test accuracy in %, {seeds} seeds, {epochs} epochs")
    found: dict[str, np.ndarray] = {}
    sizes: dict[str, int] = {}
    for name, makers in ROWS.items():
        rows = []
        for seed in range(seeds):
            runs = [train(make, seed, epochs) for make in makers]
            _, test, sizes[name] = max(runs, key=lambda run: run[0])
            rows.append(test)
        found[name] = np.array(rows)
        print(f"{name}: {found[name].mean():.2f}", flush=True)
    for name, rows_of in found.items():
        means = rows_of.mean(axis=1)
        gains = found["NORMAL"].mean(axis=1) - means
        errors = [float(values.std(ddof=1) / np.sqrt(seeds)) if seeds > 1 else 0.0 for values in (means, gains)]
        table.add(
            name,
            sizes[name],
            *rows_of.mean(axis=0).tolist(),
            float(means.mean()),
            errors[0],
            float(gains.mean()),
            errors[1],
        )
    table.show()
    print(f"written: {table.save()}")


def main() -> None:
    parser = argparse.ArgumentParser(description="NORMAL on real data.")
    parser.add_argument("--parts", nargs="*", default=["relations", "ablation"], choices=["relations", "ablation"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="40 for the relations, 120 for the ablation")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs")
    options = parser.parse_args()
    seeds, epochs = (1, 2) if options.quick else (options.seeds, options.epochs)
    if seeds < 1 or (epochs is not None and epochs < 1):
        parser.error(f"--seeds and --epochs must be at least 1; got {seeds} and {epochs}.")
    torch.set_num_threads(1)
    print(machine(), f"PyTorch {torch.__version__}")
    if "relations" in options.parts:
        show_relations(seeds, epochs or 40)
    if "ablation" in options.parts:
        show_ablation(seeds, epochs or 120)


if __name__ == "__main__":
    main()
