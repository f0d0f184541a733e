"""Performance-informed weights: how far each task is behind its single-task baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._validate import describe, number, vector
from ._types import FloatArray
from .rlw import softmax

Metrics = Sequence[Any] | FloatArray


class Performance:
    r"""Weights from the performance drops of the tasks, PIVRG Eqs. (3) and (5).

    .. math:: \Delta m_i = (-1)^{\delta_i} \frac{M_{m,i} - M_{b,i}}{M_{b,i}} \times 100 \quad (3), \qquad
              \omega_i = m \operatorname{softmax}_i(\Delta m / \tau) \quad (5)

    where :math:`\delta_i = 1` if higher is better. The temperature is
    :math:`\tau = \max\bigl((\Delta m^{\max} - \Delta m^{\min}) / \log s, \tau^*\bigr)` with
    :math:`s = \min(1 / \underline\omega, \bar\omega)`: then the weights lie within
    :math:`[\underline\omega, \bar\omega]` (Proposition 1). They are positive and sum to m.

    Parameters
    ----------
    baselines : sequence of m entries
        The metrics of single-task training: one number per task, or a sequence of them, whose drops are averaged.
    higher_is_better : bool or sequence
        In the same layout as `baselines`; one value stands for all.
    bounds : tuple of two floats
        :math:`(\underline\omega, \bar\omega)`; the paper takes the lower one from [0.5, 0.8], the upper one from
        [1.2, 2].
    min_temperature : float
        :math:`\tau^*`, the "pre-defined threshold" of App. A.1, in per cent. The paper gives no value; 1 here.

    Notes
    -----
    Deviations: the denominator of (3) is :math:`|M_{b,i}|`, which differs for negative baselines only, where the
    printed form would turn the sign around. A task with several metrics gets the mean of their drops; the paper does
    not say what it gets.
    """

    def __init__(
        self,
        baselines: Metrics,
        *,
        higher_is_better: Any = False,
        bounds: tuple[float, float] = (0.5, 2.0),
        min_temperature: float = 1.0,
    ) -> None:
        self._baselines = per_task("baselines", baselines)
        for task, values in enumerate(self._baselines):
            if (values == 0.0).any():
                raise ValueError(f"`baselines` must not be zero; task {task} has {values.tolist()}.")
        self._signs = _signs(higher_is_better, self._baselines)
        low, high = (number(f"bounds[{i}]", bound, low=0.0, strict=True) for i, bound in enumerate(bounds))
        if not low < 1.0 < high:
            raise ValueError(f"`bounds` must be (low, high) with low < 1 < high; got ({low:g}, {high:g}).")
        self._log_ratio = float(np.log(min(1.0 / low, high)))
        self._min_temperature = number("min_temperature", min_temperature, low=0.0, strict=True)

    def __len__(self) -> int:
        return len(self._baselines)

    def drops(self, metrics: Metrics) -> FloatArray:
        r"""Return :math:`\Delta m_i` in per cent, shape (m,), of metrics in the layout of `baselines`."""
        found = per_task("metrics", metrics)
        layout, expected = [len(values) for values in found], [len(values) for values in self._baselines]
        if layout != expected:
            raise ValueError(f"`metrics` must have {expected} entries per task, as `baselines`; got {layout}.")
        return np.array(
            [
                float(np.mean(sign * (value - base) / np.abs(base) * 100.0))
                for value, base, sign in zip(found, self._baselines, self._signs, strict=True)
            ]
        )

    def weights(self, metrics: Metrics) -> FloatArray:
        r"""Return :math:`\omega`, shape (m,)."""
        drops = self.drops(metrics)
        return len(self) * softmax(drops / self.temperature(drops))

    def temperature(self, drops: FloatArray) -> float:
        r"""Return :math:`\tau` for given drops."""
        return max(float(np.ptp(drops)) / self._log_ratio, self._min_temperature)


def per_task(name: str, values: Metrics) -> list[FloatArray]:
    """Return one vector of metrics per task."""
    if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise TypeError(f"`{name}` must be a sequence with an entry per task; got {describe(values)}.")
    rows = [vector(f"{name}[{task}]", np.atleast_1d(entry)) for task, entry in enumerate(values)]
    if not rows or any(row.size == 0 for row in rows):
        raise ValueError(f"`{name}` must have a metric for each task; got {describe(values)}.")
    return rows


def _signs(higher_is_better: Any, baselines: list[FloatArray]) -> list[FloatArray]:
    """-1 where higher is better, else 1."""
    if isinstance(higher_is_better, (bool, np.bool_)):
        higher_is_better = [higher_is_better] * len(baselines)
    if len(higher_is_better) != len(baselines):
        raise ValueError(
            f"`higher_is_better` must be one bool or have {len(baselines)} entries; got {len(higher_is_better)}."
        )
    signs = []
    for task, (flags, values) in enumerate(zip(higher_is_better, baselines, strict=True)):
        array = np.asarray(flags)
        if array.dtype != np.bool_ or array.shape not in ((), values.shape):
            raise ValueError(f"`higher_is_better[{task}]` must be a bool or {values.size} bools; got {flags!r}.")
        signs.append(np.broadcast_to(np.where(array, -1.0, 1.0), values.shape))
    return signs
