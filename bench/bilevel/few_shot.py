"""Few-shot learning that is accurate and robust, Eq. (3.34): a worked example on scikit-learn's digits.

    python -m bench.bilevel.few_shot [--methods ...] [--seeds 3] [--steps 300] [--quick]

The classes are digits, upright and turned by 90 degrees: 12 base classes of the digits 0 to 5, and 8 novel ones of 6 to
9. alpha, the meta-parameters, is an embedding (a perceptron); omega is a linear classifier for each of a pool of
episodes, 5-way 5-shot tasks from the base classes. The lower level fits each classifier to its support set, strongly
convex by a ridge; the objectives are the mean loss on the query sets, and on query sets perturbed by projected gradient
steps. What is reported is of new episodes from the novel classes: a classifier is fitted to their support set on the
embedding as it is. "MOML, accuracy only" and "MOML, robustness only" have one objective; "no training" is a random
embedding.
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
from torch.nn.functional import cross_entropy, normalize

from bench.bilevel.attacks import perturb
from pyasmg.mtl import bilevel

BASE, NOVEL = (0, 1, 2, 3, 4, 5), (6, 7, 8, 9)
WAYS, SHOTS, QUERIES = 5, 5, 10
WIDTH, RADIUS, RIDGE = 32, 0.1, 0.03
LOWER_STEPS, LOWER_RATE = 20, 0.5


class Episodes:
    """Episodes with images in [0, 1] and classes 0 to 4: support (e, 25, 64), query (e, 50, 64)."""

    def __init__(self, digits: tuple[int, ...], n: int, rng: np.random.Generator) -> None:
        from sklearn.datasets import load_digits

        upright, labels = load_digits(return_X_y=True)
        turned = np.rot90(upright.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
        images, labels = np.concatenate([upright, turned]), np.concatenate([labels, labels + 10])
        classes = [*digits, *(digit + 10 for digit in digits)]
        rows = []
        for _ in range(n):
            chosen = rng.choice(classes, WAYS, replace=False)
            rows.append([rng.choice(np.flatnonzero(labels == c), SHOTS + QUERIES, replace=False) for c in chosen])
        picked = torch.from_numpy(images[np.array(rows)] / 16.0).float()  # (e, ways, shots + queries, 64)
        self.support = picked[:, :, :SHOTS].reshape(n, -1, 64)
        self.query = picked[:, :, SHOTS:].reshape(n, -1, 64)
        self.support_classes = torch.arange(WAYS).repeat_interleave(SHOTS).expand(n, -1)
        self.query_classes = torch.arange(WAYS).repeat_interleave(QUERIES).expand(n, -1)


class FewShot(bilevel.BilevelProblem):
    """Problem (3.34) on a pool of episodes.

    Parameters
    ----------
    embedding : torch.nn.Module
        alpha.
    episodes : Episodes
        The pool.
    objectives : tuple of {"accuracy", "robustness"}
        Which.
    """

    def __init__(self, embedding: nn.Module, episodes: Episodes, objectives: tuple[str, ...]) -> None:
        super().__init__()
        self.embedding, self.episodes, self.objectives = embedding, episodes, objectives
        self.omega = torch.zeros(len(episodes.support), WIDTH + 1, WAYS, requires_grad=True)

    def logits(self, alpha: dict[str, Tensor], omega: Tensor, images: Tensor) -> Tensor:
        """Return the outputs of each episode's classifier, shape (e, n, 5)."""
        z = functional_call(self.embedding, alpha, (images,))
        return torch.baddbmm(omega[:, WIDTH:], z, omega[:, :WIDTH])

    def lower(self, alpha: dict[str, Tensor], omega: Tensor, batch: object) -> Tensor:
        """Return the loss on the support sets, a sum over the episodes, each convex in its classifier."""
        outputs = self.logits(alpha, omega, self.episodes.support)
        fit = cross_entropy(outputs.flatten(0, 1), self.episodes.support_classes.flatten())
        return len(omega) * fit + 0.5 * RIDGE * omega.square().sum()

    def upper(self, alpha: dict[str, Tensor], omega: Tensor, batch: object) -> list[Tensor]:
        """Return the mean loss on the query sets, as they are and perturbed."""
        query, classes = self.episodes.query, self.episodes.query_classes.flatten()

        def loss(images: Tensor, parts: tuple[dict[str, Tensor], Tensor] = (alpha, omega)) -> Tensor:
            return cross_entropy(self.logits(*parts, images).flatten(0, 1), classes)

        found = {}
        if "accuracy" in self.objectives:
            found["accuracy"] = loss(query)
        if "robustness" in self.objectives:
            fixed = ({name: value.detach() for name, value in alpha.items()}, omega.detach())
            found["robustness"] = loss(perturb(lambda images: loss(images, fixed), query, radius=RADIUS))
        return [found[name] for name in self.objectives]


