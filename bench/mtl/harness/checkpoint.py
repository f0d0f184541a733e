"""The state of a run between two epochs, in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

VERSION = 1


def save(path: Path, settings: dict[str, Any], state: dict[str, Any], device: torch.device) -> None:
    """Write the state, with that of PyTorch's random numbers on the device; the file is whole at any time."""
    random = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        random["cuda"] = torch.cuda.get_rng_state(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    other = path.with_name(path.name + ".part")
    torch.save({"version": VERSION, "settings": settings, "state": state, "random": random}, other)
    os.replace(other, path)


def load(path: Path, settings: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Return the state of a run with the same settings, and restore the random numbers.

    Raises
    ------
    ValueError
        If the file is of a run with other settings; the message says which.
    """
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"{path} is no checkpoint of version {VERSION}.")
    theirs = found["settings"]
    for name in sorted({*settings, *theirs}):
        if settings.get(name) != theirs.get(name):
            raise ValueError(
                f"{path} is of a run with {name} = {theirs.get(name)!r}, not {settings.get(name)!r}; "
                "remove the file or give the same options."
            )
    torch.set_rng_state(found["random"]["cpu"])
    if device.type == "cuda" and "cuda" in found["random"]:
        torch.cuda.set_rng_state(found["random"]["cuda"], device)
    state: dict[str, Any] = found["state"]
    return state
