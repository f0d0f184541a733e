"""Black-box multi-objective optimization by stochastic multi-objective gradients (ASMG).

:class:`ASMG` is the ask/tell optimizer, :func:`minimize` the one-call interface, :func:`min_norm_weights` the exact
simplex QP behind it.
"""

from ._state import StateError
from ._version import __version__
from .asmg import ASMG
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
    "min_norm_weights",
    "minimize",
]
