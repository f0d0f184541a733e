"""Metrics that are summed up over batches."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Score(ABC):
    """Sums over the batches of one task; on the device of the predictions."""

    @abstractmethod
    def update(self, output: Tensor, target: Tensor) -> None:
        """Add a batch."""

    @abstractmethod
    def result(self) -> list[float]:
        """Return the metrics over all batches."""


class Segmentation(Score):
    """Mean intersection over union and pixel accuracy, in per cent; labels below 0 are ignored.

    The mean is over the classes that occur, in labels or predictions; the public code divides by zero for others.
    """

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes
        self.confusion: Tensor | None = None

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add logits (batch, classes, H, W) and labels (batch, H, W)."""
        known = (target >= 0) & (target < self.n_classes)
        cells = self.n_classes * target[known] + output.argmax(dim=1)[known]
        counts = torch.bincount(cells, minlength=self.n_classes**2).reshape(self.n_classes, self.n_classes)
        self.confusion = counts if self.confusion is None else self.confusion + counts

    def result(self) -> list[float]:
        """See :class:`Score`."""
        if self.confusion is None:
            return [float("nan")] * 2
        matrix = self.confusion.double()
        hits = matrix.diag()
        union = matrix.sum(dim=0) + matrix.sum(dim=1) - hits
        occurs = union > 0
        return [100.0 * float((hits[occurs] / union[occurs]).mean()), 100.0 * float(hits.sum() / matrix.sum())]


class Depth(Score):
    """Absolute and relative error over the pixels whose depth is known, that is, not 0.

    Over all such pixels alike; Nash-MTL's code averages the means of batches.
    """

    def __init__(self) -> None:
        self.sums: Tensor | None = None

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add depths (batch, 1, H, W)."""
        known = target != 0.0
        error = (output - target).abs()[known].double()
        sums = torch.stack([error.sum(), (error / target[known]).sum(), known.sum().double()])
        self.sums = sums if self.sums is None else self.sums + sums

    def result(self) -> list[float]:
        """See :class:`Score`."""
        if self.sums is None:
            return [float("nan")] * 2
        absolute, relative, n = self.sums.tolist()
        return [absolute / n, relative / n]


class Normals(Score):
    """Mean and median angle in degrees, and the per cent within 11.25, 22.5 and 30 degrees, of pixels with a normal.

    Over all such pixels; the median is exact to 0.001 degrees, from counts. Nash-MTL's code averages those of batches.
    """

    STEPS = 1000  # a degree

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        self.total = torch.zeros(4, dtype=torch.float64)  # angles, and how many are within each bound

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add directions (batch, 3, H, W); predictions and targets of length 1."""
        known = target.abs().sum(dim=1) != 0.0
        cosine = (output * target).sum(dim=1)[known].clamp(-1.0, 1.0)
        angle = torch.rad2deg(torch.acos(cosine)).double()
        counts = torch.bincount((angle * self.STEPS).long(), minlength=180 * self.STEPS + 1)
        within = [(angle < bound).sum().double() for bound in (11.25, 22.5, 30.0)]
        self.counts = counts if self.counts is None else self.counts + counts
        self.total = self.total.to(angle.device) + torch.stack([angle.sum(), *within])

    def result(self) -> list[float]:
        """See :class:`Score`."""
        if self.counts is None:
            return [float("nan")] * 5
        below = self.counts.cumsum(0)
        n = int(below[-1])
        ranks = torch.tensor([(n - 1) // 2 + 1, n // 2 + 1], device=below.device)  # the two in the middle
        median = float((torch.searchsorted(below, ranks) + 0.5).mean()) / self.STEPS
        mean, *within = (self.total / n).tolist()
        return [mean, median, *(100.0 * share for share in within)]


class Accuracy(Score):
    """Share of right classes, in per cent."""

    def __init__(self) -> None:
        self.sums = [0, 0]

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add logits (batch, classes) and classes (batch,)."""
        self.sums[0] += int((output.argmax(dim=1) == target).sum())
        self.sums[1] += len(target)

    def result(self) -> list[float]:
        """See :class:`Score`."""
        return [100.0 * self.sums[0] / self.sums[1] if self.sums[1] else float("nan")]


class F1(Score):
    """F1 of a binary attribute in per cent, and the accuracy; a probability above 1/2 means yes.

    0 where there is no true positive, as in FAMO's code.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None  # true positive, false positive, false negative, all

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add logits and 0 or 1, of one shape."""
        yes, truth = output > 0.0, target > 0.5
        parts = [(yes & truth).sum(), (yes & ~truth).sum(), (~yes & truth).sum()]
        counts = torch.stack([*parts, parts[0].new_tensor(target.numel())])
        self.counts = counts if self.counts is None else self.counts + counts

    def result(self) -> list[float]:
        """See :class:`Score`."""
        if self.counts is None:
            return [float("nan")] * 2
        hits, extra, missed, n = self.counts.tolist()
        wrong = extra + missed
        return [100.0 * 2 * hits / max(2 * hits + wrong, 1), 100.0 * (n - wrong) / n]


class AbsoluteError(Score):
    """Mean absolute error, times a factor."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.sums: Tensor | None = None

    def update(self, output: Tensor, target: Tensor) -> None:
        """Add values of one shape."""
        error = (output - target).abs().double()
        sums = torch.stack([error.sum(), error.new_tensor(float(error.numel()))])
        self.sums = sums if self.sums is None else self.sums + sums

    def result(self) -> list[float]:
        """See :class:`Score`."""
        if self.sums is None:
            return [float("nan")]
        total, n = self.sums.tolist()
        return [self.factor * total / n]
