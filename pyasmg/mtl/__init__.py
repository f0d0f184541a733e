"""Multi-task learning with PyTorch: every balancing method behind one call.

::

    balancer = pyasmg.mtl.PIVRG(n_tasks=3)
    balancer.backward(losses, shared=trunk.parameters(), heads=[head.parameters() for head in heads])
    optimizer.step()

``backward`` adds to ``.grad`` as ``loss.backward()`` does. :class:`LossBalancer` and :class:`GramBalancer` are the
bases of the methods; ``METHODS`` maps their names to them.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError('pyasmg.mtl needs PyTorch: pip install "pyasmg[torch]".') from error

from . import metrics
from ._base import Balancer, LossBalancer
from ._diagnostics import Diagnostics
from ._gradient import GradientBalancer, GramBalancer
from .bilb4mtl import BiLB4MTL
from .dwa import DWA
from .ew import EW, LS
from .fairgrad import FairGrad
from .famo import FAMO
from .go4align import GO4Align
from .imtl_l import IMTLL
from .mgda import MGDA
from .nash_mtl import NashMTL
from .performance import Performance
from .performance_informed import PerformanceInformed
from .pivrg import PIVRG
from .rlw import RLW
from .si import SI
from .smooth_chebyshev import STCH, LogSmoothChebyshev, SmoothChebyshev
from .uw import UW

#: Every method by its name; an alias stands once.
METHODS: dict[str, type[Balancer]] = {
    method.__name__: method
    for method in (
        BiLB4MTL,
        DWA,
        EW,
        FairGrad,
        FAMO,
        GO4Align,
        IMTLL,
        LogSmoothChebyshev,
        MGDA,
        NashMTL,
        PIVRG,
        RLW,
        SI,
        SmoothChebyshev,
        UW,
    )
}

__all__ = [
    "DWA",
    "EW",
    "FAMO",
    "IMTLL",
    "LS",
    "METHODS",
    "MGDA",
    "PIVRG",
    "RLW",
    "SI",
    "STCH",
    "UW",
    "Balancer",
    "BiLB4MTL",
    "Diagnostics",
    "FairGrad",
    "GO4Align",
    "GradientBalancer",
    "GramBalancer",
    "LogSmoothChebyshev",
    "LossBalancer",
    "NashMTL",
    "Performance",
    "PerformanceInformed",
    "SmoothChebyshev",
    "metrics",
]
