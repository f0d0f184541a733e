"""The automatic step sizes.

For N valid samples in d dimensions

    b = min(1, 0.15 N / sqrt(d)),    mean step = 1.4 b,    std step = b,

and the stds follow only half of the *mean over the coordinates* of their gradient:

    log std_k -= b (h_k - hbar / 2),    h = sum_i c_i H_i,    hbar = (1 / d) sum_k h_k.

Why N / sqrt(d). While the cloud is wide (sqrt(d) std above the distance to the optimum) the standardised values are
mostly |z|^2, and hbar is about sqrt(1 / (2 d)): log std falls by b / sqrt(2 d) a generation whatever the objective,
while the mean wanders by b / sqrt(N) stds a generation. The wander that accumulates while the stds fall by a factor e
is therefore of variance b sqrt(2 d) / N std^2; keeping it constant gives b proportional to N / sqrt(d), and a number of
*evaluations* that does not depend on N. Beyond b = 1 the steps are no longer small changes of the distribution.

Why half. Coordinates whose gradient is still hidden in the noise are pushed up relative to the visible ones, so that
they do not collapse before their turn comes; without it the search freezes in local optima of multimodal objectives.

The constants 0.15, 1.4, 1 and 1/2 were chosen on problems 4.21-4.23 with d = 10 and 100 and N = 10, 50 and 100.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Steps(NamedTuple):
    """The steps of one generation."""

    mean: float  # beta of Eq. A.152
    std: float  # beta of Eq. A.153
    held_back: float  # share of the mean std gradient that is not followed


def choose_steps(mean_step: float | None, std_step: float | None, n_valid: int, dimension: int) -> Steps:
    """Return the user's steps, and the automatic rule where one is None."""
    b = min(1.0, 0.15 * n_valid / math.sqrt(dimension))
    return Steps(
        1.4 * b if mean_step is None else mean_step,
        b if std_step is None else std_step,
        0.5 if std_step is None else 0.0,
    )
