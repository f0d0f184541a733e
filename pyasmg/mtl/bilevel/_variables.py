"""The variables of a level: a tensor, tensors by name, or the parameters of a module, as one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..._validate import describe
from .constraints import Constraint, Free
from .problem import Structure


class Variables:
    """The tensors of one level, and the structure in which the problem sees them.

    Parameters
    ----------
    name : str
        "alpha" or "omega", for errors.
    value : Tensor, mapping of tensors, or nn.Module
        Floating-point leaf tensors of one device; of a module, its parameters that require a gradient.
    constraint : Constraint or mapping of names to constraints, optional
        For every tensor, or by name.
    """

    def __init__(self, name: str, value: Any, constraint: Constraint | Mapping[str, Constraint] | None = None) -> None:
        self.name = name
        self.module: nn.Module | None = value if isinstance(value, nn.Module) else None
        self.names: list[str] | None
        if isinstance(value, Tensor):
            self.names, self.tensors = None, [value]
        else:
            if isinstance(value, nn.Module):
                value = {key: entry for key, entry in value.named_parameters() if entry.requires_grad}
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise TypeError(
                    f"`{name}` must be a tensor, a dictionary of tensors or a module; got {describe(value)}."
                )
            self.names, self.tensors = list(value), list(value.values())
        if not self.tensors:
            raise ValueError(f"`{name}` must hold at least one tensor (a module, one that requires a gradient).")
        for label, tensor in zip(self.labels, self.tensors, strict=True):
            self._check(label, tensor)
        if len({id(tensor) for tensor in self.tensors}) != len(self.tensors):
            raise ValueError(f"`{name}` must hold each tensor once; one stands there twice.")
        self.constraints = self._constraints(constraint)
        for label, tensor, entry in zip(self.labels, self.tensors, self.constraints, strict=True):
            entry.check(label, tensor.detach())
        self.size = sum(tensor.numel() for tensor in self.tensors)

    @property
    def labels(self) -> list[str]:
        """Names for errors."""
        return [self.name] if self.names is None else [f"{self.name}[{key!r}]" for key in self.names]

    def view(self, tensors: Sequence[Tensor]) -> Structure:
        """Return what the problem sees, given the tensors of this level."""
        seen = [entry.transform(tensor) for entry, tensor in zip(self.constraints, tensors, strict=True)]
        return seen[0] if self.names is None else dict(zip(self.names, seen, strict=True))

    def constants(self) -> list[Tensor]:
        """Return the tensors without a graph; they share memory."""
        return [tensor.detach() for tensor in self.tensors]

    def leaves(self) -> list[Tensor]:
        """Return new leaves of a graph; they share memory."""
        return [tensor.detach().requires_grad_() for tensor in self.tensors]

    def copies(self) -> list[Tensor]:
        """Return copies without a graph."""
        return [tensor.detach().clone() for tensor in self.tensors]

    def write(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite the values in place."""
        with torch.no_grad():
            for tensor, value in zip(self.tensors, tensors, strict=True):
                tensor.copy_(value)

    def project(self) -> None:
        """Bring the values back into the set, in place."""
        with torch.no_grad():
            for tensor, entry in zip(self.tensors, self.constraints, strict=True):
                projected = entry.project(tensor)
                if projected is not tensor:
                    tensor.copy_(projected)

    def buffers(self) -> list[Tensor]:
        """Return the buffers of the module, such as running means, if there is one."""
        return [] if self.module is None else list(self.module.buffers())

    def descend(self, gradient: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Let the user's optimizer step along a gradient of shape (size,), and project."""
        pieces = torch.split(gradient, [tensor.numel() for tensor in self.tensors])
        kept = [tensor.grad for tensor in self.tensors]
        for tensor, piece in zip(self.tensors, pieces, strict=True):
            tensor.grad = piece.view_as(tensor).to(tensor)
        try:
            optimizer.step()
        finally:
            for tensor, before in zip(self.tensors, kept, strict=True):
                tensor.grad = before
        self.project()

    def check_optimizer(self, name: str, optimizer: Any) -> None:
        """Refuse an optimizer that is not one of these tensors."""
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"`{name}` must be a torch.optim.Optimizer; got {describe(optimizer)}.")
        held = {id(entry) for group in optimizer.param_groups for entry in group["params"]}
        missing = [label for label, entry in zip(self.labels, self.tensors, strict=True) if id(entry) not in held]
        if missing:
            raise ValueError(f"`{name}` must hold all tensors of `{self.name}`; it lacks {missing[0]}.")
        others = len(held) - len(self.tensors)
        if others > 0 and not (self.module is not None and others <= len(list(self.module.parameters()))):
            raise ValueError(f"`{name}` must hold the tensors of `{self.name}` only; it holds {others} more.")

    def _check(self, label: str, tensor: Any) -> None:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"`{label}` must be a tensor; got {describe(tensor)}.")
        if not tensor.is_floating_point():
            raise TypeError(f"`{label}` must be a floating-point tensor; got {tensor.dtype}.")
        if not tensor.is_leaf:
            raise ValueError(f"`{label}` must be a leaf tensor; it is computed from others.")
        if not bool(tensor.detach().isfinite().all()):
            raise ValueError(f"`{label}` must be finite; it is not.")

    def _constraints(self, constraint: Any) -> list[Constraint]:
        if constraint is None:
            constraint = Free()
        if isinstance(constraint, Constraint):
            return [constraint] * len(self.tensors)
        if not isinstance(constraint, Mapping) or self.names is None:
            raise TypeError(
                f"`constraint` must be a Constraint, or a dictionary of them by name; got {describe(constraint)}."
            )
        unknown = sorted(set(constraint) - set(self.names))
        if unknown:
            raise ValueError(f"`constraint` must have names of `{self.name}`; got {unknown[0]!r}.")
        found = [constraint.get(key, Free()) for key in self.names]
        for entry in found:
            if not isinstance(entry, Constraint):
                raise TypeError(f"`constraint` must hold Constraints; got {describe(entry)}.")
        return found
