"""Step sizes: fixed ones, or the automatic rule."""

from __future__ import annotations

from typing import Any

from ._validate import number


class StepSize:
    """Chooses the two steps of a generation.

    Parameters
    ----------
    mean_step, std_step : float or "auto"
        beta of Eq. A.152 and of Eq. A.153.
    """

    def __init__(self, mean_step: Any, std_step: Any) -> None:
        self.mean_step = _option("step_size", mean_step)
        self.std_step = _option("std_step_size", std_step)

    def __call__(self, n_valid: int) -> tuple[float, float]:
        """Return (mean step, std step) for a generation with ``n_valid`` successful evaluations."""
        auto = min(1.4, n_valid / 36)
        return (
            auto if self.mean_step is None else self.mean_step,
            auto if self.std_step is None else self.std_step,
        )


def _option(name: str, value: Any) -> float | None:
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"`{name}` must be 'auto' or a number > 0; got {value!r}.")
        return None
    return number(name, value, low=0.0, strict=True)
