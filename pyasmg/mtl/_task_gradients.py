"""The autograd work of one step: the gradient of each task as a row of one matrix, and the way back to ``.grad``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import _engine
from ._distributed import mean, mean_array, mean_gradients
from ._engine import Gradients, pass_for
from ._host_matrix import kept_matrix
from ._losses import Losses
from ._parameters import accumulate, copies, feature_list, leaves, parameter_lists
from ._running_average import Goal, as_floats, follow
from ._tensors import usual
from ._types import FloatArray, ParametersLike, TensorsLike


class TaskGradients:
    """Per-task gradients on the shared parameters, or on the representation; and on the heads.

    Nothing is written to ``.grad`` before :meth:`write` or :meth:`backward_weighted`.
    """

    def __init__(
        self,
        losses: Losses,
        shared: ParametersLike | None,
        heads: Sequence[ParametersLike] | None,
        features: TensorsLike | None,
        scale: float,
        retain_graph: bool,
        group: Any,
    ) -> None:
        self._losses = losses
        self._scale = scale
        self._retain_graph = retain_graph
        self._group = group
        self._features = None if features is None else feature_list(features)
        self._n_tasks = losses.values.size
        if shared is None:
            if self._features is None:
                raise ValueError("`shared` or `features` must be given; both are None.")
            shared = leaves(self._features)
        trunk, own = parameter_lists(shared, heads, self._n_tasks)
        if not trunk:
            raise ValueError("`shared` must hold at least one parameter that requires a gradient; got none.")
        self._disjoint = own is not None
        if own is None:
            known = {id(parameter) for parameter in trunk}
            rest = [leaf for leaf in leaves(losses.graph, self._features or ()) if id(leaf) not in known]
            own = [rest] * self._n_tasks
        self._shared, self._heads = tuple(trunk), tuple(map(tuple, own))
        self._head_gradients: list[Sequence[Tensor | None]] = []
        self.targets = self._shared if self._features is None else tuple(self._features)

    def compute(self, workspace: Tensor | None = None) -> Tensor:
        """Return the matrix of shape (m, d), in ``workspace`` where that fits; one backward pass per task."""
        matrix = self.memory(workspace)
        self._passes(matrix, None, self._store)
        if self._features is None:
            mean(matrix, self._group)
        return matrix

    def follow(self, matrix: Tensor, goals: Sequence[Goal]) -> list[float]:
        """Move each row of a running average as the backward pass of its task ends, and return the gradients' norms.

        Over a group, their mean is followed. A row stays where the gradient is not finite, see :func:`follow`.
        """

        def store(_: Tensor | None, task: int, found: Gradients) -> float | Tensor:
            vector = torch.empty_like(matrix[task])
            _fill(vector, self._of_targets(task, found), self._sizes)
            return follow(matrix[task], mean(vector, self._group), goals[task])

        return as_floats(self._passes(matrix if self._group is None else None, goals, store))

    def memory(self, workspace: Tensor | None) -> Tensor:
        """Return memory for the rows: ``workspace`` where that fits, zeros elsewhere."""
        targets = self.targets
        if workspace is not None and usual.fits(workspace, self._n_tasks, targets):
            return workspace
        return kept_matrix(workspace, (self._n_tasks, sum(self._sizes)), _row_type(targets), targets[0].device)

    def _passes(self, matrix: Tensor | None, goals: Sequence[Goal] | None, store: Callable[..., Any]) -> list[Any]:
        """Take the passes; what the core does not bring into a row of the matrix, as is or with goals, is stored."""
        run = pass_for(itertools.chain(self.targets, *self._heads))
        keep = self._retain_graph or self._features is not None
        starts = self._losses.starts(self._scale)
        self._head_gradients, norms = usual.passes(run, starts, self.targets, self._heads, matrix, goals, keep, store)
        return norms

    def _store(self, matrix: Tensor, task: int, found: Gradients) -> None:
        """Write the gradient of one task into its row."""
        _fill(matrix[task], self._of_targets(task, found), self._sizes)

    @property
    def _sizes(self) -> list[int]:
        return [target.numel() for target in self.targets]

    def _of_targets(self, task: int, found: Gradients) -> Gradients:
        gradients = found[: len(self.targets)]
        if all(gradient is None for gradient in gradients):
            name = "shared parameter" if self._features is None else "entry of `features`"
            raise ValueError(f"the loss of each task must depend on some {name}; that of task {task} does not.")
        return gradients

    def gram(self, gram: FloatArray) -> FloatArray:
        """Return the Gram matrix of the unscaled gradients of the joined batch."""
        if self._features is not None and self._group is not None:
            # each process holds other rows of the representation: the inner products add up, of means over the group
            size = torch.distributed.get_world_size(self._group)
            gram = mean_array(gram, self._group, self.targets[0].device) / size
        return gram if self._scale == 1.0 else gram / self._scale / self._scale

    def write(self, pieces: list[Tensor], head_weights: FloatArray | None) -> None:
        """Accumulate the direction into the shared parameters, and the gradients of the heads, weighted or not."""
        own, found = self._of_heads(head_weights)  # what needs memory, before anything is written
        if self._features is None:
            accumulate([*self._shared, *own], [*pieces, *found])
            return
        starts = [piece.to(feature) for piece, feature in zip(pieces, self._features, strict=True)]
        self._through_trunk(starts)
        accumulate(own, found)

    def backward_weighted(self, weights: FloatArray, head_weights: FloatArray) -> None:
        """Accumulate for weights that are known: one backward pass, and one through the heads if theirs differ."""
        own = tuple(_unique(parameter for head in self._heads for parameter in head))
        same = bool((weights == head_weights).all())
        keep = self._retain_graph or not same
        inputs = self._shared + own if same else self._shared
        found = self._losses.grad(weights * self._scale, inputs, keep)
        if not same and own:
            found += self._losses.grad(head_weights * self._scale, own, self._retain_graph)
            inputs = inputs + own
        means = mean_gradients(inputs, found, self._group)
        accumulate(inputs, copies([means]))

    def _through_trunk(self, starts: list[Tensor]) -> None:
        features = self._features or []
        if self._group is None:
            _engine.accumulate(features, starts, self._shared, self._retain_graph)
            return
        found = _engine.gradients(features, starts, self._shared, self._retain_graph)
        accumulate(self._shared, mean_gradients(self._shared, found, self._group))

    def _of_heads(self, weights: FloatArray | None) -> tuple[Sequence[Tensor], Sequence[Tensor | None]]:
        """Return the parameters of the heads, and their gradients, in memory of their own."""
        if self._group is None and self._disjoint:
            return list(itertools.chain.from_iterable(self._heads)), copies(self._head_gradients, weights)
        parameters = _unique(parameter for head in self._heads for parameter in head)
        total: dict[int, Tensor] = {}
        factors = [1.0] * self._n_tasks if weights is None else weights.tolist()
        for head, found, weight in zip(self._heads, self._head_gradients, factors, strict=True):
            for parameter, gradient in zip(head, found, strict=True):
                if gradient is None:
                    continue
                if id(parameter) in total:
                    total[id(parameter)].add_(gradient, alpha=weight)
                else:
                    total[id(parameter)] = gradient * weight
        sums = [total.get(id(parameter)) for parameter in parameters]
        return parameters, mean_gradients(parameters, sums, self._group)


def _row_type(tensors: Sequence[Tensor]) -> torch.dtype:
    """Single precision at least: weights may leave the range of half precision."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def _fill(row: Tensor, gradients: Sequence[Tensor | None], sizes: Sequence[int]) -> None:
    """Write the gradients one after the other into a row; zeros where there is none."""
    dtype, device = row.dtype, row.device
    for gradient in gradients:
        if gradient is None or gradient.dtype is not dtype or gradient.device != device or gradient.is_sparse:
            break
    else:
        torch.cat([gradient.reshape(-1) for gradient in gradients if gradient is not None], out=row)
        return
    for part, gradient in zip(torch.split(row, list(sizes)), gradients, strict=True):
        if gradient is None:
            part.zero_()
        else:
            part.copy_((gradient.to_dense() if gradient.is_sparse else gradient).reshape(-1))


def _unique(tensors: Any) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())
