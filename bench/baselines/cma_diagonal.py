"""CMA-ES with a diagonal covariance matrix (pycma)."""

from ._pycma import Pycma


class CmaDiagonal(Pycma):
    """pycma with ``CMA_diagonal=True``: O(d) memory and time per candidate."""

    diagonal = True
