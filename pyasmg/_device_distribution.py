"""The search distribution on a CUDA device: what :class:`pyasmg._distribution.SearchDistribution` offers, there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import _core
from ._cuda import open_runtime
from ._device_array import DeviceArray, lend, stream_handle, to_device, to_host, torch_for
from ._distribution import REACH, Array, FloatArray, Summary, pull_factors, take_recycled
from ._step_size import Steps, StepState


class DeviceDistribution:
    """Mean and stds live on the device; :attr:`mean` and :attr:`std` are copies on the host.

    All numbers have the bits that the CPU gives them: the kernels share its functions and the order of its sums. Work
    is given to PyTorch's current stream where PyTorch can use the device, else to :attr:`stream`. From the device come
    back, each generation: the Gram matrix with the squared norms of the samples, and six numbers about the step.
    """

    def __init__(
        self,
        mean: Array,
        std: Array,
        low: Array | None,
        high: Array | None,
        *,
        seed: int,
        mirrored: bool,
        device: str,
        memory: str,
    ) -> None:
        self.low, self.high = low, high
        self.dimension, self.dtype = mean.size, mean.dtype
        self.device = device
        self.n_threads = 1
        self.stream: int | None = None
        self._runtime = open_runtime(device)
        self._torch = torch_for(self._runtime)
        kind = _core._device.Search32 if self.dtype.itemsize == 4 else _core._device.Search64
        self._search = kind(self._runtime, mean, std, low, high, seed, mirrored, memory == "store")
        self._population: Any = None
        self._candidates: Any = None  # the X of the last estimate, which a step may read again

    @property
    def mean(self) -> Array:
        """A copy on the host, shape (d,)."""
        mean: Array = self._search.mean(self._stream())
        return mean

    @property
    def std(self) -> Array:
        """A copy on the host, shape (d,)."""
        std: Array = self._search.std(self._stream())
        return std

    def feasible_mean(self) -> Array:
        """Return the point of the box that is nearest to the mean, shape (d,), on the host."""
        mean: Array = self.mean if self.low is None else np.clip(self.mean, self.low, self.high)
        return mean

    def _stream(self) -> int:
        if self.stream is not None:
            return self.stream
        if self._torch is not None:
            return int(self._torch.cuda.current_stream(self._runtime.dlpack_device[1]).cuda_stream)
        return 0

    def set_stream(self, stream: Any) -> None:
        """Give the work to this stream from now on; None goes back to the default."""
        self.stream = None if stream is None else stream_handle(stream)

    # ---------------------------------------------------------------- candidates

    def population(self, generation: int, rows: int, center: int) -> Any:
        """Return all rows of a generation on the device, row 0 the mean if ``center``."""
        return self._sampled(generation, 0, rows, center)

    def candidate(self, generation: int, index: int) -> Any:
        """Return one row of shape (d,) on the device; -1 is the mean's."""
        return self._one(generation, max(index, 0), int(index < 0))

    def rows(self, generation: int, first: int, count: int, center: int) -> Any:
        """Return rows of ``ask()`` on the device, counted with the mean as row 0 if ``center``."""
        with_mean = int(bool(center) and first == 0 and count > 0)
        return self._sampled(generation, first - center + with_mean, count, with_mean)

    def _one(self, generation: int, index: int, center: int) -> Any:
        out = self._sampled(generation, index, 1, center)
        if self._torch is not None:
            return out[0]
        core = out._array
        return DeviceArray(_core._device.reshaped(core, [self.dimension]))

    def _sampled(self, generation: int, first: int, rows: int, center: int) -> Any:
        """Sample rows ``first``, ... after a row with the mean if ``center``; ``rows`` counts it."""
        stream = self._stream()
        out = self._empty((rows, self.dimension), stream)
        view = out._array if isinstance(out, DeviceArray) else lend(self._runtime, out, stream)
        if rows > 0:
            self._search.sample(generation, first, view, center, stream)
        return out

    def _empty(self, shape: tuple[int, int], stream: int) -> Any:
        what = f"a population of shape {shape}, {self.dtype}"
        if self._torch is not None:
            torch, index = self._torch, self._runtime.dlpack_device[1]
            dtype = torch.float32 if self.dtype.itemsize == 4 else torch.float64
            try:
                return torch.empty(shape, dtype=dtype, device=f"cuda:{index}")
            except torch.cuda.OutOfMemoryError as error:
                raise MemoryError(f"out of memory on {self._runtime.name}: {what}: {error}") from None
        old = take_recycled(self)
        if old is not None and old.shape == shape and not old._array.shared:
            return old
        old = self._population = None
        out = DeviceArray(_core._device.empty(self._runtime, list(shape), 8 * self.dtype.itemsize, stream, what))
        self._population = out
        return out

    # ---------------------------------------------------------------- one generation

    def as_candidates(self, X: Any, shape: tuple[int, int], center: int) -> Any:
        """Return what :meth:`estimate` takes as ``X``: the core's view of all rows, and how many to skip."""
        if isinstance(X, DeviceArray) and X.shape == shape and X.dtype == self.dtype:
            return X._array, center
        return to_device(self._runtime, "X", X, shape, self.dtype, self._stream()), center

    def as_values(self, F: Any) -> Any:
        """Return objective values on the host."""
        return to_host(self._runtime, F, self._stream())

    def estimate(
        self, generation: int, X: Any, valid: npt.NDArray[np.uint8], w: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Estimate the gradients of all columns of w; return their Gram matrix and the squared norms of z."""
        x, skip = X if X is not None else (None, 0)
        self._candidates = x
        stream = self._stream()
        gram, norms = self._search.estimate(generation, x, skip, None, valid, w, stream)
        factors = None if x is None else pull_factors(norms, self.dimension)
        if factors is not None:
            pull = factors.astype(self.dtype)
            gram, norms = self._search.estimate(generation, x, skip, pull, valid, w, stream)
        return gram, norms

    def step(
        self, coefficients: FloatArray, steps: Steps, std_shift: float, inverse: bool, state: StepState
    ) -> tuple[Summary, Any]:
        """Step along the weighted gradients of the last :meth:`estimate`; a step that is not finite is not taken."""
        stream = self._stream()
        path: Any = state.path
        if not isinstance(path, DeviceArray):
            path = DeviceArray(_core._device.upload(self._runtime, path, stream, "the path"))
        new_path = DeviceArray(_core._device.empty(self._runtime, list(path.shape), 64, stream, "the path"))
        summary = self._search.step(
            np.ascontiguousarray(coefficients),
            steps.mean,
            steps.std,
            std_shift,
            REACH,
            inverse,
            path._array,
            new_path._array,
            state.stride,
            state.rate,
            stream,
        )
        self._candidates = None
        return Summary(*summary), new_path

    @staticmethod
    def host(array: Any) -> Any:
        """Return the path on the host."""
        return array.numpy() if isinstance(array, DeviceArray) else array
