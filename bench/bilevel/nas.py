"""Architecture search for accuracy, robustness and size, Eqs. (3.35)-(3.37): a small DARTS cell on digits.

    python -m bench.bilevel.nas [--methods ...] [--seeds 3] [--steps 200] [--size 2000] [--quick]

The cell has an input, three nodes, and an operation on each of its six edges, out of: a way past, average pooling, a
1 x 1 and a 3 x 3 convolution. alpha is a number per edge and operation; omega the weights of all operations.
The lower level is the loss on the training part, with the operations of an edge mixed by the softmax of alpha; the
objectives are the loss on the validation part, the loss on it perturbed by projected gradient steps, and the distance
of the expected number of parameters from the size that is asked for. That distance is divided by the size, so that all
three are of order one; the thesis prints it in parameters.

Then the likeliest operation of each edge is kept and the network trained anew on both parts. Reported: its number of
parameters in the cell, and its test accuracy, also on perturbed images. "DARTS" has the first objective only (MOML with
one objective); "random" draws the operations. All 1 x 1 convolutions have 72 parameters, all 3 x 3 have 584.
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
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from bench.bilevel.attacks import perturb
from pyasmg.mtl import bilevel

CHANNELS, NODES, BATCH, RADIUS = 8, 3, 64, 0.1
EDGES = [(i, j) for j in range(1, NODES + 1) for i in range(j)]
OPERATIONS: dict[str, Callable[[], nn.Module]] = {
    "skip": nn.Identity,
    "pool": lambda: nn.AvgPool2d(3, stride=1, padding=1),
    "conv 1": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 1)),
    "conv 3": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)),
}
SIZES = torch.tensor([sum(parameter.numel() for parameter in make().parameters()) for make in OPERATIONS.values()])


class Cell(nn.Module):
    """A stem, the cell, and a classifier; of each edge all operations, or the chosen one.

    Parameters
    ----------
    chosen : list of int, optional
        The operation of each edge.
    """

    def __init__(self, chosen: list[int] | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1)
        makers = list(OPERATIONS.values())
        kept = [makers if chosen is None else [makers[chosen[edge]]] for edge in range(len(EDGES))]
        self.edges = nn.ModuleList(nn.ModuleList(make() for make in found) for found in kept)
        self.classifier = nn.Linear(CHANNELS * NODES, 10)

    def forward(self, alpha: Tensor | None, images: Tensor) -> Tensor:
        """Return the outputs; operations are weighted by softmax(alpha) of shape (edges, operations), if given."""
        nodes = [self.stem(images)]
        shares = None if alpha is None else torch.softmax(alpha, dim=1)
        for j in range(1, NODES + 1):
            total = torch.zeros_like(nodes[0])
            for edge, (i, to) in enumerate(EDGES):
                if to == j:
                    total = total + self._edge(edge, shares, nodes[i])
            nodes.append(total)
        return self.classifier(torch.cat([node.mean(dim=(2, 3)) for node in nodes[1:]], dim=1))

    def _edge(self, edge: int, shares: Tensor | None, z: Tensor) -> Tensor:
        outputs = [operation(z) for operation in self.edges[edge]]
        if shares is None:
            return outputs[0]
        return sum(share * out for share, out in zip(shares[edge], outputs, strict=True))


class Search(bilevel.BilevelProblem):
    """Problem (3.35); batches are (images, digits).

    Parameters
    ----------
    size : float
        L, parameters in the cell.
    objectives : tuple of {"accuracy", "robustness", "size"}
        Which.
    """

    def __init__(self, size: float, objectives: tuple[str, ...]) -> None:
        super().__init__()
        self.size, self.objectives = size, objectives
        self.network = Cell()
        self.alpha = torch.zeros(len(EDGES), len(OPERATIONS)).requires_grad_()

    def lower(self, alpha: Tensor, omega: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the training loss."""
        return cross_entropy(functional_call(self.network, omega, (alpha, batch[0])), batch[1])

    def upper(self, alpha: Tensor, omega: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Return the objectives."""
        images, digits = batch
        found = []
        if "accuracy" in self.objectives:
            found.append(self.lower(alpha, omega, batch))
        if "robustness" in self.objectives:
            fixed = (alpha.detach(), {name: value.detach() for name, value in omega.items()})
            attacked = perturb(lambda moved: self.lower(*fixed, (moved, digits)), images, radius=RADIUS, n_steps=3)
            found.append(self.lower(alpha, omega, (attacked, digits)))
        if "size" in self.objectives:
            found.append((expected_size(alpha) - self.size).abs() / self.size)  # (3.37)
        return found


def expected_size(alpha: Tensor) -> Tensor:
    """Return the expected number of parameters in the cell (3.36)."""
    return (torch.softmax(alpha, dim=1) @ SIZES.to(alpha)).sum()


def digits(seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return images in [0, 1] of shape (n, 1, 8, 8) and digits: 30 % training, 30 % validation, 40 % test."""
    from sklearn.datasets import load_digits

    images, numbers = load_digits(return_X_y=True)
    order = np.random.default_rng([seed, 4]).permutation(len(images))
    parts = np.split(order, [int(0.3 * len(order)), int(0.6 * len(order))])
    scaled, numbers = torch.from_numpy(images / 16.0).float().reshape(-1, 1, 8, 8), torch.from_numpy(numbers).long()
    return {
        name: (scaled[rows], numbers[rows]) for name, rows in zip(("train", "validation", "test"), parts, strict=True)
    }


class Shuffled:
    """Mini-batches in a new order each time they are gone through."""

    def __init__(self, part: tuple[Tensor, Tensor], seed: int) -> None:
        self.part, self.rng = part, torch.Generator().manual_seed(seed)

    def __iter__(self):
        images, numbers = self.part
        for rows in torch.randperm(len(images), generator=self.rng).split(BATCH):
            yield images[rows], numbers[rows]


ALL = ("accuracy", "robustness", "size")
METHODS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "random": (None, ()),
    "DARTS": ("MOML", ("accuracy",)),
    "MOML": ("MOML", ALL),
    "MoCo": ("MoCo", ALL),
    "FORUM": ("FORUM", ALL),
}


