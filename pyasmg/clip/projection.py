"""From the d searched parameters to the embedding of the prompt: p = p0 + A v (Eq. 4.25)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .. import _core
from .._validate import integer, number, real_array

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

# The normals of A come from the last generation's counters, which no search reaches: A does not repeat a population.
_GENERATION = 2**32 - 1
_MATRIX_BITS = 13  # behind the binary point of a standard normal; |z| < 16 always (Box-Muller on 53 bits)
_MATRIX_WIDTH = _MATRIX_BITS + 4


class Projection:
    """A of shape (n_ctx * width, d) with entries N(0, std^2 / d), and p0 + A v.

    A v is computed exactly, and rounded once to float32: the entries of A are multiples of 2^-13 standard deviations,
    v is rounded to the bits that leave every partial sum exact in float64. So neither the order of summation nor
    fused multiply-adds matter, and client and server get the same bits on every machine.

    Parameters
    ----------
    d : int
        Number of searched parameters, 1 <= d <= 2^20.
    n_ctx, width : int
        Tokens of the prompt, and size of a token's embedding.
    std : float
        Standard deviation of the model's token embeddings, sigma_e.
    seed : int
        0 <= seed < 2^64.

    Attributes
    ----------
    matrix : ndarray, shape (n_ctx * width, d), float64
        A; made when it is first needed, read-only. 8 n_ctx width d bytes.
    """

    def __init__(self, d: int, n_ctx: int, width: int, std: float, seed: int) -> None:
        self.d = integer("d", d, 1, 2**20)
        self.n_ctx = integer("n_ctx", n_ctx, 1)
        self.width = integer("width", width, 1)
        self.std = number("std", std, low=0.0, strict=True)
        self.seed = integer("seed", seed, 0, 2**64 - 1)
        self._normals: FloatArray | None = None

    @property
    def unit(self) -> float:
        """Standard deviation of an entry of A: sigma_e / sqrt(d)."""
        return self.std / math.sqrt(self.d)

    @property
    def normals(self) -> FloatArray:
        """A in units of :attr:`unit`."""
        if self._normals is None:
            normals = np.empty((self.n_ctx * self.width, self.d))
            _core.sample_normals(self.seed, _GENERATION, 0, normals, 1)
            normals = np.round(normals * 2.0**_MATRIX_BITS) * 2.0**-_MATRIX_BITS
            normals.flags.writeable = False
            self._normals = normals
        return self._normals

    @property
    def matrix(self) -> FloatArray:
        """A."""
        return self.normals * self.unit

    def apply(self, V: npt.ArrayLike, start: npt.ArrayLike | None = None) -> Float32Array:
        """Return the prompts p0 + A v of all rows of V.

        Parameters
        ----------
        V : array_like, shape (N, d)
            A row that is not finite, or whose prompt overflows float32, gives a prompt of NaN.
        start : array_like, shape (n_ctx, width), optional
            p0; zero if not given.

        Returns
        -------
        ndarray, shape (N, n_ctx, width), float32

        Notes
        -----
        v is used with 53 - 17 - ceil(log2 d) bits (27 for d = 512) relative to its largest entry. O(N d n_ctx width).
        """
        rows = np.asarray(real_array("V", V, f"of shape (N, {self.d})"), dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.d:
            raise ValueError(f"`V` must have shape (N, {self.d}); got {rows.shape}.")
        shape = (self.n_ctx, self.width)
        p0 = np.zeros(shape) if start is None else np.asarray(real_array("start", start, f"of shape {shape}"), float)
        if p0.shape != shape:
            raise ValueError(f"`start` must have shape {shape}; got {p0.shape}.")
        finite = np.asarray(np.isfinite(rows).all(axis=1))
        rows = np.where(finite[:, None], rows, 0.0)
        _, exponent = np.frexp(np.abs(rows).max(axis=1, initial=0.0))  # |v| <= 2^exponent
        bits = 53 - _MATRIX_WIDTH - math.ceil(math.log2(self.d))
        shift = (bits - exponent)[:, None]
        exact = np.round(np.ldexp(rows, shift)) @ self.normals.T
        with np.errstate(over="ignore"):
            prompts = (np.ldexp(exact, -shift) * self.unit).reshape(-1, *shape) + p0
            prompts = prompts.astype(np.float32)
        good = finite & np.asarray(np.isfinite(prompts).all(axis=(1, 2)))
        prompts[~good] = np.nan
        return np.ascontiguousarray(prompts)
