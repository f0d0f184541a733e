"""What users pass as losses: checked once, kept as they came for the backward passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from .._validate import describe
from ._distributed import mean_array
from ._engine import accumulate, gradients
from ._tensors import usual
from ._types import FloatArray, LossesLike


class Losses:
    """The m losses of one step; without ``gradients``, their values are all that is asked for.

    Parameters
    ----------
    losses : sequence of m scalar tensors, or a tensor of shape (m,)
        What the user passed.
    n_tasks : int
        m.
    group : torch.distributed.ProcessGroup, optional
        The values are means over its processes. All of them refuse a loss that is not finite on one: a process that
        raised alone would leave the others waiting.
    gradients : bool
        Whether each of them must have one.

    Attributes
    ----------
    values : numpy.ndarray, shape (m,)
        The values in float64, on the host.
    """

    def __init__(self, losses: LossesLike, n_tasks: int, group: Any = None, *, gradients: bool = True) -> None:
        self.values: FloatArray
        self._vector: Tensor | None = None
        self._list: list[Tensor] = []
        if type(losses) in (list, tuple):
            found = usual.scalars(losses, n_tasks) if group is None else None
            if found is not None:
                self._list = list(losses)
                self.values = found
                return
        # not the usual case, or an error to be named
        if isinstance(losses, Tensor):
            if losses.shape != (n_tasks,):
                raise ValueError(f"`losses` must have shape (n_tasks,) = ({n_tasks},); got {tuple(losses.shape)}.")
            self._vector = losses
        else:
            self._list = _scalars(losses, n_tasks)
        graph = self.graph
        for dtype in {loss.dtype for loss in graph}:
            if not dtype.is_floating_point:
                raise TypeError(f"`losses` must be real floating-point tensors; got dtype {dtype}.")
        self.values = mean_array(np.array(self._read()), group, self.device)
        if not all(map(math.isfinite, values := self.values.tolist())):
            task, value = next(pair for pair in enumerate(values) if not math.isfinite(pair[1]))
            where = "" if group is None else " on a process of the group"
            raise ValueError(f"`losses` must be finite; task {task} has the loss {value}{where}.")
        if gradients and not all(needed := [loss.requires_grad for loss in graph]):
            raise ValueError(
                f"each of `losses` must require a gradient; the loss of task {needed.index(False)} does not."
            )

    def _read(self) -> list[float]:
        """Return the values; on a device, with one synchronisation."""
        if self._vector is not None:
            return cast("list[float]", self._vector.detach().double().tolist())
        if self.device.type == "cpu":
            return [loss.item() for loss in self._list]
        with torch.no_grad():
            scalars = self._list if self._is_uniform() else [loss.reshape(()).double() for loss in self._list]
            return cast("list[float]", torch.stack(scalars).tolist())

    def _is_uniform(self) -> bool:
        """Whether a list holds scalars of one type on one device."""
        first = self._list[0]
        return all(loss.ndim == 0 and loss.dtype is first.dtype and loss.device == first.device for loss in self._list)

    def starts(self, scale: float) -> list[tuple[tuple[Tensor], tuple[Tensor]]]:
        """Return for each task what its backward pass starts from, and the gradient there: its loss times ``scale``."""
        if self._vector is not None:
            each = torch.diag(torch.full_like(self._vector, scale, requires_grad=False))
            return [((self._vector,), (start,)) for start in each]
        made: list[tuple[tuple[Tensor], tuple[Tensor]]] | None = usual.starts(self._list, scale)
        return [((loss,), (_start(loss, scale),)) for loss in self._list] if made is None else made

    def backward(self, weights: FloatArray, retain_graph: bool) -> None:
        """Accumulate the gradient of the weighted sum of the losses into ``.grad`` of all leaves: one backward pass."""
        roots, starts = self._weighted(weights)
        accumulate(roots, starts, None, retain_graph)

    def grad(self, weights: FloatArray, inputs: Sequence[Tensor], retain_graph: bool) -> tuple[Tensor | None, ...]:
        """Return the gradient of the weighted sum of the losses: one backward pass."""
        roots, starts = self._weighted(weights)
        return gradients(roots, starts, inputs, retain_graph)

    def _weighted(self, weights: FloatArray) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return what a backward pass of the weighted sum starts from, and the gradients there."""
        if self._vector is not None:
            return [self._vector], [torch.from_numpy(weights).to(self._vector)]
        values = weights.tolist()
        if values.count(values[0]) == len(values):
            made = usual.starts(self._list, values[0])
            if made is not None:
                return self._list, list(made[0][1]) * len(values)
        # a list is started from as it is: to stack it first would cost more, and another node in the graph
        if self._is_uniform():
            return self._list, torch.from_numpy(weights).to(self._list[0]).unbind()
        return self._list, [_start(loss, weight) for loss, weight in zip(self._list, values, strict=True)]

    @property
    def graph(self) -> list[Tensor]:
        """The tensors whose graph is the whole graph."""
        return self._list if self._vector is None else [self._vector]

    @property
    def device(self) -> torch.device:
        return self.graph[0].device


def _scalars(losses: Sequence[Any], n_tasks: int) -> list[Tensor]:
    try:
        tensors = list(losses)
    except TypeError:
        raise TypeError(
            f"`losses` must be a tensor of shape ({n_tasks},) or a sequence of scalar tensors; got {describe(losses)}."
        ) from None
    if len(tensors) != n_tasks:
        raise ValueError(f"`losses` must have n_tasks = {n_tasks} entries; got {len(tensors)}.")
    for task, loss in enumerate(tensors):
        if not isinstance(loss, Tensor):
            raise TypeError(f"each of `losses` must be a scalar tensor; task {task} has {describe(loss)}.")
        if loss.ndim and loss.numel() != 1:
            raise ValueError(f"each of `losses` must be a scalar tensor; task {task} has shape {tuple(loss.shape)}.")
    return tensors


def _start(loss: Tensor, weight: float) -> Tensor:
    """Return what the backward pass of a weighted loss starts from."""
    start: Tensor = torch.scalar_tensor(weight, dtype=loss.dtype, device=loss.device)
    return start if loss.ndim == 0 else start.reshape(loss.shape)
