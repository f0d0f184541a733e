"""Perturbations of inputs by projected gradient steps (Madry et al., 2018): the second objective of (3.34), (3.35)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def perturb(loss: Callable[[Tensor], Tensor], inputs: Tensor, *, radius: float, n_steps: int = 5) -> Tensor:
    """Return inputs in [0, 1] within a radius in each entry that raise a loss; no graph leads through them.

    The loss must be a sum over the inputs, or a mean: of its gradient only the sign counts. Steps of 2.5 / n_steps of
    the radius, from the inputs.
    """
    centre, found = inputs.detach(), inputs.detach()
    step = 2.5 * radius / n_steps
    for _ in range(n_steps):
        leaf = found.clone().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(loss(leaf), leaf)
        found = found + step * gradient.sign()
        found = (centre + (found - centre).clamp(-radius, radius)).clamp(0.0, 1.0)
    return found
