"""Peak of the memory that PyTorch holds while a function runs, counted exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def peak_bytes(function: Callable[[], Any], device: torch.device) -> int:
    """Return by how much a call raises the memory held at most, in bytes.

    On CUDA this is ``torch.cuda.max_memory_allocated``, as in the thesis; on the CPU the running sum of the
    allocations and releases that PyTorch's profiler records.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        function()
    held = peak = 0
    events = [event for event in profile.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=_begin):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _begin(event: Any) -> int:
    """Return when an event of the profiler began; up to PyTorch 2.2 in microseconds, with ties in order."""
    return int(event.start_ns() if hasattr(event, "start_ns") else event.start_us())
