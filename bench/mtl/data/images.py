"""Images from files, with Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

#: Of ImageNet's channels, as torchvision's weights expect them.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def read_image(
    path: Path, size: tuple[int, int], statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None
) -> Tensor:
    """Return an image of shape (3, height, width) in [0, 1], or standardised by channel.

    Parameters
    ----------
    path : Path
        The file.
    size : tuple of two ints
        Height and width; the image is resized bilinearly (antialiased, as torchvision does it), whatever its shape.
    statistics : tuple, optional
        Means and standard deviations of the channels.
    """
    from PIL import Image

    with Image.open(path) as file:
        image = file.convert("RGB").resize((size[1], size[0]), Image.Resampling.BILINEAR)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255.0
    if statistics is None:
        return tensor
    mean, std = (torch.tensor(values)[:, None, None] for values in statistics)
    return (tensor - mean) / std


def image_problem(path: Path) -> str | None:
    """Return why a file is no image; None if it is one."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            file.load()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None
