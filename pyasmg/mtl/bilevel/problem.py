"""What is to be optimised: two levels, and where their mini-batches come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..._validate import describe, integer

#: What a problem sees of alpha and omega: a tensor, or tensors by name.
Structure = Tensor | dict[str, Tensor]
UpperFunction = Callable[[Any, Any, Any], Tensor | Sequence[Tensor]]
LowerFunction = Callable[[Any, Any, Any], Tensor]


class BilevelProblem:
    r"""Minimise m objectives in alpha and omega, where omega minimises a lower level that depends on alpha (Eq. 3.3).

    .. math:: \min_{\alpha \in A, \omega} (F_1(\alpha, \omega), \dots, F_m(\alpha, \omega)) \quad \text{s.t.} \quad
              \omega \in \arg\min_\omega f(\alpha, \omega)

    Parameters
    ----------
    upper : callable
        ``upper(alpha, omega, batch)`` returns the m objectives: a tensor of shape (m,), or a sequence of m scalars.
    lower : callable
        ``lower(alpha, omega, batch)`` returns f, a scalar tensor.

    Notes
    -----
    Both functions see alpha and omega as they were given to the method: a tensor as a tensor, a dictionary as a
    dictionary, an ``nn.Module`` as a dictionary of its parameters, to be used as
    ``torch.func.functional_call(module, omega, (inputs,))``. They must use these arguments, not the module's own
    parameters, and must not write to them. A subclass may define the methods `upper` and `lower` instead.
    """

    upper: UpperFunction  # given, or a method of a subclass
    lower: LowerFunction

    def __init__(self, upper: UpperFunction | None = None, lower: LowerFunction | None = None) -> None:
        for name, function in (("upper", upper), ("lower", lower)):
            if function is None:
                if not hasattr(type(self), name):
                    raise TypeError(f"`{name}` must be a callable (alpha, omega, batch); got None.")
            elif not callable(function):
                raise TypeError(f"`{name}` must be a callable (alpha, omega, batch); got {describe(function)}.")
            else:
                setattr(self, name, function)


class Batches:
    """Mini-batches of the two levels, drawn one at a time.

    Parameters
    ----------
    upper, lower : iterable, optional
        Data loaders or anything else to iterate over. Where one ends it is iterated anew; an iterator, which cannot
        be, must not end. None: the functions of that level get the batch None.

    Notes
    -----
    ``state_dict()`` counts what was drawn; ``load_state_dict()`` draws as many again from the start, so that resuming
    is exact where the iterables give the same batches each time they are made.
    """

    def __init__(self, upper: Iterable[Any] | None = None, lower: Iterable[Any] | None = None) -> None:
        self._sources: dict[str, Iterable[Any] | None] = {"upper": upper, "lower": lower}
        for name, source in self._sources.items():
            if source is not None and not isinstance(source, Iterable):
                raise TypeError(f"`{name}` must be an iterable of batches or None; got {describe(source)}.")
        self._iterators: dict[str, Iterator[Any] | None] = dict.fromkeys(self._sources)
        self._drawn = dict.fromkeys(self._sources, 0)

    def next_upper(self) -> Any:
        """Return the next batch of the upper level."""
        return self._next("upper")

    def next_lower(self) -> Any:
        """Return the next batch of the lower level."""
        return self._next("lower")

    def _next(self, name: str) -> Any:
        source = self._sources[name]
        if source is None:
            return None
        for _ in range(2):  # an iterable that has ended is iterated anew, once
            iterator = self._iterators[name]
            if iterator is None:
                iterator = self._iterators[name] = iter(source)
            try:
                batch = next(iterator)
            except StopIteration:
                self._iterators[name] = None
                continue
            self._drawn[name] += 1
            return batch
        raise ValueError(
            f"`{name}` has no more batches; it gave {self._drawn[name]}. Pass an iterable, not an iterator."
        )

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of each level were drawn."""
        return dict(self._drawn)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Draw anew up to where the state was taken."""
        if set(state) != set(self._sources):
            raise ValueError(f"the state must have the entries {sorted(self._sources)}; got {sorted(state)}.")
        for name in self._sources:
            self._iterators[name], self._drawn[name] = None, 0
            for _ in range(integer(f"state[{name!r}]", state[name], 0)):
                self._next(name)


def upper_values(found: Tensor | Sequence[Tensor], n_objectives: int | None) -> Tensor:
    """Return the objectives as a tensor of shape (m,)."""
    expected = "(m,)" if n_objectives is None else f"({n_objectives},)"
    if not isinstance(found, Tensor):
        if not isinstance(found, Sequence) or not found or not all(isinstance(entry, Tensor) for entry in found):
            raise TypeError(f"`upper` must return a tensor of shape {expected}; got {describe(found)}.")
        found = torch.stack([entry.reshape(()) if entry.numel() == 1 else entry for entry in found])
    if found.ndim != 1 or found.numel() == 0 or (n_objectives is not None and len(found) != n_objectives):
        raise ValueError(f"`upper` must return a tensor of shape {expected}; got shape {tuple(found.shape)}.")
    return found


def lower_value(found: Any) -> Tensor:
    """Return the loss of the lower level, checked."""
    if not isinstance(found, Tensor):
        raise TypeError(f"`lower` must return a scalar tensor; got {describe(found)}.")
    if found.numel() != 1:
        raise ValueError(f"`lower` must return a scalar tensor; got shape {tuple(found.shape)}.")
    return found.reshape(())
