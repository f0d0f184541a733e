"""What the networks share: a trunk, a representation, and a head per task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A trunk that makes a representation, and heads that turn it into predictions.

    A subclass sets ``heads``, and gives :meth:`features`, which returns one tensor that all heads see, or a list with
    one for each (None for a task that has no input).
    """

    heads: nn.ModuleList

    @abstractmethod
    def features(self, inputs: Any) -> Tensor | list[Tensor | None]:
        """Return the representation."""

    def predict(self, features: Tensor | Sequence[Tensor | None]) -> list[Any]:
        """Return the prediction of each task; None where there is no representation."""
        per_task = [features] * len(self.heads) if isinstance(features, Tensor) else features
        return [None if feature is None else head(feature) for head, feature in zip(self.heads, per_task, strict=True)]

    def forward(self, inputs: Any) -> list[Any]:
        """Return the prediction of each task."""
        return self.predict(self.features(inputs))

    def head_parameters(self) -> list[list[nn.Parameter]]:
        """Return the parameters of each task's own."""
        return [list(head.parameters()) for head in self.heads]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Return all others."""
        own = {id(parameter) for head in self.head_parameters() for parameter in head}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]
