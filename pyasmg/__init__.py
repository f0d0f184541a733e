"""Black-box multi-objective optimization by stochastic multi-objective gradients (ASMG).

:class:`ASMG` is the ask/tell optimizer, :func:`minimize` the one-call interface, :func:`min_norm_weights` the exact
simplex QP behind it, :func:`fair_weights` the weights of Nash-MTL, FairGrad and PIVRG. ``pyasmg.mtl`` holds the
multi-task methods for PyTorch.
"""

import importlib as _importlib
from typing import Any as _Any

from ._state import StateError
from ._version import __version__
from .asmg import ASMG
from .fair_weights import fair_weights
from .minimize import EvaluationError, minimize
from .result import Failure, Result
from .simplex_qp import min_norm_weights

__all__ = [
    "ASMG",
    "EvaluationError",
    "Failure",
    "Result",
    "StateError",
    "__version__",
    "fair_weights",
    "min_norm_weights",
    "minimize",
]


def __getattr__(name: str) -> _Any:
    """Import ``pyasmg.mtl`` when it is asked for: it needs PyTorch."""
    if name == "mtl":
        return _importlib.import_module(".mtl", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
