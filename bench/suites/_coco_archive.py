"""The hypervolume indicator of ``bbob-biobj``, as COCO logs it, kept up to date evaluation by evaluation."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Archive:
    """All non-dominated objective vectors seen, with ideal (0, 0) and nadir (1, 1).

    ``gap(reference)`` is COCO's indicator: the reference value minus the hypervolume that the archive dominates within
    [0, 1]^2, or, as long as no vector lies in it, plus the distance of the nearest one to it (Tusar, Brockhoff and
    Hansen 2019, "Mixed-integer benchmark problems ...", and the documentation of ``bbob-biobj``, section on the
    performance indicator). A vector is added in O(log n) and the cost of moving a list.
    """

    def __init__(self) -> None:
        self._first: list[float] = []  # ascending
        self._second: list[float] = []  # descending
        self._distance = float("inf")
        self.hypervolume = 0.0

    def __len__(self) -> int:
        return len(self._first)

    def add(self, values: FloatArray) -> None:
        """Add the rows of ``values`` (n, 2)."""
        inside = (values <= 1.0).all(axis=1)
        if not inside.all():
            beyond = np.hypot(*np.maximum(values[~inside] - 1.0, 0.0).T)
            self._distance = min(self._distance, float(np.nanmin(beyond, initial=np.inf)))
        for a, b in np.maximum(values[inside], 0.0).tolist():
            self._insert(a, b)

    def _insert(self, a: float, b: float) -> None:
        first, second = self._first, self._second
        k = bisect_left(first, a)
        if (k > 0 and second[k - 1] <= b) or (k < len(first) and first[k] == a and second[k] <= b):
            return
        end = k
        above = second[k - 1] if k > 0 else 1.0
        left = a
        while end < len(first) and second[end] >= b:  # what it dominates goes, area by area
            self.hypervolume += (first[end] - left) * (above - b)
            above, left = second[end], first[end]
            end += 1
        right = first[end] if end < len(first) else 1.0
        self.hypervolume += (right - left) * (above - b)
        first[k:end] = [a]
        second[k:end] = [b]

    def gap(self, reference: float) -> float:
        """Return COCO's indicator value, lower is better."""
        return reference - self.hypervolume if self._first else reference + self._distance
