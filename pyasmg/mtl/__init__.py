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

from . import bilevel, metrics
from ._base import Balancer, LossBalancer
from ._diagnostics import Diagnostics
from ._gradient import GradientBalancer, GramBalancer
from .aligned_mtl import AlignedMTL
from .bilb4mtl import BiLB4MTL
from .cagrad import CAGrad
from .dwa import DWA
from .ew import EW, LS
from .fairgrad import FairGrad
from .famo import FAMO
from .go4align import GO4Align
from .graddrop import GradDrop
from .gradnorm import GradNorm
from .gradvac import GradVac
from .imtl_g import IMTLG
from .imtl_l import IMTLL
from .mgda import MGDA
from .moco import MoCo
from .nash_mtl import NashMTL
from .normal import NormalBlock
from .normal_mtl import NormalMTL
from .normal_plot import plot_positions
from .pcgrad import PCGrad
from .performance import Performance
from .performance_informed import PerformanceInformed
from .pivrg import PIVRG
from .plot import plot_diagnostics
from .rlw import RLW
from .rotograd import RotoGrad
from .si import SI
from .smooth_chebyshev import STCH, LogSmoothChebyshev, SmoothChebyshev
from .upgrad import UPGrad
from .uw import UW

#: Every method by its name; an alias stands once.
METHODS: dict[str, type[Balancer]] = {
    method.__name__: method
    for method in (
        AlignedMTL,
        BiLB4MTL,
        CAGrad,
        DWA,
        EW,
        FairGrad,
        FAMO,
        GO4Align,
        GradDrop,
        GradNorm,
        GradVac,
        IMTLG,
        IMTLL,
        LogSmoothChebyshev,
        MGDA,
        MoCo,
        NashMTL,
        PCGrad,
        PIVRG,
        RLW,
        RotoGrad,
        SI,
        SmoothChebyshev,
        UPGrad,
        UW,
    )
}

__all__ = [
    "DWA",
    "EW",
    "FAMO",
    "IMTLG",
    "IMTLL",
    "LS",
    "METHODS",
    "MGDA",
    "PIVRG",
    "RLW",
    "SI",
    "STCH",
    "UW",
    "AlignedMTL",
    "Balancer",
    "BiLB4MTL",
    "CAGrad",
    "Diagnostics",
    "FairGrad",
    "GO4Align",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientBalancer",
    "GramBalancer",
    "LogSmoothChebyshev",
    "LossBalancer",
    "MoCo",
    "NashMTL",
    "NormalBlock",
    "NormalMTL",
    "PCGrad",
    "Performance",
    "PerformanceInformed",
    "RotoGrad",
    "SmoothChebyshev",
    "UPGrad",
    "bilevel",
    "metrics",
    "plot_diagnostics",
    "plot_positions",
]
