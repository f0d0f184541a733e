"""Bilevel problems with a solution in closed form, and a small network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyasmg.mtl import EW, bilevel
from pyasmg.mtl.bilevel import Batches, BilevelMethod, BilevelProblem


class Quadratic(BilevelProblem):
    """f = 1/2 w'Hw - w'Ba + 1/4 r |a|^2 |w|^2, F_i = 1/2 |w - c_i|^2 + 1/4 |a - e_i|^2."""

    def __init__(self, m: int = 3, n: int = 4, p: int = 5, seed: int = 0, coupling: float = 0.0) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        root = rng.standard_normal((p, p))
        arrays = [
            root @ root.T / p + np.eye(p),
            rng.standard_normal((p, n)),
            rng.standard_normal((m, p)),
            rng.standard_normal((m, n)),
        ]
        self.H, self.B, self.c, self.e = (torch.from_numpy(array) for array in arrays)
        self.coupling = coupling
        self.alpha0, self.omega0 = (torch.from_numpy(rng.standard_normal(size)) for size in (n, p))

    def upper(self, alpha: Tensor, omega: Tensor, batch: Any) -> Tensor:
        return 0.5 * (omega - self.c).square().sum(dim=1) + 0.25 * (alpha - self.e).square().sum(dim=1)

    def lower(self, alpha: Tensor, omega: Tensor, batch: Any) -> Tensor:
        found = 0.5 * omega @ self.H @ omega - omega @ self.B @ alpha
        return found + 0.25 * self.coupling * alpha.square().sum() * omega.square().sum()

    def solution(self, alpha: Tensor) -> Tensor:
        return torch.linalg.solve(self.H, self.B @ alpha)


class Samples:
    """Batches of indices without end, the same each time."""

    def __init__(self, n: int, size: int, seed: int) -> None:
        self.n, self.size, self.seed = n, size, seed

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield torch.randint(self.n, (self.size,), generator=generator)


class Classifier(BilevelProblem):
    """A network with batch normalisation; a weight per training sample; two objectives on two validation sets."""

    def __init__(self, seed: int = 0, n: int = 40) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))
        self.alpha = torch.zeros(n)
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.randn(3, n, 3, generator=generator)
        self.labels = (self.inputs.sum(dim=2) > 0).long()
        self.labels[0, : n // 2] = 1 - self.labels[0, : n // 2]

    def upper(self, alpha: Tensor, omega: Any, batch: Tensor) -> list[Tensor]:
        return [self.loss(omega, i, batch).mean() for i in (1, 2)]

    def lower(self, alpha: Tensor, omega: Any, batch: Tensor) -> Tensor:
        return (torch.sigmoid(alpha[batch]) * self.loss(omega, 0, batch)).mean()

    def loss(self, omega: Any, i: int, batch: Tensor) -> Tensor:
        logits = functional_call(self.network, omega, (self.inputs[i, batch],))
        return nn.functional.cross_entropy(logits, self.labels[i, batch], reduction="none")

    def batches(self) -> Batches:
        n = len(self.alpha)
        return Batches(upper=Samples(n, 10, 1), lower=Samples(n, 10, 2))


def method_of(name: str, problem: BilevelProblem, alpha: Any, omega: Any, **options: Any) -> BilevelMethod:
    """Make a method with plain optimizers; Adam with momentum where an optimizer of omega is needed."""
    alphas = alpha.values() if isinstance(alpha, dict) else [alpha]
    if isinstance(omega, nn.Module):
        omegas = list(omega.parameters())
    else:
        omegas = list(omega.values()) if isinstance(omega, dict) else [omega]
    if "alpha_optimizer" not in options:
        options["alpha_optimizer"] = torch.optim.Adam(alphas, lr=0.05)
    if "omega_optimizer" not in options and name in ("FORUM", "BOME", "SingleLevel"):
        options["omega_optimizer"] = torch.optim.SGD(omegas, lr=0.05, momentum=0.5)
    if name == "SingleLevel":
        options.setdefault("balancer", EW(2))
    options.setdefault("lower_steps", 3)
    options.setdefault("lower_learning_rate", 0.1)
    return bilevel.METHODS[name](problem, alpha, omega, **options)
