"""The search distribution before the first generation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._bounds import Bounds, to_dtype
from ._cuda import parse_device
from ._device_distribution import DeviceDistribution
from ._distribution import LIMITS, Array, FloatArray, SearchDistribution
from ._options import Options

Arrays = tuple[Array, Array, Array | None, Array | None]  # mean, std, low, high


def start_arrays(start: FloatArray, sigma: FloatArray, bounds: Bounds | None, options: Options) -> Arrays:
    """Make the first search distribution in the chosen dtype."""
    mean, std = start.astype(options.dtype), sigma.astype(options.dtype)
    tiny, huge = LIMITS[options.dtype]
    if not (-huge <= mean.min() and mean.max() <= huge):
        raise ValueError(f"`x0` must be at most {huge:g} in magnitude for dtype {options.dtype}.")
    if not (tiny <= std.min() and std.max() <= huge):
        raise ValueError(f"`sigma0` must lie within [{tiny:g}, {huge:g}] for dtype {options.dtype}.")
    low = high = None
    if bounds is not None:
        low, high = to_dtype(bounds, options.dtype)
        mean, std = np.clip(mean, low, high), np.minimum(std, high - low)
    return mean, std, low, high


def make_distribution(arrays: Arrays, options: Options, device: Any) -> SearchDistribution | DeviceDistribution:
    """Put the arrays where the search is to live."""
    name = parse_device(device)
    if name == "cpu":
        return SearchDistribution(*arrays, seed=options.seed, mirrored=options.mirrored)
    return DeviceDistribution(*arrays, seed=options.seed, mirrored=options.mirrored, device=name, memory=options.memory)
