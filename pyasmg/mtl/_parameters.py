"""Which tensors receive gradients: the shared parameters, the representation, and the heads of the tasks."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._validate import describe
from ._types import ParametersLike, TensorsLike

_USUAL = {nn.Parameter}  # a leaf tensor
_REQUIRES_GRAD = operator.attrgetter("requires_grad")


def parameter_list(name: str, parameters: ParametersLike) -> list[Tensor]:
    """Return the parameters that require a gradient; frozen ones are left out."""
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    try:
        found = list(parameters)
    except TypeError:
        raise TypeError(f"`{name}` must be an iterable of parameters; got {describe(parameters)}.") from None
    if set(map(type, found)) <= _USUAL:
        return list(filter(_REQUIRES_GRAD, found))
    kept = []
    for i, parameter in enumerate(found):
        if not isinstance(parameter, Tensor):
            raise TypeError(f"`{name}` must hold tensors; entry {i} is {describe(parameter)}.")
        if parameter.requires_grad:
            if not parameter.is_leaf:
                raise ValueError(f"`{name}` must hold leaf tensors (parameters); entry {i} is computed from others.")
            kept.append(parameter)
    return kept


def head_lists(heads: Sequence[ParametersLike], n_tasks: int) -> list[list[Tensor]]:
    """Return the parameters of each task's head."""
    if isinstance(heads, Tensor) or not isinstance(heads, Sequence):
        raise TypeError(f"`heads` must be a sequence of n_tasks = {n_tasks} iterables; got {describe(heads)}.")
    if len(heads) != n_tasks:
        raise ValueError(f"`heads` must have n_tasks = {n_tasks} entries; got {len(heads)}.")
    if all(type(head) in (list, tuple) or _is_iterable(head) for head in heads):
        lists = [list(head) for head in heads]
        entries = list(itertools.chain.from_iterable(lists))
        if set(map(type, entries)) <= _USUAL and all(map(_REQUIRES_GRAD, entries)):
            return [*lists]  # at a tenth of the cost
        heads = lists  # an iterator can be read once
    return [parameter_list(f"heads[{task}]", head) for task, head in enumerate(heads)]


def _is_iterable(head: object) -> bool:
    return isinstance(head, Iterable) and not isinstance(head, Tensor)


def feature_list(features: TensorsLike) -> list[Tensor]:
    """Return the tensors between trunk and heads."""
    found: list[Any] = [features] if isinstance(features, Tensor) else list(features)
    if not found:
        raise ValueError("`features` must hold at least one tensor; got none.")
    for i, feature in enumerate(found):
        if not isinstance(feature, Tensor):
            raise TypeError(f"`features` must be a tensor or a sequence of tensors; entry {i} is {describe(feature)}.")
        if feature.grad_fn is None:
            raise ValueError(
                f"`features` must be computed from shared parameters, and the losses from it; entry {i} has no graph."
            )
    return found


def check_disjoint(shared: list[Tensor] | None, heads: list[list[Tensor]] | None) -> None:
    """Refuse a parameter that stands in two lists, or twice in one."""
    every = [*(shared or ()), *itertools.chain.from_iterable(heads or ())]
    if len(set(map(id, every))) == len(every):
        return
    named = [("shared", shared or []), *((f"heads[{task}]", head) for task, head in enumerate(heads or ()))]
    owner: dict[int, str] = {}
    for name, parameters in named:
        for parameter in parameters:
            before = owner.setdefault(id(parameter), name)
            if before != name:
                raise ValueError(
                    f"`{before}` and `{name}` must have no parameter in common; "
                    f"both hold one of shape {tuple(parameter.shape)}."
                )
        if len({id(parameter) for parameter in parameters}) != len(parameters):
            raise ValueError(f"`{name}` must hold each parameter once; one stands there twice.")


def leaves(roots: Iterable[Tensor], stop: Iterable[Tensor] = ()) -> list[Tensor]:
    """Return the leaf tensors of the graph above ``roots``, without going beyond the tensors in ``stop``."""
    seen: set[Any] = {tensor.grad_fn for tensor in stop if tensor.grad_fn is not None}
    excluded = {id(tensor) for tensor in stop}
    stack: list[Any] = []
    found: list[Tensor] = []
    for root in roots:
        if root.grad_fn is not None:
            stack.append(root.grad_fn)
        elif root.requires_grad and id(root) not in excluded:
            found.append(root)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor) and not node.next_functions:
            if id(leaf) not in excluded:
                found.append(leaf)
        else:
            stack.extend(child for child, _ in reversed(node.next_functions) if child is not None)
    return found


def accumulate(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Add each gradient to ``.grad``, as a backward pass does; a gradient that becomes ``.grad`` is not copied."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            continue
        if parameter.grad is None:
            parameter.grad = gradient.to(parameter)
        else:
            with torch.no_grad():
                parameter.grad += gradient.to(parameter.grad)
