"""A trunk, NORMAL's block, and a head per task as one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from .._validate import describe
from ._types import FloatArray
from .normal import NormalBlock


class NormalMTL(nn.Module):
    """A multi-task model with NORMAL's block between trunk and heads; any balancer trains it.

    ::

        model = pyasmg.mtl.NormalMTL(trunk, heads, width=512)
        optimizer = torch.optim.Adam(model.parameter_groups(lr=1e-4, position_lr=1e-3))
        losses = [loss(output, target) for output, target in zip(model(batch), targets)]
        balancer.backward(losses, shared=model.shared_parameters(), heads=model.head_parameters())
        optimizer.step()

    Parameters
    ----------
    trunk : torch.nn.Module
        From a batch to its representation.
    heads : sequence of m modules
        From :math:`z(p_i)` to the prediction of task i.
    block : NormalBlock, optional
        A block of your own.
    options
        Those of :class:`NormalBlock`, `width` among them, where no block is given.

    Raises
    ------
    TypeError, ValueError
        For a module that is none, a block for another number of tasks, options beside a block, or without either.

    Notes
    -----
    A position belongs to its task, so it stands among the parameters of the task's head; u, g and omega are shared.
    For gradients on the representation pass ``features=features`` with ``features = model.features(batch)`` and
    ``losses`` from ``model.predict(features)``: one tensor per task.
    """

    def __init__(
        self, trunk: nn.Module, heads: Iterable[nn.Module], *, block: NormalBlock | None = None, **options: Any
    ) -> None:
        super().__init__()
        if not isinstance(trunk, nn.Module):
            raise TypeError(f"`trunk` must be a torch.nn.Module; got {describe(trunk)}.")
        if isinstance(heads, nn.Module) and not isinstance(heads, nn.ModuleList):
            raise TypeError(f"`heads` must be a sequence of modules; got one {type(heads).__name__}.")
        found = list(heads)
        for task, head in enumerate(found):
            if not isinstance(head, nn.Module):
                raise TypeError(f"`heads` must hold modules; entry {task} is {describe(head)}.")
        if block is None:
            if "width" not in options:
                raise ValueError("`width`, of the representation, or `block` must be given; got neither.")
            block = NormalBlock(len(found), **options)
        elif options:
            raise ValueError(f"options of the block cannot stand beside `block`; got {', '.join(sorted(options))}.")
        if not isinstance(block, NormalBlock):
            raise TypeError(f"`block` must be a NormalBlock; got {describe(block)}.")
        if block.n_tasks != len(found):
            raise ValueError(f"`heads` must have n_tasks = {block.n_tasks} entries, as `block`; got {len(found)}.")
        self.trunk, self.block, self.heads = trunk, block, nn.ModuleList(found)

    @property
    def positions(self) -> FloatArray:
        """The positions of the tasks now, shape (m,)."""
        return self.block.positions

    def features(self, inputs: Any) -> list[Tensor | None]:
        """Return :math:`z(p_i)` for each task.

        Parameters
        ----------
        inputs : object
            What the trunk takes; or a list of m of them where each task has inputs of its own, None for a task
            without.
        """
        if isinstance(inputs, list):
            if len(inputs) != self.block.n_tasks:
                raise ValueError(
                    f"a list of inputs must have n_tasks = {self.block.n_tasks} entries; got {len(inputs)}."
                )
            found: list[Tensor | None] = self.block([None if entry is None else self.trunk(entry) for entry in inputs])
        else:
            found = self.block(self.trunk(inputs))
        return found

    def predict(self, features: Sequence[Tensor | None]) -> list[Any]:
        """Return the prediction of each task from what :meth:`features` returned."""
        return [None if z is None else head(z) for head, z in zip(self.heads, features, strict=True)]

    def forward(self, inputs: Any) -> list[Any]:
        """Return the prediction of each task."""
        return self.predict(self.features(inputs))

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the trunk, and of the flow."""
        positions = {id(parameter) for parameter in self.position_parameters()}
        return [
            *self.trunk.parameters(),
            *(parameter for parameter in self.block.parameters() if id(parameter) not in positions),
        ]

    def head_parameters(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each task: of its head, and its position."""
        return [
            [*head.parameters(), position]
            for head, position in zip(self.heads, self.position_parameters(), strict=True)
        ]

    def position_parameters(self) -> list[nn.Parameter]:
        """Return the position of each task, or its logarithm with ``form="exp"``."""
        return list(self.block.coordinates)

    def parameter_groups(self, *, lr: float, position_lr: float) -> list[dict[str, Any]]:
        """Return groups for an optimizer, where positions have a learning rate of their own and no weight decay."""
        own = {id(parameter) for parameter in self.position_parameters()}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in own]
        return [
            {"params": rest, "lr": lr},
            {"params": self.position_parameters(), "lr": position_lr, "weight_decay": 0.0},
        ]
