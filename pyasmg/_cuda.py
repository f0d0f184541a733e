"""Which CUDA devices there are, and the one that a search was asked to run on. Nothing here runs at import."""

from __future__ import annotations

import re
import sys
from typing import Any

from . import _core
from ._validate import describe

_DEVICE = re.compile(r"cuda(?::(\d{1,4}))?")


def cuda_available() -> bool:
    """Return whether ``ASMG(..., device="cuda")`` can work here: built with CUDA, a driver, a device with code for it.

    Asks the driver, but makes no context on a device. A process that has asked must not fork children that use CUDA.
    """
    info = _core._device.cuda_info(False)
    built_for = [int(number) for number in re.findall(r"\d+", info["architectures"])]
    capabilities = [10 * major + minor for major, minor in (d["compute_capability"] for d in info["devices"])]
    return any(capability >= least for capability in capabilities[:1] for least in built_for)


def cuda_info() -> dict[str, Any]:
    """Return what the CUDA backend was built for and what it finds here.

    Makes a context on every device, of which alone free memory can be asked.

    Returns
    -------
    dict
        ``built`` (bool); ``architectures`` that there is code for; ``runtime_version`` and ``driver_version`` ("13.0",
        or None); ``devices``, a list of dictionaries with ``name``, ``compute_capability`` (major, minor),
        ``total_memory`` and ``free_memory`` in bytes; ``problem``, why there is no device, or "".
    """
    info: dict[str, Any] = _core._device.cuda_info(True)
    return info


def parse_device(device: Any) -> str:
    """Return "cpu", "cuda" or "cuda:N"; a ``torch.device`` works as well."""
    name = str(device) if type(device).__module__ == "torch" else device
    if not isinstance(name, str) or not (name == "cpu" or _DEVICE.fullmatch(name)):
        raise ValueError(f"`device` must be 'cpu', 'cuda' or 'cuda:N'; got {describe(device)}.")
    return name


def open_runtime(device: str) -> Any:
    """Return the runtime of "cuda" (PyTorch's current device where it has one, else 0) or "cuda:N"."""
    match = _DEVICE.fullmatch(device)
    number = match.group(1) if match else None
    torch = sys.modules.get("torch")
    if number is None and torch is not None and torch.cuda.is_initialized():
        number = torch.cuda.current_device()
    try:
        return _core._device.cuda_runtime(int(number or 0))
    except RuntimeError as error:
        raise RuntimeError(f"`device={device!r}` cannot be used: {error}") from None
