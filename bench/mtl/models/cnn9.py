"""The network of CelebA."""

from __future__ import annotations

from torch import Tensor, nn

from .network import Network


class CNN9(Network):
    """Nine layers: seven convolutions, two linear ones, each with batch normalisation; a linear head per task.

    BiLB4MTL, sec. 5.1, and PIVRG, sec. 4.2, say "9-layer CNN"; widths and pooling as in FAMO's code.
    """

    WIDTH = 512

    def __init__(self, n_tasks: int) -> None:
        super().__init__()
        blocks = ((64,), (128, 128), (256, 256), (512, 512))
        layers: list[nn.Module] = []
        width = 3
        for block in blocks:
            for n_channels in block:
                layers += [nn.Conv2d(width, n_channels, 3, padding=1, bias=False), nn.BatchNorm2d(n_channels)]
                layers += [nn.ReLU(inplace=True)]
                width = n_channels
            layers.append(nn.MaxPool2d(2) if block is not blocks[-1] else nn.AdaptiveAvgPool2d(1))
        layers.append(nn.Flatten())
        for _ in range(2):
            layers += [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(n_tasks))

    def features(self, inputs: Tensor) -> Tensor:
        """Return the representation, (batch, 512)."""
        return self.trunk(inputs)
