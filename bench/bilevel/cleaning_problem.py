"""Multi-task data hyper-cleaning as a bilevel problem (thesis, sec. 3.7.1): a weight for every training sample."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.bilevel.cleaning_data import Cleaning
from pyasmg.mtl.bilevel import BilevelProblem

N_CLASSES = 10


class Network(nn.Module):
    """A perceptron shared by the domains, with a linear head each: (m, n, d) to (m, n, 10).

    Parameters
    ----------
    widths : sequence of ints
        From the input on; the thesis has (784, 512, 256).
    n_domains : int
        m.
    """

    def __init__(self, widths: Sequence[int], n_domains: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for first, second in itertools.pairwise(widths):
            layers += [nn.Linear(first, second), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(widths[-1], N_CLASSES) for _ in range(n_domains))

    def forward(self, inputs: Tensor) -> Tensor:
        features = self.trunk(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        return torch.stack([head(feature) for head, feature in zip(self.heads, features, strict=True)])


class HyperCleaning(BilevelProblem):
    r"""Upper level: the clean validation loss of each domain. Lower level: the weighted loss on the noisy samples.

    .. math:: f(\alpha, \omega) = \sum_i \frac{1}{N_i} \sum_j \sigma(\alpha_{ij}) \ell(\omega; x_{ij}, y_{ij})

    A batch is a tensor of indices, (m, n): for each domain its own samples. alpha has shape (m, N).
    """

    def __init__(self, data: Cleaning, network: Network) -> None:
        super().__init__()
        self.data, self.network = data, network

    def upper(self, alpha: Tensor, omega: dict[str, Tensor], batch: Tensor) -> Tensor:
        return self.losses(omega, "validation", batch).mean(dim=1)

    def lower(self, alpha: Tensor, omega: dict[str, Tensor], batch: Tensor) -> Tensor:
        weights = torch.sigmoid(alpha.gather(1, batch))
        return (weights * self.losses(omega, "train", batch)).mean(dim=1).sum()

    def losses(self, omega: dict[str, Tensor], part: str, batch: Tensor) -> Tensor:
        """Return the loss of each sample, (m, n)."""
        inputs, labels = self.data.inputs[part], self.data.labels[part]
        rows = torch.arange(len(batch), device=batch.device)[:, None]
        logits = functional_call(self.network, omega, (inputs[rows, batch],))
        found = nn.functional.cross_entropy(logits.flatten(0, 1), labels[rows, batch].flatten(), reduction="none")
        return found.view(batch.shape)


class Samples:
    """Random batches of indices without end, the same each time they are iterated over.

    Parameters
    ----------
    n : int
        Samples of each domain.
    n_domains, size, seed : int
        Of the batches: shape (n_domains, size), drawn anew without repetition within a batch.
    """

    def __init__(self, n: int, n_domains: int, size: int, seed: int) -> None:
        self.n, self.n_domains, self.size, self.seed = n, n_domains, min(size, n), seed

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield torch.rand((self.n_domains, self.n), generator=generator).topk(self.size, dim=1).indices