def search(method: str, seed: int, steps: int, size: float) -> tuple[list[int], float]:
    """Return the chosen operations, and the expected size at the end."""
    kind, objectives = METHODS[method]
    if kind is None:
        rng = np.random.default_rng([seed, 5])
        return rng.integers(0, len(OPERATIONS), len(EDGES)).tolist(), float(
            expected_size(torch.zeros(len(EDGES), len(OPERATIONS)))
        )
    data = digits(seed)
    torch.manual_seed(seed)
    problem = Search(size, objectives)
    options = {"lower_steps": 5, "rho": 0.1} if kind == "FORUM" else {"lower_steps": 1}
    method_ = bilevel.METHODS[kind](
        problem,
        problem.alpha,
        problem.network,
        alpha_optimizer=torch.optim.Adam([problem.alpha], lr=3e-2, betas=(0.5, 0.999)),
        omega_optimizer=torch.optim.Adam(problem.network.parameters(), lr=5e-3),
        lower_learning_rate=0.1,
        **options,
    )
    batches = bilevel.Batches(upper=Shuffled(data["validation"], seed), lower=Shuffled(data["train"], seed + 1))
    for _ in range(steps):
        method_.step(batches)
    alpha = problem.alpha.detach()
    return alpha.argmax(dim=1).tolist(), float(expected_size(alpha))


def train(chosen: list[int], seed: int, epochs: int) -> tuple[float, float]:
    """Train the chosen network anew; return its test accuracy, as it is and on perturbed images, in percent."""
    data = digits(seed)
    torch.manual_seed(seed)
    network = Cell(chosen)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    both = tuple(torch.cat(pair) for pair in zip(data["train"], data["validation"], strict=True))
    batches = Shuffled(both, seed + 2)
    for _ in range(epochs):
        for images, numbers in batches:
            optimizer.zero_grad()
            cross_entropy(network(None, images), numbers).backward()
            optimizer.step()
    images, numbers = data["test"]
    attacked = perturb(lambda moved: cross_entropy(network(None, moved), numbers), images, radius=RADIUS, n_steps=10)
    with torch.no_grad():
        right = [network(None, seen).argmax(dim=1) == numbers for seen in (images, attacked)]
    return 100.0 * float(right[0].double().mean()), 100.0 * float(right[1].double().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description="Architecture search with three objectives.")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="of the search")
    parser.add_argument("--epochs", type=int, default=20, help="of training the network that was found")
    parser.add_argument("--size", type=float, default=2000.0, help="parameters of the cell that are asked for")
    parser.add_argument("--quick", action="store_true", help="one seed, three steps, one epoch")
    options = parser.parse_args()
    seeds, steps, epochs = (1, 3, 1) if options.quick else (options.seeds, options.steps, options.epochs)
    if min(seeds, steps, epochs) < 1 or not options.size > 0.0:
        parser.error("--seeds, --steps and --epochs must be at least 1, and --size positive.")
    torch.set_num_threads(1)
    print(machine(), f"PyTorch {torch.__version__}")
    columns = ["method", "seed", "operations", "expected size", "size", "accuracy", "perturbed"]
    title = f"Cells for digits, {options.size:g} parameters asked for, {steps} steps of search, accuracy in %"
    table = Table("bilevel_nas", columns, title=title)
    names = list(OPERATIONS)
    for method in options.methods:
        rows = []
        for seed in range(seeds):
            chosen, expected = search(method, seed, steps, options.size)
            found = train(chosen, seed, epochs)
            rows.append([expected, float(SIZES[chosen].sum()), *found])
            table.add(method, seed, ", ".join(names[o] for o in chosen), *rows[-1])
        table.add(method, "mean", "", *(float(value) for value in np.mean(rows, axis=0)))
    table.show()
    print(f"written: {table.save()}")


if __name__ == "__main__":
    main()
