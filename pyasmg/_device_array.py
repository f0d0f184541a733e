"""Arrays on a device, in and out: DLPack, PyTorch's tensors where it is installed, no copy of a population."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from ._validate import describe, real_array

_CUDA = 2  # kDLCUDA
_LEGACY_STREAM = 1


class DeviceArray:
    """A C-contiguous float array on a device, for who has no PyTorch: ``cupy.from_dlpack``, ``jax.dlpack.from_dlpack``.

    Speaks DLPack (1.0 and older) and ``__cuda_array_interface__`` (version 3); :meth:`numpy` copies to the host.
    """

    def __init__(self, array: Any) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents."""
        return tuple(self._array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return np.dtype(f"float{self._array.bits}")

    def __len__(self) -> int:
        return self.shape[0]

    def numpy(self) -> npt.NDArray[Any]:
        """Return a copy on the host; waits for the work that writes the array."""
        values: npt.NDArray[Any] = self._array.numpy()
        return values

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, index = self._array.runtime.dlpack_device
        return kind, index

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: bool | None = None
    ) -> Any:
        if copy or (dl_device is not None and tuple(dl_device) != self.__dlpack_device__()):
            raise BufferError("a copy, or another device, must be asked of the library that takes the array.")
        if stream != -1:  # the consumer's stream waits for ours; None is the legacy default stream
            self._array.runtime.order(_stream_handle(stream), self._array.stream)
        return self._array.to_dlpack(bool(max_version and max_version[0] >= 1))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.__dlpack_device__()[0] != _CUDA:
            raise AttributeError("this array does not lie on a CUDA device.")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self._array.pointer, False),
            "version": 3,
            "stream": self._array.stream or _LEGACY_STREAM,
        }

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, device={self._array.runtime.name!r})"


def _stream_handle(stream: Any) -> int:
    return 0 if stream is None or stream == _LEGACY_STREAM else int(stream)


def torch_for(runtime: Any) -> Any:
    """Return PyTorch if it is installed and can use the runtime's device, else None."""
    if runtime.dlpack_device[0] != _CUDA or importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def lend(runtime: Any, value: Any, stream: int) -> Any:
    """Return the core's view of an array on the runtime's device that speaks DLPack; no copy."""
    arguments = {} if runtime.dlpack_device[0] != _CUDA else {"stream": stream or _LEGACY_STREAM}
    return _core._device.from_dlpack(runtime, value.__dlpack__(**arguments), stream)


def lies_on(runtime: Any, value: Any) -> bool:
    """Return whether ``value`` speaks DLPack and lies on the runtime's device."""
    if isinstance(value, np.ndarray) or not hasattr(value, "__dlpack_device__"):
        return False
    kind, index = value.__dlpack_device__()
    return (int(kind), int(index)) == tuple(runtime.dlpack_device)


def is_tensor(value: Any) -> bool:
    """Return whether ``value`` is a tensor of PyTorch, without importing it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_host(runtime: Any, value: Any, stream: int) -> Any:
    """Return a small array from any device on the host; what is there already is returned as it is."""
    if is_tensor(value):
        return value.detach().cpu().double().numpy()
    if isinstance(value, DeviceArray):
        return value.numpy()
    if lies_on(runtime, value):
        try:
            return lend(runtime, value, stream).numpy()
        except (TypeError, ValueError):  # of another dtype or order: the library may know how
            pass
    return value


def to_device(runtime: Any, name: str, value: Any, shape: tuple[int, int], dtype: np.dtype[Any], stream: int) -> Any:
    """Return the core's view of a matrix; one that lies on the host, or is of another dtype or order, is copied."""
    if is_tensor(value):
        value = value.detach()
        if tuple(value.shape) == shape and (value.is_cuda or runtime.dlpack_device[0] != _CUDA):
            kind = sys.modules["torch"].float32 if dtype.itemsize == 4 else sys.modules["torch"].float64
            kept = value.to(dtype=kind).contiguous()
            if lies_on(runtime, kept):
                return lend(runtime, kept, stream)
        value = value.cpu().numpy()
    if lies_on(runtime, value):
        try:
            array = lend(runtime, value, stream)
        except (TypeError, ValueError) as error:
            raise type(error)(f"`{name}` {error}") from None
        if array.bits != 8 * dtype.itemsize:
            raise TypeError(f"`{name}` must be of dtype {dtype} on the device; got float{array.bits}.")
        got = tuple(array.shape)
    else:
        host = real_array(name, value, f"of shape (popsize, d) = {shape}")
        array, got = None, host.shape
    if got != shape:
        raise ValueError(f"`{name}` must be of shape (popsize, d) = {shape}; got shape {got}.")
    if array is None:
        what = f"`{name}`, copied from the host, shape {shape}, {dtype}"
        array = _core._device.upload(runtime, np.ascontiguousarray(host, dtype=dtype), stream, what)
    return array


def stream_handle(value: Any) -> int:
    """Return the handle of a stream: an integer, or an object with ``cuda_stream`` or ``ptr``."""
    for attribute in ("cuda_stream", "ptr"):
        if hasattr(value, attribute):
            value = getattr(value, attribute)
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise TypeError(f"`stream` must be the handle of a CUDA stream, an integer >= 0; got {describe(value)}.")
    return int(value)