class OnSphere(nn.Module):
    """Rows of length 2: the curvature of the lower level stays bounded, whatever the embedding grows to."""

    def forward(self, z: Tensor) -> Tensor:
        """Return the rows at that length."""
        return 2.0 * normalize(z, dim=-1)


def embedding() -> nn.Sequential:
    """Return a fresh embedding."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, WIDTH), OnSphere())


def novel_accuracy(model: nn.Module, episodes: Episodes, n_steps: int = 100) -> tuple[float, float]:
    """Fit classifiers to new episodes; return the accuracy on the queries, as they are and perturbed, in percent."""
    problem = FewShot(model, episodes, ("accuracy",))
    alpha, omega = {name: value.detach() for name, value in model.named_parameters()}, problem.omega
    for _ in range(n_steps):
        (gradient,) = torch.autograd.grad(problem.lower(alpha, omega, None), omega)
        omega = (omega - LOWER_RATE * gradient).detach().requires_grad_()
    classes = episodes.query_classes
    omega = omega.detach()

    def loss(images: Tensor) -> Tensor:
        return cross_entropy(problem.logits(alpha, omega, images).flatten(0, 1), classes.flatten())

    attacked = perturb(loss, episodes.query, radius=RADIUS, n_steps=10)
    with torch.no_grad():
        right = [problem.logits(alpha, omega, images).argmax(dim=2) == classes for images in (episodes.query, attacked)]
    return 100.0 * float(right[0].double().mean()), 100.0 * float(right[1].double().mean())


BOTH = ("accuracy", "robustness")
Maker = Callable[[FewShot], bilevel.BilevelMethod]


def moml(problem: FewShot) -> bilevel.BilevelMethod:
    """Return MOML, whose classifiers start from zero in each iteration."""
    return bilevel.MOML(
        problem,
        problem.embedding,
        problem.omega,
        alpha_optimizer=torch.optim.Adam(problem.embedding.parameters(), lr=1e-3),
        lower_steps=LOWER_STEPS,
        lower_learning_rate=LOWER_RATE,
        lower_start="initial",
    )


def forum(problem: FewShot) -> bilevel.BilevelMethod:
    """Return FORUM, which keeps a classifier for each episode of the pool."""
    return bilevel.FORUM(
        problem,
        problem.embedding,
        problem.omega,
        alpha_optimizer=torch.optim.Adam(problem.embedding.parameters(), lr=1e-3),
        omega_optimizer=torch.optim.Adam([problem.omega], lr=5e-2),
        lower_steps=LOWER_STEPS,
        lower_learning_rate=LOWER_RATE,
        rho=0.5,
    )


METHODS: dict[str, tuple[Maker | None, tuple[str, ...]]] = {
    "no training": (None, BOTH),
    "MOML, accuracy only": (moml, ("accuracy",)),
    "MOML, robustness only": (moml, ("robustness",)),
    "MOML": (moml, BOTH),
    "FORUM": (forum, BOTH),
}


def run(method: str, seed: int, steps: int, n_episodes: int) -> tuple[float, float]:
    """Train on a pool of episodes; return the accuracies on new ones."""
    rng = np.random.default_rng([seed, 3])
    pool, new = Episodes(BASE, n_episodes, rng), Episodes(NOVEL, 100, rng)
    torch.manual_seed(seed)
    model = embedding()
    make, objectives = METHODS[method]
    if make is not None:
        found = make(FewShot(model, pool, objectives))
        for _ in range(steps):
            found.step()
    return novel_accuracy(model, new)


def main() -> None:
    parser = argparse.ArgumentParser(description="Few-shot learning that is accurate and robust.")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--episodes", type=int, default=32, help="of the pool")
    parser.add_argument("--quick", action="store_true", help="one seed, five steps, four episodes")
    options = parser.parse_args()
    seeds, steps, n = (1, 5, 4) if options.quick else (options.seeds, options.steps, options.episodes)
    if min(seeds, steps, n) < 1:
        parser.error(f"--seeds, --steps and --episodes must be at least 1; got {seeds}, {steps} and {n}.")
    torch.set_num_threads(1)
    print(machine(), f"PyTorch {torch.__version__}")
    columns = ["method", "accuracy", "+-", "perturbed", "+-"]
    title = f"New digits, {WAYS}-way {SHOTS}-shot, accuracy in %, {seeds} seeds, {steps} steps"
    table = Table("bilevel_few_shot", columns, title=title)
    for method in options.methods:
        rows = np.array([run(method, seed, steps, n) for seed in range(seeds)])
        errors = rows.std(axis=0, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.zeros(2)
        table.add(method, *(float(value) for pair in zip(rows.mean(axis=0), errors, strict=True) for value in pair))
    table.show()
    print(f"written: {table.save()}")


if __name__ == "__main__":
    main()
