"""Units of the objectives.

Each objective is divided by a running geometric mean of its standard deviation over the generations, which remembers
about the last quarter of the run. The search is then exactly invariant to the units of each objective.

Why not by the standard deviation of the generation alone: on the Pareto set of two conflicting objectives their
standardised values cancel whatever their slopes are, and the search wanders there instead of settling (on problem
4.22 it never ends). Why not by the first generation's: an objective that shrinks faster than another is then lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import _core

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scaling:
    """Log of the unit of each objective, and in how many generations it varied; both of shape (m,)."""

    log_unit: FloatArray
    count: FloatArray

    @classmethod
    def start(cls, m: int) -> Scaling:
        """Nothing is known yet."""
        return cls(np.zeros(m), np.zeros(m))

    def follow(self, scale: FloatArray) -> tuple[FloatArray, Scaling]:
        """Return the generation's standard deviations in units of the updated scaling, and that scaling."""
        ratio, log_unit, count = _core.follow_scales(scale, self.log_unit, self.count)
        return ratio, Scaling(log_unit, count)
