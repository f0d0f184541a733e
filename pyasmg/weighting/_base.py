"""What a weighting rule sees and answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Generation(NamedTuple):
    """What is known of one generation when its weights are chosen; read-only.

    Attributes
    ----------
    number : int
        Generations told before this one (0 for the first).
    gram : ndarray, shape (m, m)
        Gram matrix of the objectives' natural gradients, Eq. 4.11; of the scaled objectives where
        ``scale_objectives`` is on.
    mean, median : ndarray, shape (m,)
        Of each objective over the valid rows, in the user's units.
    scale : ndarray, shape (m,)
        Population standard deviation of each objective in this generation; 0 for a constant one.
    active : ndarray of bool, shape (m,)
        Objectives that varied in this generation (all of them where ``scale_objectives`` is off).
    previous : ndarray, shape (m,)
        The weights of the generation before; uniform at first.
    """

    number: int
    gram: FloatArray
    mean: FloatArray
    median: FloatArray
    scale: FloatArray
    active: npt.NDArray[np.bool_]
    previous: FloatArray


class Weighting(ABC):
    """A rule that chooses the weights of the objectives.

    A subclass gives :meth:`__call__`; one that remembers something between generations gives
    :meth:`state_dict` and :meth:`load_state_dict` as well, so that runs resume exactly.
    """

    name: ClassVar[str]
    #: Whether the momentum of Eq. 4.17 is applied to what the rule answers.
    momentum: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, generation: Generation) -> FloatArray:
        """Return m weights >= 0; they are normalised to sum 1."""

    def spec(self) -> Any:
        """Return plain data from which :func:`make_weighting` makes this rule again."""
        return self.name

    def state_dict(self) -> dict[str, Any]:
        """Return what the rule remembers, as plain data and arrays."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        if state:
            raise ValueError(f"weighting {self.name!r} keeps no state; got keys {sorted(state)}.")
