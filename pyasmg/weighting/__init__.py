"""How the objectives are weighed in each generation: one small replaceable part, one rule per file.

==============  ==================================================  ===================================================
``weighting=``  what it aims at                                     when to use it
==============  ==================================================  ===================================================
``"pareto"``    a Pareto-stationary point: the direction that       the default; no preference, objectives in any units,
                descends all objectives at once (simplex QP)        duplicated or strongly conflicting objectives
``"equal"``     the plain average (ASMG-EW)                         objectives that are equally important samples of
                                                                    one thing
``"level"``     the objectives whose values are worst, gently       losses in the same unit; a good worst case without
                                                                    giving up the average
``"chebyshev"`` the worst objective, strongly (smooth maximum)      losses in the same unit; the worst case is what
                                                                    counts
sequence        your own fixed trade-off                            known prices or priorities
callable        ``rule(generation) -> (m,)``                        everything else
==============  ==================================================  ===================================================

The weights multiply the *scaled* objectives where ``scale_objectives`` is on (the default).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ._base import Generation, Weighting
from .chebyshev import Chebyshev
from .custom import Custom
from .equal import Equal
from .fixed import Fixed
from .level import Level
from .pareto import Pareto

__all__ = [
    "Chebyshev",
    "Custom",
    "Equal",
    "Fixed",
    "Generation",
    "Level",
    "Pareto",
    "Weighting",
    "make_weighting",
]

WeightingLike = str | Sequence[float] | dict[str, Any] | Callable[[Generation], Any] | Weighting

_BY_NAME: dict[str, type[Weighting]] = {
    "pareto": Pareto,
    "equal": Equal,
    "level": Level,
    "chebyshev": Chebyshev,
}


def make_weighting(spec: WeightingLike) -> Weighting:
    """Turn what the user wrote for ``weighting=`` into a rule."""
    if isinstance(spec, Weighting):
        return spec
    if isinstance(spec, str):
        if spec not in _BY_NAME:
            names = ", ".join(repr(name) for name in _BY_NAME)
            raise ValueError(f"`weighting` must be one of {names}, a sequence of weights or a callable; got {spec!r}.")
        return _BY_NAME[spec]()
    if isinstance(spec, dict):
        return _from_dict(spec)
    if callable(spec):
        return Custom(spec)
    if isinstance(spec, (Sequence, np.ndarray)):
        return Fixed(spec)
    raise TypeError(f"`weighting` must be a name, a sequence of weights or a callable; got {type(spec).__name__}.")


def _from_dict(spec: dict[str, Any]) -> Weighting:
    options = dict(spec)
    name = options.pop("name", None)
    if name not in ("level", "chebyshev"):
        raise ValueError(f"`weighting` as a dictionary must have name 'level' or 'chebyshev'; got {name!r}.")
    try:
        return (Level if name == "level" else Chebyshev)(**options)
    except TypeError as error:
        raise TypeError(f"`weighting` {name!r}: {str(error).rstrip('.')}.") from None
