"""Which tensors receive gradients: the shared parameters, the representation, and the heads of the tasks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from .. import _core
from .._validate import describe
from ._tensors import usual
from ._types import FloatArray, ParametersLike, TensorsLike

Listed = list[Tensor] | tuple[Tensor, ...]


class ParameterLists(NamedTuple):
    """What a call of ``backward`` may write to: parameters that require a gradient, each in one place."""

    shared: Listed | None
    heads: Sequence[Listed] | None

    @property
    def every(self) -> list[Tensor]:
        """All of them."""
        return [*(self.shared or ()), *itertools.chain.from_iterable(self.heads or ())]


def parameter_lists(
    shared: ParametersLike | None, heads: Sequence[ParametersLike] | None, n_tasks: int
) -> ParameterLists:
    """Return the parameters that require a gradient; frozen ones are left out.

    Raises
    ------
    TypeError, ValueError
        For what is no list of leaf tensors, and for a parameter that stands in two lists or twice in one.
    """
    if heads is not None:
        _check_heads(heads, n_tasks)
    if _core.distinct_leaves(nn.Parameter, shared, heads):  # lists or tuples
        return ParameterLists(cast("Listed | None", shared), cast("Sequence[Listed] | None", heads))
    trunk = None if shared is None else _listed("shared", shared)
    own = None if heads is None else [_listed(f"heads[{task}]", head) for task, head in enumerate(heads)]
    if not _core.distinct_leaves(nn.Parameter, trunk, own):  # frozen ones, no parameters, or an error to be named
        trunk = None if trunk is None else _trainable("shared", trunk)
        own = None if own is None else [_trainable(f"heads[{task}]", head) for task, head in enumerate(own)]
        _check_disjoint(trunk, own)
    return ParameterLists(trunk, own)


def check_lists(shared: ParametersLike | None, heads: Sequence[ParametersLike] | None, n_tasks: int) -> None:
    """Refuse what :func:`parameter_lists` refuses; in the usual case without a look at the parameters' memory."""
    if heads is not None:
        _check_heads(heads, n_tasks)
    if not _core.distinct(nn.Parameter, shared, heads):
        parameter_lists(shared, heads, n_tasks)


def _check_heads(heads: Sequence[ParametersLike], n_tasks: int) -> None:
    if type(heads) not in (list, tuple) and (isinstance(heads, Tensor) or not isinstance(heads, Sequence)):
        raise TypeError(f"`heads` must be a sequence of n_tasks = {n_tasks} iterables; got {describe(heads)}.")
    if len(heads) != n_tasks:
        raise ValueError(f"`heads` must have n_tasks = {n_tasks} entries; got {len(heads)}.")


def _listed(name: str, parameters: ParametersLike) -> list[Tensor]:
    """Return what is given as a list: an iterator can be read once."""
    if isinstance(parameters, Tensor):
        return [parameters]
    try:
        return list(parameters)
    except TypeError:
        raise TypeError(f"`{name}` must be an iterable of parameters; got {describe(parameters)}.") from None


def _trainable(name: str, parameters: list[Tensor]) -> list[Tensor]:
    kept = []
    for i, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor):
            raise TypeError(f"`{name}` must hold tensors; entry {i} is {describe(parameter)}.")
        if parameter.requires_grad:
            if not parameter.is_leaf:
                raise ValueError(f"`{name}` must hold leaf tensors (parameters); entry {i} is computed from others.")
            kept.append(parameter)
    return kept


def _check_disjoint(shared: list[Tensor] | None, heads: list[list[Tensor]] | None) -> None:
    """Refuse a parameter that stands in two lists, or twice in one."""
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
    for i in usual.place(parameters, gradients):
        _add(parameters[i], gradients[i])


def copies(gradients: Sequence[Sequence[Tensor | None]], factors: FloatArray | None = None) -> list[Tensor | None]:
    """Return copies of all gradients in lists, those of each list times a factor, one after the other.

    The gradients of autograd may be expanded, or those of others too.
    """
    made, left = usual.copies(gradients, factors)
    if left:
        flat = [(gradient, i) for i, entries in enumerate(gradients) for gradient in entries]
        for k in left:
            gradient, i = flat[k]
            copy = made[k] = _owned(gradient)
            if copy is not None and factors is not None:
                copy.mul_(float(factors[i]))
    return made


def _owned(gradient: Tensor | None) -> Tensor | None:
    """Return a gradient that may be written to."""
    if gradient is None:
        return None
    if gradient.layout is not torch.strided:  # such as the sparse ones of embeddings
        return gradient.clone()
    return gradient.clone(memory_format=torch.contiguous_format)


def _add(parameter: Tensor, gradient: Tensor | None) -> None:
    if gradient is None:
        return
    if parameter.grad is None:
        parameter.grad = gradient.to(parameter)
        return
    with torch.no_grad():
        parameter.grad += gradient.to(parameter.grad)
