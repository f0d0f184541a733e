"""Types that the modules of this package share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

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
