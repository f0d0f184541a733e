"""Black-box multi-objective optimization by stochastic multi-objective gradients (ASMG).

:class:`ASMG` is the ask/tell optimizer, :func:`minimize` the one-call interface, :func:`min_norm_weights` the exact
simplex QP behind it, :func:`fair_weights` the weights of Nash-MTL, FairGrad and PIVRG. ``pyasmg.evaluation`` holds
the ways in which objective values are asked for, ``pyasmg.store`` the file that a run survives in, ``pyasmg.mtl`` the
multi-task methods for PyTorch, ``pyasmg.clip`` the tuning of CLIP prompts.
"""

import importlib as _importlib
from typing import Any as _Any

from ._cuda import cuda_available, cuda_info
from ._device_array import DeviceArray
from ._state import StateError
from ._store_lock import StoreError
from ._version import __version__
from .asmg import ASMG
from .evaluation import Retry
from .fair_weights import fair_weights
from .minimize import EvaluationError, minimize
from .result import Failure, Result
from .simplex_qp import min_norm_weights

__all__ = [
    "ASMG",
    "DeviceArray",
    "EvaluationError",
    "Failure",
    "Result",
    "Retry",
    "StateError",
    "StoreError",
    "__version__",
    "cuda_available",
    "cuda_info",
    "fair_weights",
    "min_norm_weights",
    "minimize",
]

#: Imported when they are asked for: ``pyasmg.store`` works without an import of its own, and ``mtl`` needs PyTorch.
_ON_DEMAND = ("callbacks", "clip", "mtl", "problems", "report", "store")


def __getattr__(name: str) -> _Any:
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _importlib.import_module(f".{name}", __name__)
