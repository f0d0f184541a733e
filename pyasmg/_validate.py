"""Checks of what users pass: each error names the argument, what was expected and what came."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_FLOAT64 = np.dtype(np.float64)


def describe(value: Any) -> str:
    """Say what came in few words: never a whole array."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}... ({type(value).__name__})"


def real_array(name: str, value: Any, expected: str) -> npt.NDArray[Any]:
    """Return ``value`` as an array of a real number type; lists of numbers are fine, objects and complex are not."""
    if isinstance(value, np.ndarray):
        array = value
    elif hasattr(value, "__array__") or not hasattr(value, "__dlpack__"):
        try:
            array = np.asarray(value)
        except ValueError as error:  # rows of different lengths
            raise ValueError(f"`{name}` must be {expected}; got {describe(value)} ({error}).") from None
    else:
        array = np.from_dlpack(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"`{name}` must be {expected} of real numbers; got dtype {array.dtype}.")
    return array


def gram_matrix(G: npt.ArrayLike) -> FloatArray:
    """Return `G` as a C-ordered float64 array of shape (m, m); the core checks its entries."""
    gram = np.asarray(G, order="C")
    if gram.dtype is not _FLOAT64:
        if gram.dtype.kind not in "fiu":
            raise TypeError(f"`G` must hold real numbers; got dtype {gram.dtype}.")
        gram = gram.astype(np.float64)
    shape = gram.shape
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"`G` must have shape (m, m) with m >= 1; got {shape}.")
    return gram


def vector(name: str, value: Any, length: int | None = None, *, finite: bool = True) -> FloatArray:
    """Return a new float64 vector; a scalar is spread out where ``length`` is given."""
    shape = "a vector" if length is None else f"a scalar or of shape ({length},)"
    array = real_array(name, value, shape)
    if array.ndim == 0 and length is not None:
        result = np.full(length, array, dtype=np.float64)
    elif array.ndim != 1 or (length is not None and array.size != length):
        raise ValueError(f"`{name}` must be {shape}; got shape {array.shape}.")
    else:
        result = np.array(array, dtype=np.float64)
    # By the extremes, which a NaN spoils too: no array of flags, which would be half of all that a huge search takes.
    if finite and result.size and not (np.isfinite(result.min()) and np.isfinite(result.max())):
        index = int(np.flatnonzero(~np.isfinite(result))[0])
        raise ValueError(f"`{name}` must be finite; got {result[index]} at index {index}.")
    return result


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return ``value`` as int; floats and bools are refused."""
    between = f"an integer >= {low}" if high is None else f"an integer in [{low}, {high}]"
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be {between}; got {describe(value)}.") from None
    if number < low or (high is not None and number > high):
        raise ValueError(f"`{name}` must be {between}; got {number}.")
    return number


def number(name: str, value: Any, *, low: float, strict: bool = False, high: float = np.inf) -> float:
    """Return ``value`` as a finite float in [low, high], or (low, high] if ``strict``."""
    between = f"a finite number {'>' if strict else '>='} {low:g}" + (f" and <= {high:g}" if high < np.inf else "")
    if isinstance(value, (bool, np.bool_, str, bytes)):
        raise TypeError(f"`{name}` must be {between}; got {describe(value)}.")
    try:
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"`{name}` must be {between}; got {describe(value)}.") from None
    if not np.isfinite(result) or result < low or (strict and result == low) or result > high:
        raise ValueError(f"`{name}` must be {between}; got {result:g}.")
    return result
