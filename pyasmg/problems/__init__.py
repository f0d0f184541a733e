"""Test problems: the thesis's synthetic ones (Eqs. 4.21-4.23), a real one on scikit-learn's digits, and pymoo's.

Each name is imported when it is first used, so that this package costs nothing until then.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .digits import DigitsProblem
    from .mixed_ellipsoid_rastrigin import MixedEllipsoidRastrigin
    from .pymoo_problem import from_pymoo
    from .shifted_l1 import ShiftedL1Ellipsoid
    from .shifted_l_half import ShiftedLHalfEllipsoid

__all__ = ["DigitsProblem", "MixedEllipsoidRastrigin", "ShiftedL1Ellipsoid", "ShiftedLHalfEllipsoid", "from_pymoo"]

_MODULES = {
    "DigitsProblem": "digits",
    "MixedEllipsoidRastrigin": "mixed_ellipsoid_rastrigin",
    "ShiftedL1Ellipsoid": "shifted_l1",
    "ShiftedLHalfEllipsoid": "shifted_l_half",
    "from_pymoo": "pymoo_problem",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
