"""The two-task toy problem (BiLB4MTL, Eq. 6; PIVRG, App. B.1), vectorised over points, and its Pareto front."""

from __future__ import annotations

import numpy as np

FLOOR = 5e-6
SCALE = np.array([0.1, 1.0])  # of the losses: BiLB4MTL and the authors' scripts; PIVRG prints it without
BEST = np.array([-2.0, -20.0])  # the lower bound of each loss
#: PIVRG, App. B.1.
STARTS_PIVRG = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
#: BiLB4MTL, App. A.1.
STARTS_BILB = ((-8.5, 7.5), (-8.5, 5.0), (0.0, 0.0), (9.0, 9.0), (10.0, -8.0))


def losses_and_gradients(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return L of shape (n, 2) and its gradients of shape (n, 2, 2) [point, loss, coordinate] at points (n, 2).

    Where a maximum is taken of two equal numbers, the gradient is that of the first, as of ``torch.clamp``.
    """
    x, y = points[:, 0], points[:, 1]
    t = np.tanh(0.5 * y)
    slope = 0.5 * (1.0 - t * t)
    upper, lower = np.maximum(t, 0.0), np.maximum(-t, 0.0)
    upper_slope, lower_slope = slope * (t >= 0.0), -slope * (t <= 0.0)
    tanh_y = np.tanh(y)
    tanh_slope = 1.0 - tanh_y * tanh_y
    losses = np.empty((len(points), 2))
    gradients = np.empty((len(points), 2, 2))
    below = 0.1 * (y + 8.0) ** 2
    for i, (inside, centre) in enumerate(((0.5 * (-x - 7.0) + tanh_y, 7.0), (0.5 * (-x + 3.0) + tanh_y + 2.0, -7.0))):
        size = np.abs(inside)
        known = size >= FLOOR
        bounded = np.maximum(size, FLOOR)
        logs = np.log(bounded) + 6.0
        factor = np.where(known, np.sign(inside) / bounded, 0.0)
        bowl = ((x - centre) ** 2 + below) / 10.0 - 20.0
        losses[:, i] = upper * logs + lower * bowl
        gradients[:, i, 0] = upper * factor * -0.5 + lower * (x - centre) / 5.0
        gradients[:, i, 1] = (
            upper_slope * logs + upper * factor * tanh_slope + lower_slope * bowl + lower * 0.02 * (y + 8.0)
        )
    return losses * SCALE, gradients * SCALE[:, None]


def pareto_front(n: int = 20001) -> np.ndarray:
    """Return n points (L1, L2) of the Pareto front: where a convex combination of the gradients is zero, y < 0."""
    x = np.linspace(-7.0, 7.0, n)
    share = (x + 7.0) / 14.0  # of the unscaled first loss, from the first coordinate of the gradients
    y = np.full(n, -8.0)
    for _ in range(50):  # Newton's method for the second coordinate, by finite differences of its exact value
        y -= _slope(x, y, share) / ((_slope(x, y + 1e-6, share) - _slope(x, y - 1e-6, share)) / 2e-6)
    return losses_and_gradients(np.stack([x, y], axis=1))[0]


def _slope(x: np.ndarray, y: np.ndarray, share: np.ndarray) -> np.ndarray:
    gradients = losses_and_gradients(np.stack([x, y], axis=1))[1][:, :, 1] / SCALE
    return share * gradients[:, 0] + (1.0 - share) * gradients[:, 1]


def distance_to_front(losses: np.ndarray, front: np.ndarray) -> np.ndarray:
    """Return the distance of each point to the front (a polygon), in unscaled units of the losses."""
    points, corners = losses / SCALE, front / SCALE
    start, edge = corners[:-1], np.diff(corners, axis=0)
    lengths = (edge**2).sum(axis=1)
    distances = []
    for point in points:
        along = np.clip(((point - start) * edge).sum(axis=1) / lengths, 0.0, 1.0)
        distances.append(np.sqrt((((start + along[:, None] * edge) - point) ** 2).sum(axis=1).min()))
    return np.array(distances)
