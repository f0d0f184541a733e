"""Types that the modules of this package share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

FloatArray = npt.NDArray[np.float64]
LossesLike = Tensor | Sequence[Tensor]
ParametersLike = Iterable[Tensor]
TensorsLike = Tensor | Sequence[Tensor]


class Scaler(Protocol):
    """What is used of a gradient scaler such as :class:`torch.amp.GradScaler`."""

    def scale(self, outputs: Tensor) -> Tensor:
        """Return ``outputs`` multiplied by the current factor."""


class Call(NamedTuple):
    """The arguments of one call of :meth:`Balancer.backward`."""

    losses: LossesLike
    shared: ParametersLike | None
    heads: Sequence[ParametersLike] | None
    features: TensorsLike | None
    retain_graph: bool
    scaler: Scaler | None
    group: Any
