"""Losses whose gradients are known: linear in the shared parameters, with a parameter per head."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pyasmg.mtl import Balancer

HEAD_SLOPE = 3.0


@dataclass
class Linear:
    """Loss i is ``values[i] + rows[i] @ shared + 3 heads[i]`` at shared = heads = 0: its gradient is ``rows[i]``."""

    rows: np.ndarray
    values: np.ndarray
    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    shared: list[nn.Parameter] = field(init=False)
    heads: list[list[nn.Parameter]] = field(init=False)

    def __post_init__(self) -> None:
        m, d = self.rows.shape
        first = d // 2
        sizes = [first, d - first] if first else [d]
        self.shared = [nn.Parameter(self._tensor(np.zeros(size))) for size in sizes]
        self.heads = [[nn.Parameter(self._tensor(np.zeros(1)))] for _ in range(m)]

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array).to(self.dtype).to(self.device)

    def losses(self) -> list[Tensor]:
        theta = torch.cat(list(self.shared))
        return [
            self._tensor(value) + self._tensor(row) @ theta + HEAD_SLOPE * head[0].sum()
            for value, row, head in zip(self.values, self.rows, self.heads, strict=True)
        ]

    def zero_grad(self) -> None:
        for parameter in [*self.shared, *(p for head in self.heads for p in head)]:
            parameter.grad = None

    def gradient(self) -> np.ndarray:
        return torch.cat([p.grad.reshape(-1) for p in self.shared]).double().cpu().numpy()

    def head_gradients(self) -> np.ndarray:
        return torch.cat([head[0].grad for head in self.heads]).double().cpu().numpy()


def direction(balancer: Balancer, rows: np.ndarray, values: np.ndarray, dtype: torch.dtype = torch.float64):
    """Return what one call adds to the gradient of the shared parameters."""
    problem = Linear(np.asarray(rows, dtype=float), np.asarray(values, dtype=float), dtype)
    balancer.backward(problem.losses(), shared=problem.shared, heads=problem.heads)
    return problem.gradient()


def instance(m: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradients without a common structure, and positive losses."""
    rng = np.random.default_rng([m, d, seed])
    return rng.standard_normal((m, d)) + 0.3 * rng.standard_normal(d), rng.uniform(0.5, 2.0, m)


class Network(nn.Module):
    """A small network of a trunk and linear heads, for steps that an optimizer takes."""

    def __init__(self, m: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5), nn.Tanh())
        self.heads = nn.ModuleList(nn.Linear(5, 1) for _ in range(m))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.5 * torch.randn(parameter.shape, generator=rng))
        self.to(dtype)

    def forward(self, batch: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the representation, and a positive loss per task."""
        features = self.trunk(batch)
        return features, [
            (head(features) - torch.sin((i + 1.0) * batch.sum(dim=1, keepdim=True))).square().mean() + 0.01
            for i, head in enumerate(self.heads)
        ]

    def head_lists(self) -> list[list[nn.Parameter]]:
        return [list(head.parameters()) for head in self.heads]


def batches(n: int, size: int = 12, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 6, generator=rng, dtype=torch.float64).to(dtype) for _ in range(n)]
