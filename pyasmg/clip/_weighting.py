"""The weighting that prompt tuning uses unless told otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .._validate import vector

_LEAST_ERROR = 0.01
_POWER = 0.75  # between the square root of "level" and the level itself; chosen by the worst domain, seeds 0 to 7


def unit_free_level(losses: npt.ArrayLike, accuracies: npt.ArrayLike) -> dict[str, Any]:
    """Return ``weighting=`` for ASMG: "level" in units that the start's accuracies give.

    Weights proportional to a power of each loss's running mean need losses in one unit. What a server answers
    may be scaled (by a class count, a price, a logarithm's base) task by task. The start's error rates have no unit,
    and cross-entropies are about proportional to them, so each loss counts in units of::

        reference_i = loss_i(start) / error_i(start)

    so that its level is the error rate at first, and goes down as the loss does. Multiplying a task's loss by any
    constant changes nothing. Nor does a task that stands there several times: its copies share one weight.

    Parameters
    ----------
    losses, accuracies : array_like, shape (m,)
        Of the start on the validation split; accuracies in [0, 1]. An error rate counts as 1 % at least.

    Raises
    ------
    ValueError
        If they are not finite, or a loss is not positive.
    """
    loss, accuracy = vector("losses", losses), vector("accuracies", accuracies)
    if loss.shape != accuracy.shape:
        raise ValueError(f"`losses` and `accuracies` must be of one length; got {loss.size} and {accuracy.size}.")
    if not (loss > 0).all():
        raise ValueError(f"`losses` must be positive; got {loss.min():g}.")
    if not ((accuracy >= 0) & (accuracy <= 1)).all():
        raise ValueError("`accuracies` must lie in [0, 1].")
    reference = loss / np.maximum(1.0 - accuracy, _LEAST_ERROR)
    return {"name": "level", "power": _POWER, "reference": [float(value) for value in reference], "distinct": True}
