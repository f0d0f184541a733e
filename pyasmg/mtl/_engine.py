"""Backward passes without what ``torch.autograd`` checks in Python, which takes longer than the pass of a small layer.

What is passed here has been checked, or made, by this package. What is not the usual case takes the public functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: PyTorch's engine: not public, but the same from 1.8 on, and used like this by others (such as Megatron-LM).
_run: Any = getattr(getattr(torch.autograd.Variable, "_execution_engine", None), "run_backward", None)
_USUAL = {Tensor, nn.Parameter}  # other classes may have a rule of their own


TensorTuple = tuple[Tensor, ...]
Gradients = tuple[Tensor | None, ...]


def gradients(
    roots: Sequence[Tensor], starts: Sequence[Tensor], inputs: Sequence[Tensor], retain_graph: bool
) -> Gradients:
    """Return the gradients on the inputs for those on the roots; None where no root depends on an input."""
    return pass_for(inputs)(tuple(roots), tuple(starts), tuple(inputs), retain_graph)


def pass_for(inputs: Iterable[Tensor]) -> Callable[[TensorTuple, TensorTuple, TensorTuple, bool], Gradients]:
    """Return what :func:`gradients` does for tuples, and inputs that are among these."""
    return _public if _run is None or not set(map(type, inputs)) <= _USUAL else _direct


def _direct(roots: TensorTuple, starts: TensorTuple, inputs: TensorTuple, retain_graph: bool) -> Gradients:
    found: Gradients = _run(roots, starts, retain_graph, False, inputs, allow_unreachable=True, accumulate_grad=False)
    return found


def _public(roots: TensorTuple, starts: TensorTuple, inputs: TensorTuple, retain_graph: bool) -> Gradients:
    return torch.autograd.grad(roots, inputs, starts, retain_graph=retain_graph, allow_unused=True)


def accumulate(
    roots: Sequence[Tensor], starts: Sequence[Tensor], inputs: Sequence[Tensor] | None, retain_graph: bool
) -> None:
    """Add them to ``.grad`` of the inputs, or of all leaves."""
    if _run is None or inputs == [] or not set(map(type, inputs or ())) <= _USUAL:
        torch.autograd.backward(roots, starts, retain_graph=retain_graph, inputs=inputs)
        return
    targets = tuple(inputs or ())
    _run(tuple(roots), tuple(starts), retain_graph, False, targets, allow_unreachable=True, accumulate_grad=True)
