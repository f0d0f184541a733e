"""The losses of dense prediction."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def segmentation(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy per pixel; labels -1 are ignored."""
    return functional.cross_entropy(output, target, ignore_index=-1)


def depth(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error of the pixels whose depth is known, that is, not 0."""
    known = (target != 0.0).to(output)
    return ((output - target).abs() * known).sum() / known.sum().clamp(min=1.0)


def normal(output: Tensor, target: Tensor) -> Tensor:
    """Return 1 minus the mean cosine of the pixels that have a normal; the output has length 1."""
    known = (target.abs().sum(dim=1, keepdim=True) != 0.0).to(output)
    return 1.0 - (output * target * known).sum() / known.sum().clamp(min=1.0)
