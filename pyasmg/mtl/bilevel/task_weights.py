"""Multi-task learning with task weights that are learned on validation data (Eq. 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..._validate import describe, integer, vector
from .._types import FloatArray
from ._method import BilevelMethod
from .constraints import Constraint, Simplex, Softmax
from .problem import BilevelProblem

LossesFunction = Callable[[Callable[..., Any], Any], Tensor | Sequence[Tensor]]
Method = TypeVar("Method", bound=BilevelMethod)
_END = object()


class TaskWeights(BilevelProblem):
    r"""Learn the weights of the tasks: each task's validation loss is an objective (thesis, Eq. 3.2).

    .. math:: \min_{\alpha \in \Delta^{m-1}, \omega} (L_1(\omega, D_1^{val}), \dots, L_m(\omega, D_m^{val}))
              \quad \text{s.t.} \quad \omega \in \arg\min_\omega \sum_i \alpha_i L_i(\omega, D_i^{tr})

    Around any model and any data loaders::

        problem = TaskWeights(model, lambda forward, batch: losses(forward(batch[0]), batch[1]), n_tasks=3)
        method = problem.method(FORUM, weights_lr=1e-3, omega_optimizer=torch.optim.Adam(model.parameters()))
        batches = Batches(upper=validation_loader, lower=training_loader)
        for _ in range(1000):
            method.step(batches)

    Parameters
    ----------
    model : torch.nn.Module
        Its parameters that require a gradient are omega; the method trains them in place.
    losses : callable
        ``losses(forward, batch)`` returns the m losses of a batch as a sequence of scalars or a tensor of shape (m,).
        ``forward`` stands for the model: call it with whatever the model takes.
    n_tasks : int
        m.
    weights : sequence of m floats, optional
        At the start; positive, they are scaled to the sum 1. All alike by default.
    parametrization : {"softmax", "simplex"}
        How the weights stay on the simplex: alpha is the softmax of what the optimizer steps, as in the authors' code,
        or is projected after each step.

    Attributes
    ----------
    alpha : Tensor, shape (m,)
        What the optimizer of the upper level steps.
    constraint : Constraint
        That belongs to it.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: LossesFunction,
        n_tasks: int,
        *,
        weights: Sequence[float] | None = None,
        parametrization: Literal["softmax", "simplex"] = "softmax",
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"`model` must be a torch.nn.Module; got {describe(model)}.")
        if not callable(losses):
            raise TypeError(f"`losses` must be a callable (forward, batch); got {describe(losses)}.")
        if parametrization not in ("softmax", "simplex"):
            raise ValueError(f"`parametrization` must be 'softmax' or 'simplex'; got {describe(parametrization)}.")
        self.model, self.losses, self.n_tasks = model, losses, integer("n_tasks", n_tasks, 1)
        start = vector("weights", 1.0 if weights is None else weights, self.n_tasks)
        if start.min() <= 0.0:
            raise ValueError(f"`weights` must be positive; got {start.min():g} for task {int(start.argmin())}.")
        values = torch.as_tensor(start / start.sum())
        self.constraint: Constraint = Simplex() if parametrization == "simplex" else Softmax()
        if parametrization == "softmax":
            values = values.log() - values.log().mean()
        first = next((p for p in model.parameters() if p.requires_grad), None)
        if first is None:
            raise ValueError("`model` must have a parameter that requires a gradient; it has none.")
        self.alpha = values.to(first.device, first.dtype).requires_grad_()

    @property
    def weights(self) -> FloatArray:
        """The weights of the tasks now, shape (m,), with the sum 1: a copy."""
        found: FloatArray = self.constraint.transform(self.alpha.detach()).double().cpu().numpy().copy()
        return found

    def method(self, kind: type[Method], *, weights_lr: float = 1e-3, **options: Any) -> Method:
        """Return a method for this problem: ``kind(self, self.alpha, self.model, ...)`` with Adam for the weights.

        Parameters
        ----------
        kind : type
            Such as :class:`FORUM`.
        weights_lr : float
            Of Adam on alpha; 0.001 in the thesis (sec. 3.7.2).
        options
            Those of the method, `omega_optimizer` among them; `alpha_optimizer` takes the place of Adam.
        """
        options.setdefault("constraint", self.constraint)
        if "alpha_optimizer" not in options:
            options["alpha_optimizer"] = torch.optim.Adam([self.alpha], lr=weights_lr)
        return kind(self, self.alpha, self.model, **options)

    def upper(self, alpha: Any, omega: Any, batch: Any) -> Tensor:
        """Return the losses on a validation batch, shape (m,)."""
        return self._losses(omega, batch)

    def lower(self, alpha: Any, omega: Any, batch: Any) -> Tensor:
        """Return the weighted sum of the losses on a training batch."""
        total: Tensor = alpha @ self._losses(omega, batch)
        return total

    def _losses(self, omega: dict[str, Tensor], batch: Any) -> Tensor:
        def forward(*inputs: Any, **named: Any) -> Any:
            return functional_call(self.model, omega, inputs, named)

        found = self.losses(forward, batch)
        if not isinstance(found, Tensor):
            if not isinstance(found, Sequence) or not all(isinstance(loss, Tensor) for loss in found):
                raise TypeError(f"`losses` must return {self.n_tasks} scalar tensors; got {describe(found)}.")
            wrong = next((i for i, loss in enumerate(found) if loss.numel() != 1), None)
            if wrong is not None:
                raise ValueError(
                    f"`losses` must return scalar tensors; that of task {wrong} has shape {tuple(found[wrong].shape)}."
                )
            found = torch.stack([loss.reshape(()) for loss in found]) if found else torch.zeros(0)
        if found.shape != (self.n_tasks,):
            raise ValueError(f"`losses` must return n_tasks = {self.n_tasks} losses; got shape {tuple(found.shape)}.")
        return found.to(self.alpha.dtype)


class TaskLoaders:
    """Data loaders of the tasks as one: each of its batches is a list with one batch of every task.

    An epoch is as long as that of the longest loader; the others start again.

    Parameters
    ----------
    loaders : sequence of m iterables
        Each can be iterated anew.
    """

    def __init__(self, loaders: Sequence[Iterable[Any]]) -> None:
        self.loaders = list(loaders)
        if not self.loaders:
            raise ValueError("`loaders` must hold at least one; got none.")
        for task, loader in enumerate(self.loaders):
            if not isinstance(loader, Iterable) or isinstance(loader, Iterator):
                raise TypeError(
                    f"`loaders` must hold iterables that can be iterated anew; entry {task} is {describe(loader)}."
                )

    def __len__(self) -> int:
        lengths = [len(loader) for loader in self.loaders if isinstance(loader, Sized)]
        if len(lengths) < len(self.loaders):
            raise TypeError("a loader without a length: that of all together is unknown.")
        return max(lengths)

    def __iter__(self) -> Iterator[list[Any]]:
        iterators = [iter(loader) for loader in self.loaders]
        ended: set[int] = set()
        while True:
            found = [next(iterator, _END) for iterator in iterators]
            over = [task for task, batch in enumerate(found) if batch is _END]
            ended.update(over)
            if len(ended) == len(found):
                return
            for task in over:
                iterators[task] = iter(self.loaders[task])
                found[task] = next(iterators[task], _END)
                if found[task] is _END:
                    raise ValueError(f"the loader of task {task} is empty.")
            yield found
