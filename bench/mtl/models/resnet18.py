"""ResNet-18, with the parameter names of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from .network import Network


class BasicBlock(nn.Module):
    """Two convolutions and a way past them."""

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or n_inputs != n_outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_inputs, n_outputs, 1, stride, bias=False), nn.BatchNorm2d(n_outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways."""
        past = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + past)


class ResNet18(nn.Module):
    """He et al. (2016) without the last layer, so (batch, 512); as initialised there where no weights are loaded."""

    WIDTH = 512

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = (64, 64, 128, 256, 512)
        for i in range(1, 5):
            first = BasicBlock(widths[i - 1], widths[i], 1 if i == 1 else 2)
            setattr(self, f"layer{i}", nn.Sequential(first, BasicBlock(widths[i], widths[i], 1)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return the representation."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return torch.flatten(self.avgpool(x), 1)

    def load_weights(self, path: Path) -> None:
        """Load torchvision's weights from a local file, such as ``resnet18-f37072fd.pth``; ``fc`` is left out.

        Raises
        ------
        ValueError
            If the file is not a state dict of a ResNet-18.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"{path} must hold a state dict; it holds a {type(state).__name__}.")
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
        own = self.state_dict()
        missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or unknown:
            raise ValueError(f"{path} is no ResNet-18: {len(missing)} missing {missing[:3]}, unknown {unknown[:3]}.")
        wrong = [name for name, value in state.items() if value.shape != own[name].shape]
        if wrong:
            raise ValueError(f"{path} is no ResNet-18: other shapes of {wrong[:3]}.")
        self.load_state_dict(state)


class OfficeNetwork(Network):
    """ResNet-18 and a linear head per domain (FORUM, sec. 5.2; NORMAL, sec. 5.5).

    ``hidden_layer``: LibMTL's example, on which the papers build, puts a linear layer with batch normalisation, ReLU
    and dropout of 0.5 between both.
    """

    def __init__(self, n_tasks: int, n_classes: int, *, hidden_layer: bool = False) -> None:
        super().__init__()
        self.resnet = ResNet18()
        width = ResNet18.WIDTH
        self.hidden: nn.Module = nn.Identity()
        if hidden_layer:
            linear = nn.Linear(width, width)
            nn.init.normal_(linear.weight, 0.0, 0.005)
            nn.init.constant_(linear.bias, 0.1)
            self.hidden = nn.Sequential(linear, nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5))
        self.heads = nn.ModuleList(nn.Linear(width, n_classes) for _ in range(n_tasks))

    def features(self, inputs: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return the representation of each domain's images."""
        return [None if images is None else self.hidden(self.resnet(images)) for images in inputs]
