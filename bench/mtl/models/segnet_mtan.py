"""SegNet with the attention modules of MTAN, the network of NYUv2 and Cityscapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import Network

WIDTHS = (64, 128, 256, 512, 512)


class SegNetMTAN(Network):
    """An encoder and decoder of five stages each, and per task an attention module for each stage (Liu et al., 2019).

    As in the public code of MTAN, Nash-MTL and FAMO: the convolutions that follow the attention masks are shared
    between the tasks. The representation is one map (batch, 64, height, width) per task, behind the last attention.

    Parameters
    ----------
    outputs : sequence of ints
        Channels of each task's prediction.
    unit_length : sequence of ints
        The tasks whose prediction is scaled to length 1 per pixel (surface normals).
    attention : {"shared", "own"}
        Whether the attention modules count as shared parameters, as in the public code (each task's gradient is zero
        on those of the others), or as each task's own. It changes what gradient methods see.
    widths : sequence of five ints
        Channels of the stages.
    """

    def __init__(
        self,
        outputs: Sequence[int],
        *,
        unit_length: Sequence[int] = (),
        attention: str = "shared",
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        if attention not in ("shared", "own"):
            raise ValueError(f"`attention` must be 'shared' or 'own'; got {attention!r}.")
        self.attention = attention
        w = tuple(widths)
        before = (3, *w[:4])  # channels that enter each encoder stage, and leave each decoder stage
        after = (w[0], *w[:4])
        depths = (1, 1, 2, 2, 2)  # convolutions behind the first one of a stage
        self.encoder = nn.ModuleList(_conv(before[i], w[i]) for i in range(5))
        self.encoder_more = nn.ModuleList(_convs(w[i], depths[i]) for i in range(5))
        self.decoder = nn.ModuleList(_conv(w[i], after[i]) for i in range(5))
        self.decoder_more = nn.ModuleList(_convs(after[i], depths[i]) for i in range(5))
        self.encoder_after = nn.ModuleList(_conv(w[i], w[min(i + 1, 4)]) for i in range(5))
        self.decoder_after = nn.ModuleList(_conv(w[i], after[i]) for i in range(5))
        tasks = range(len(outputs))
        self.encoder_attention = nn.ModuleList(
            nn.ModuleList(_mask(w[i] if i == 0 else 2 * w[i], w[i]) for i in range(5)) for _ in tasks
        )
        self.decoder_attention = nn.ModuleList(
            nn.ModuleList(_mask(w[i] + after[i], after[i]) for i in range(5)) for _ in tasks
        )
        self.heads = nn.ModuleList(_Head(w[0], n, task in unit_length) for task, n in enumerate(outputs))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def features(self, inputs: Tensor) -> list[Tensor]:
        """Return the map of each task, in the size of the images, whose sides must be multiples of 32."""
        first, last, pooled, indices = [], [], inputs, []
        for one, more in zip(self.encoder, self.encoder_more, strict=True):
            first.append(one(pooled))
            last.append(more(first[-1]))
            pooled, where = functional.max_pool2d(last[-1], 2, return_indices=True)
            indices.append(where)
        up: list[Tensor] = [pooled] * 5
        down: list[Tensor] = [pooled] * 5
        for i in reversed(range(5)):
            up[i] = functional.max_unpool2d(pooled, indices[i], 2)
            down[i] = pooled = self.decoder_more[i](self.decoder[i](up[i]))
        return [
            self._attend(self.encoder_attention[task], self.decoder_attention[task], first, last, up, down)
            for task in range(len(self.heads))
        ]

    def _attend(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        first: list[Tensor],
        last: list[Tensor],
        up: list[Tensor],
        down: list[Tensor],
    ) -> Tensor:
        """Return one task's map: at each stage a mask from the task's features so far times the shared ones."""
        own: Tensor | None = None
        for i, mask in enumerate(encoder):
            seen = first[i] if own is None else torch.cat((first[i], own), dim=1)
            own = functional.max_pool2d(self.encoder_after[i](mask(seen) * last[i]), 2)
        for i in reversed(range(5)):
            larger = functional.interpolate(own, scale_factor=2, mode="bilinear", align_corners=True)
            seen = torch.cat((up[i], self.decoder_after[i](larger)), dim=1)
            own = decoder[i](seen) * down[i]
        assert own is not None
        return own

    def head_parameters(self) -> list[list[nn.Parameter]]:
        """See :class:`Network`; with the attention modules, where these are each task's own."""
        heads = super().head_parameters()
        if self.attention == "own":
            for task, head in enumerate(heads):
                head += [*self.encoder_attention[task].parameters(), *self.decoder_attention[task].parameters()]
        return heads


class _Head(nn.Module):
    def __init__(self, width: int, n_outputs: int, unit_length: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, n_outputs, 1))
        self.unit_length = unit_length

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(x)
        return functional.normalize(out, dim=1) if self.unit_length else out


def _conv(n_inputs: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_inputs, n_outputs, 3, padding=1), nn.BatchNorm2d(n_outputs), nn.ReLU(inplace=True))


def _convs(width: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(_conv(width, width) for _ in range(depth)))


def _mask(n_inputs: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_inputs, n_outputs, 1),
        nn.BatchNorm2d(n_outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_outputs, n_outputs, 1),
        nn.BatchNorm2d(n_outputs),
        nn.Sigmoid(),
    )
