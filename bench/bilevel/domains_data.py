"""The digits that scikit-learn brings along, in three domains with images of their own: Office-31 in small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NAMES = ("plain", "turned", "noisy")
PARTS = ("train", "validation", "test")
N_CLASSES = 10


@dataclass(frozen=True)
class Domains:
    """Per part ("train", "validation", "test"): images (n, 64), standardised, and classes (n,), a list over domains."""

    inputs: dict[str, list[Tensor]]
    targets: dict[str, list[Tensor]]


def domains(seed: int) -> Domains:
    """Return the domains: as they are; turned by 90 degrees; inverted, with noise of a quarter of the range.

    Each domain has a third of the images; 60 % are for training, 20 % for validation and for the test.
    """
    from sklearn.datasets import load_digits

    rng = np.random.default_rng([seed, 2])
    images, digits = load_digits(return_X_y=True)
    shares = np.array_split(rng.permutation(len(images)), len(NAMES))
    inputs: dict[str, list[Tensor]] = {part: [] for part in PARTS}
    targets: dict[str, list[Tensor]] = {part: [] for part in PARTS}
    for name, rows in zip(NAMES, shares, strict=True):
        found = images[rows]
        if name == "turned":
            found = np.rot90(found.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
        elif name == "noisy":
            found = 16.0 - found + 4.0 * rng.standard_normal(found.shape)
        cuts = [0, int(0.6 * len(rows)), int(0.8 * len(rows)), len(rows)]
        mean, std = found[: cuts[1]].mean(axis=0), found[: cuts[1]].std(axis=0)
        scaled = torch.from_numpy((found - mean) / np.maximum(std, 0.1)).float()
        for i, part in enumerate(PARTS):
            inputs[part].append(scaled[cuts[i] : cuts[i + 1]])
            targets[part].append(torch.from_numpy(digits[rows[cuts[i] : cuts[i + 1]]]).long())
    return Domains(inputs, targets)
