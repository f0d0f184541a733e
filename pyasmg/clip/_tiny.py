"""The task that comes with pyasmg: a tiny CLIP on handwritten digits in four domains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ._digits import CLASSES, DOMAINS, digits
from .models import Model, load
from .prompt import PromptEncoder
from .task import Domain, Part, PromptTask

FOLDER = Path(__file__).with_name("data") / "tiny"
START = "a photo of a"


def tiny(domains: Sequence[str] | None = None, *, batch_size: int = 64, seed: int = 0) -> PromptTask:
    """Return the prompt task of the tiny CLIP on scikit-learn's digits.

    Parameters
    ----------
    domains : sequence of str, optional
        Of "clean", "inverted", "noisy", "rotated and blurred"; all of them if not given.
    batch_size : int
        Images per task of a mini-batch, of about 1,080 for training.
    seed : int
        Of the mini-batches. The model, the images and their 60/20/20 split are always the same.

    Returns
    -------
    PromptTask
        Four tokens of prompt, ten classes; its start is the embedding of "a photo of a". About 10 ms for 20 prompts.
    """
    return tiny_of(FOLDER, domains, batch_size=batch_size, seed=seed)


def tiny_of(folder: Path, domains: Sequence[str] | None = None, **options: Any) -> PromptTask:
    """Return the same task of another model for these images; options are those of :class:`PromptTask`."""
    names = tuple(DOMAINS if domains is None else domains)
    unknown = [name for name in names if name not in DOMAINS]
    if unknown or not names:
        raise ValueError(f"`domains` must be some of {DOMAINS}; got {names}.")
    model = load(folder)
    encoder = PromptEncoder(model.clip, model.tokenizer, CLASSES)
    start = encoder.embedding(START)
    parts = _domains(model, names)
    return PromptTask(encoder, parts, scale=model.scale, start=start, **{"max_batch": 256, "n_threads": 1, **options})


def as_pixels(images: npt.NDArray[np.float32]) -> Tensor:
    """Return what the tiny image tower takes, (n, 3, 8, 8), from gray images (n, 8, 8) in [0, 1]."""
    gray = torch.from_numpy(np.ascontiguousarray(images, np.float32))[:, None]
    return ((gray - 0.5) / 0.5).expand(-1, 3, -1, -1)


def _domains(model: Model, names: Sequence[str]) -> list[Domain]:
    data = digits()
    labels = torch.from_numpy(data.labels)
    domains = []
    with torch.no_grad():
        for name in names:
            pixels = as_pixels(data.images[DOMAINS.index(name)])
            features = functional.normalize(model.clip.encode_image(pixels), dim=-1)
            parts = {split: Part(features[rows], labels[rows]) for split, rows in data.rows.items()}
            domains.append(Domain(name, parts))
    return domains
