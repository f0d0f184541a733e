"""Two real multi-task sets from the handwritten digits that scikit-learn brings along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class MultiTask:
    """Inputs and one target per task, standardised inputs; the same split for every method of a seed.

    Attributes
    ----------
    inputs
        Per split ("train", "validation", "test"): a tensor (n, 64) or (n, 32).
    targets
        Per split: one tensor per task, class numbers or values.
    n_outputs
        Per task: the number of classes, or 1 for a value.
    names
        Of the tasks.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, list[Tensor]]
    n_outputs: list[int]
    names: list[str]

    @property
    def classification(self) -> bool:
        """Whether the metric is the accuracy; otherwise it is the mean absolute error."""
        return self.n_outputs[0] > 1


def labels(seed: int) -> MultiTask:
    """Return four label sets on digits in two domains: six tasks on one input of two images side by side.

    Of the one image, the digit, its parity, whether it is above 4, and whether it has a closed loop; of the other,
    which is turned by 90 degrees and noisy, the digit and its parity.
    """
    from sklearn.datasets import load_digits

    rng = np.random.default_rng([seed, 0])
    images, digit = load_digits(return_X_y=True)
    other = rng.permutation(len(images))
    turned = np.rot90(images[other].reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
    noisy = turned + 3.0 * rng.standard_normal(turned.shape)
    loops = np.isin(digit, (0, 6, 8, 9))
    targets = [digit, digit % 2, digit > 4, loops, digit[other], digit[other] % 2]
    names = ["digit", "parity", "above 4", "loop", "turned digit", "turned parity"]
    inputs = np.concatenate([images, noisy], axis=1)
    return _split(inputs, [np.asarray(target, dtype=np.int64) for target in targets], [10, 2, 2, 2, 10, 2], names, rng)


def scales(seed: int) -> MultiTask:
    """Return a regression task with twelve targets in their natural units: the lower half from the upper half."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng([seed, 1])
    images = load_digits(return_X_y=True)[0].reshape(-1, 8, 8)
    upper, lower = images[:, :4], images[:, 4:]
    x, y = np.arange(8.0), np.arange(4.0)
    ink = lower.sum(axis=(1, 2))
    mass = np.maximum(ink, 1.0)
    centre_x = (lower.sum(axis=1) @ x) / mass
    centre_y = (lower.sum(axis=2) @ y) / mass
    targets = {
        "ink": ink,
        "ink squared": ink**2 / 10.0,
        "share of ink": ink / images.sum(axis=(1, 2)),
        "centre x": centre_x,
        "centre y": centre_y,
        "spread x": (lower.sum(axis=1) @ x**2) / mass - centre_x**2,
        "spread y": (lower.sum(axis=2) @ y**2) / mass - centre_y**2,
        "bright pixels": (lower > 8.0).sum(axis=(1, 2)),
        "share of bright pixels": (lower > 8.0).mean(axis=(1, 2)),
        "first row": lower[:, 0].sum(axis=1),
        "last row": lower[:, 3].sum(axis=1),
        "asymmetry": (lower[:, :, :4] - lower[:, :, 4:]).mean(axis=(1, 2)),
    }
    return _split(upper.reshape(-1, 32), list(targets.values()), [1] * len(targets), list(targets), rng)


def standardised(seed: int) -> MultiTask:
    """Return the regression task of :func:`scales` with targets divided by their standard deviation."""
    data = scales(seed)
    units = [target.std() for target in data.targets["train"]]
    targets = {
        part: [target / unit for target, unit in zip(found, units, strict=True)] for part, found in data.targets.items()
    }
    return MultiTask(data.inputs, targets, data.n_outputs, data.names)


def _split(
    inputs: np.ndarray, targets: list[np.ndarray], n_outputs: list[int], names: list[str], rng: np.random.Generator
) -> MultiTask:
    order = rng.permutation(len(inputs))
    cuts = [0, int(0.6 * len(order)), int(0.8 * len(order)), len(order)]
    parts = {name: order[cuts[i] : cuts[i + 1]] for i, name in enumerate(("train", "validation", "test"))}
    mean, std = inputs[parts["train"]].mean(axis=0), inputs[parts["train"]].std(axis=0)
    scaled = torch.from_numpy((inputs - mean) / np.maximum(std, 1e-6)).float()
    tensors = [
        torch.from_numpy(np.asarray(target)).long() if n > 1 else torch.from_numpy(np.asarray(target, float)).float()
        for target, n in zip(targets, n_outputs, strict=True)
    ]
    return MultiTask(
        {name: scaled[rows] for name, rows in parts.items()},
        {name: [tensor[rows] for tensor in tensors] for name, rows in parts.items()},
        n_outputs,
        names,
    )
