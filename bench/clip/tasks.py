"""The tasks on which the benchmark runs."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import torch

from pyasmg.clip import PromptTask, from_folders, load
from pyasmg.clip._tiny import FOLDER, tiny_of

from .cells import MakeTask

# All prompts of a generation in one forward pass: faster, and here the same bits as one by one.
GROUP = 20


def tiny_task(folder: Path = FOLDER) -> tuple[str, MakeTask]:
    """Return the task that comes with pyasmg; its name tells one set of weights from another."""
    weights = (folder / "open_clip_model.safetensors").read_bytes()
    return f"tiny-{hashlib.sha256(weights).hexdigest()[:8]}", functools.partial(tiny_of, folder, group=GROUP)


def folder_task(
    root: Path, layout: str, lists: Path | None, model: str, pretrained: str, device: str
) -> tuple[str, MakeTask]:
    """Return the task of image folders; the image features are kept beside the results, for all processes."""
    name = f"{layout}-{model}-{Path(pretrained).name}"
    return name, functools.partial(_from_folders, root, layout, lists, model, pretrained, device)


def _from_folders(root: Path, layout: str, lists: Path | None, model: str, pretrained: str, device: str) -> PromptTask:
    torch.set_num_threads(1)
    loaded = load(model, None if Path(model).is_dir() else pretrained, device=device)
    return from_folders(root, loaded, layout=layout, lists=lists, group=1 if device == "cpu" else GROUP)
