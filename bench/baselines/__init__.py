"""What pyasmg is measured against, one optimizer per file, behind one ask/tell interface.

>>> from bench.baselines import ES
>>> es = ES([1.0, 1.0], 0.1, popsize=10, seed=1)
>>> X = es.ask()
>>> es.tell(X, (X**2).sum(axis=1))

Each takes ``(x0, sigma0, popsize=None, seed=0, **options)``, minimises one scalar objective, and has ``mean`` and
``stop()``. The package behind a baseline is imported when the baseline is made. The names by which the benchmarks ask
for them, with their settings, are in :mod:`bench.harness.optimizers`.
"""

from ._base import Baseline
from .bes import BES
from .cma_diagonal import CmaDiagonal
from .cma_full import CmaFull
from .es import ES
from .mmes import MMES
from .random_search import RandomSearch
from .sep_cma import SepCma

__all__ = ["BES", "ES", "MMES", "Baseline", "CmaDiagonal", "CmaFull", "RandomSearch", "SepCma"]
