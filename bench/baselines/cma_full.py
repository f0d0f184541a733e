"""CMA-ES with a full covariance matrix (pycma)."""

from ._pycma import Pycma


class CmaFull(Pycma):
    """pycma with a full covariance matrix: O(d^2) memory, O(d^3) every few generations."""
