"""scikit-learn's handwritten digits in four domains, split 60/20/20."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..problems.digits import DigitsProblem, _domain_images, _load_images
from ._split import split_rows

DOMAINS = DigitsProblem.domain_names
CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SEED = 0


class Digits(NamedTuple):
    """Images (4, n, 8, 8) about in [0, 1] by domain, labels (n,), and the rows of each split (the same in all)."""

    images: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    rows: dict[str, npt.NDArray[np.int64]]


def digits() -> Digits:
    """Return the data: always the same."""
    images, labels = _load_images()
    domains = _domain_images(images, np.random.default_rng(SEED)).astype(np.float32)
    return Digits(domains, labels, split_rows(labels, SEED))
