"""The two-task toy problem (BiLB4MTL, Eq. 6; PIVRG, App. B.1), vectorised over points, and its Pareto front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

FLOOR = 5e-6
LOWEST = -20.0  # a lower bound of both losses, before their scale
#: PIVRG, App. B.1, and the authors' code of Nash-MTL, FAMO and FairGrad.
STARTS_PIVRG = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
#: BiLB4MTL, App. A.1.
STARTS_BILB = ((-8.5, 7.5), (-8.5, 5.0), (0.0, 0.0), (9.0, 9.0), (10.0, -8.0))


@dataclass(frozen=True)
class Problem:
    """One form of the toy problem.

    Attributes
    ----------
    title
        Where it stands.
    starts
        Five points.
    scale
        Of the two losses.
    as_printed
        The second logarithm holds ``- tanh(-x2)``, as both papers print; all public code has ``+ tanh(-x2)``.
    """

    title: str
    starts: tuple[tuple[float, float], ...]
    scale: tuple[float, float]
    as_printed: bool

    @property
    def lowest(self) -> np.ndarray:
        """Lower bounds of the losses."""
        return LOWEST * np.array(self.scale)

    @cached_property
    def front(self) -> np.ndarray:
        """Many points (L1, L2) along the Pareto front, the same in both forms: it lies at x2 < 0."""
        return pareto_front() * self.scale

    def losses_and_gradients(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return L of shape (n, 2) and its gradients of shape (n, 2, 2) [point, loss, coordinate] at points (n, 2)."""
        losses, gradients = losses_and_gradients(points, self.as_printed)
        return losses * self.scale, gradients * np.array(self.scale)[:, None]

    def distance_to_front(self, losses: np.ndarray) -> np.ndarray:
        """Return the distance of each point (L1, L2) to the front, in units of the losses before their scale."""
        scale = np.array(self.scale)
        return distance_to_polygon(losses / scale, self.front / scale)

    def balance(self, losses: np.ndarray) -> np.ndarray:
        """Return the first loss minus the second, before their scale: 0 at the balanced point (0, -8.355)."""
        plain = losses / self.scale
        return np.asarray(plain[..., 0] - plain[..., 1])


PROBLEMS: dict[str, Problem] = {
    "code": Problem("as in the public code, first loss times 0.1", STARTS_PIVRG, (0.1, 1.0), as_printed=False),
    "bilb": Problem("BiLB4MTL, Eq. (6)", STARTS_BILB, (0.1, 1.0), as_printed=True),
    "pivrg": Problem("PIVRG, App. B.1", STARTS_PIVRG, (1.0, 1.0), as_printed=True),
}


def losses_and_gradients(points: np.ndarray, as_printed: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses and their gradients at points of shape (n, 2), before the scale of any form.

    Where a maximum is taken of two equal numbers, the gradient is that of the first, as of ``torch.clamp``.
    """
    x, y = points[:, 0], points[:, 1]
    t = np.tanh(0.5 * y)
    slope = 0.5 * (1.0 - t * t)
    upper, lower = np.maximum(t, 0.0), np.maximum(-t, 0.0)
    upper_slope, lower_slope = slope * (t >= 0.0), -slope * (t <= 0.0)
    tanh_y = np.tanh(y)
    tanh_slope = 1.0 - tanh_y * tanh_y
    sign = 1.0 if as_printed else -1.0
    losses = np.empty((len(points), 2))
    gradients = np.empty((len(points), 2, 2))
    below = 0.1 * (y + 8.0) ** 2
    terms = ((0.5 * (-x - 7.0) + tanh_y, 1.0, 7.0), (0.5 * (-x + 3.0) + sign * tanh_y + 2.0, sign, -7.0))
    for i, (inside, orientation, centre) in enumerate(terms):
        size = np.abs(inside)
        bounded = np.maximum(size, FLOOR)
        logs = np.log(bounded) + 6.0
        factor = np.where(size >= FLOOR, np.sign(inside) / bounded, 0.0)
        bowl = ((x - centre) ** 2 + below) / 10.0 - 20.0
        losses[:, i] = upper * logs + lower * bowl
        gradients[:, i, 0] = upper * factor * -0.5 + lower * (x - centre) / 5.0
        gradients[:, i, 1] = (
            upper_slope * logs
            + upper * factor * orientation * tanh_slope
            + lower_slope * bowl
            + lower * 0.02 * (y + 8.0)
        )
    return losses, gradients


def pareto_front(n: int = 20001) -> np.ndarray:
    """Return n points of the Pareto front: where a convex combination of the gradients is zero, x2 < 0."""
    x = np.linspace(-7.0, 7.0, n)
    share = (x + 7.0) / 14.0  # of the first loss, from the first coordinate of the gradients
    y = np.full(n, -8.0)
    for _ in range(50):  # Newton's method for the second coordinate, by finite differences of its exact value
        y -= _slope(x, y, share) / ((_slope(x, y + 1e-6, share) - _slope(x, y - 1e-6, share)) / 2e-6)
    return losses_and_gradients(np.stack([x, y], axis=1))[0]


def _slope(x: np.ndarray, y: np.ndarray, share: np.ndarray) -> np.ndarray:
    gradients = losses_and_gradients(np.stack([x, y], axis=1))[1][:, :, 1]
    return np.asarray(share * gradients[:, 0] + (1.0 - share) * gradients[:, 1])


def distance_to_polygon(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the distance of each point to the line through the corners."""
    start, edge = corners[:-1], np.diff(corners, axis=0)
    lengths = (edge**2).sum(axis=1)
    distances = []
    for point in points:
        along = np.clip(((point - start) * edge).sum(axis=1) / lengths, 0.0, 1.0)
        distances.append(np.sqrt((((start + along[:, None] * edge) - point) ** 2).sum(axis=1).min()))
    return np.array(distances)
