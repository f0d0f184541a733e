"""Steps of the lower level by gradient descent, and what is said of one that diverges."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .problem import lower_value

GROWTH = 1e8  # a loss that has grown by more than that, relative to 1 + its size at the start, has diverged


class DivergenceError(ArithmeticError):
    """The lower level diverged; alpha, omega, the optimizers and the method are as before the step.

    Attributes
    ----------
    iteration : int
        k, the step of the method.
    lower_step : int
        t, the lower step before which the loss was evaluated, 0 to T.
    loss : float
        The loss there: not finite, or grown more than 1e8-fold.
    """

    def __init__(self, iteration: int, lower_step: int, loss: float, learning_rate: float) -> None:
        super().__init__(
            f"the lower level diverged in iteration {iteration}: its loss is {loss:g} after {lower_step} lower steps "
            f"with `lower_learning_rate` {learning_rate:g}. Nothing was changed; take a smaller rate."
        )
        self.iteration, self.lower_step, self.loss = iteration, lower_step, loss


def check_losses(losses: Sequence[Tensor], iteration: int, learning_rate: float) -> list[float]:
    """Return the losses as numbers, transferred at once; raise for one that has diverged."""
    values: list[float] = torch.stack([loss.detach().double() for loss in losses]).tolist() if losses else []
    for step, value in enumerate(values):
        if not math.isfinite(value) or value - values[0] > GROWTH * (1.0 + abs(values[0])):
            raise DivergenceError(iteration, step, value, learning_rate)
    return values


def descend(
    loss_of: Callable[[Sequence[Tensor], Any], Tensor],
    start: Sequence[Tensor],
    next_batch: Callable[[], Any],
    n_steps: int,
    learning_rate: float,
) -> tuple[list[Tensor], list[Tensor]]:
    r"""Return omega after T steps and the T losses on the way, without a graph (Eq. 3.15).

    .. math:: \tilde\omega^{t+1} = \tilde\omega^t - \eta \nabla_\omega f(\alpha, \tilde\omega^t)

    The start is not written to. Memory does not depend on the number of steps.
    """
    current = [tensor.detach().clone() for tensor in start]
    losses = []
    for _ in range(n_steps):
        leaves = [tensor.requires_grad_() for tensor in current]
        loss = lower_value(loss_of(leaves, next_batch()))
        gradients = partial(loss, leaves)
        losses.append(loss.detach())
        del loss  # its graph must not live through the next step
        current = [tensor.detach() for tensor in leaves]
        for tensor, gradient in zip(current, gradients, strict=True):
            if gradient is not None:
                tensor.sub_(gradient, alpha=learning_rate)
        del leaves, gradients
    return current, losses


def partial(
    value: Tensor, tensors: Sequence[Tensor], retain_graph: bool = False, create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """Return the gradient by each tensor, None where the value does not depend on it."""
    if not value.requires_grad:
        return (None,) * len(tensors)
    return torch.autograd.grad(value, tensors, None, retain_graph or create_graph, create_graph, allow_unused=True)


def write_row(row: Tensor, gradients: Sequence[Tensor | None], tensors: Sequence[Tensor]) -> None:
    """Write gradients into one vector, zeros where there is none."""
    start = 0
    for gradient, tensor in zip(gradients, tensors, strict=True):
        piece = row[start : start + tensor.numel()]
        if gradient is None:
            piece.zero_()
        else:
            piece.copy_(gradient.detach().reshape(-1))
        start += tensor.numel()


def subtract_from_row(
    row: Tensor, gradients: Sequence[Tensor | None], tensors: Sequence[Tensor], factor: float = 1.0
) -> None:
    """Subtract gradients by the first variables from a vector, in place."""
    start = 0
    for gradient, tensor in zip(gradients, tensors, strict=True):
        if gradient is not None:
            row[start : start + tensor.numel()].sub_(gradient.reshape(-1), alpha=factor)
        start += tensor.numel()
