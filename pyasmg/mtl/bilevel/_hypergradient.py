"""Derivatives through the lower level: by iterative and by implicit differentiation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ._lower import partial
from .problem import lower_value

LossOf = Callable[[Sequence[Tensor], Any], Tensor]


def unrolled(
    loss_of: LossOf, start: Sequence[Tensor], next_batch: Callable[[], Any], n_steps: int, learning_rate: float
) -> tuple[list[Tensor], list[Tensor]]:
    r"""Return omega after T steps with the graph of all of them, and the T losses.

    .. math:: \omega_{t+1}(\alpha) = \omega_t(\alpha) - \eta \nabla_\omega f(\omega_t(\alpha), \alpha)

    O(pT) memory.
    """
    current = [tensor.detach().requires_grad_() for tensor in start]
    losses = []
    for _ in range(n_steps):
        loss = lower_value(loss_of(current, next_batch()))
        losses.append(loss.detach())
        gradients = partial(loss, current, create_graph=True)
        current = [
            tensor if gradient is None else tensor - learning_rate * gradient
            for tensor, gradient in zip(current, gradients, strict=True)
        ]
    return current, losses


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], right: Tensor, n_steps: int, tolerance: float
) -> tuple[Tensor, float]:
    """Solve a symmetric positive definite system, and return the relative residual with the solution.

    It ends where the residual is below the tolerance times the right-hand side, and where the matrix turns out not to
    be positive along a direction: what was found until then is returned.
    """
    solution, residual = torch.zeros_like(right), right.clone()
    direction = residual.clone()
    squared = float(residual @ residual)
    target = squared * tolerance**2
    first = squared
    for _ in range(n_steps):
        if squared <= target:
            break
        image = product(direction)
        curvature = float(direction @ image)
        if not curvature > 0.0:
            break
        length = squared / curvature
        solution += length * direction
        residual -= length * image
        following = float(residual @ residual)
        direction = residual + (following / squared) * direction
        squared = following
    return solution, (squared / first) ** 0.5 if first > 0.0 else 0.0


def implicit_rows(
    rows: Tensor,
    lower_gradients: Sequence[Tensor | None],
    alpha: Sequence[Tensor],
    omega: Sequence[Tensor],
    upper_by_omega: Tensor,
    options: tuple[int, float, float],
) -> float:
    r"""Subtract what the objectives depend on alpha through omega from ``rows`` of shape (m, n), in place.

    .. math:: \nabla_\alpha F_i - \nabla^2_{\alpha\omega} f \, [\nabla^2_{\omega\omega} f + \delta I]^{-1}
              \nabla_\omega F_i

    Parameters
    ----------
    rows : Tensor, shape (m, n)
        The gradients by alpha at constant omega.
    lower_gradients : sequence of tensors
        Of f by omega, with their graph.
    alpha, omega : sequences of tensors
        The leaves of that graph.
    upper_by_omega : Tensor, shape (m, p)
        The gradients of the objectives by omega.
    options : tuple
        Number of steps, tolerance, and damping :math:`\delta` of the conjugate-gradient method.

    Returns
    -------
    float
        The largest relative residual.
    """
    n_steps, tolerance, damping = options
    sizes = [tensor.numel() for tensor in omega]
    present = [i for i, gradient in enumerate(lower_gradients) if gradient is not None and gradient.requires_grad]
    outputs = [gradient for i in present if (gradient := lower_gradients[i]) is not None]

    def pull(vector: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        pieces = torch.split(vector, sizes)
        seeds = [pieces[i].view_as(omega[i]) for i in present]
        found: Sequence[Tensor | None] = [None] * len(inputs)
        if outputs:
            found = torch.autograd.grad(outputs, inputs, seeds, retain_graph=True, allow_unused=True)
        return torch.cat(
            [
                (torch.zeros_like(entry) if gradient is None else gradient).reshape(-1)
                for gradient, entry in zip(found, inputs, strict=True)
            ]
        )

    worst = 0.0
    for i in range(len(rows)):
        solution, residual = conjugate_gradient(
            lambda vector: pull(vector, omega) + damping * vector, upper_by_omega[i], n_steps, tolerance
        )
        rows[i] -= pull(solution, alpha)
        worst = max(worst, residual)
    return worst
