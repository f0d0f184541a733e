r"""What the papers report of a table of results: performance drop, its variance, mean rank, hypervolume.

All take metrics along the last axis, for one method, shape (n_metrics,), or several, shape (n_methods, n_metrics), and
``higher_is_better``, one bool for all metrics or one for each. A `DataFrame` of numbers will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._validate import real_array
from ._types import FloatArray

Flags = bool | Sequence[bool]


def performance_drops(
    metrics: npt.ArrayLike, baselines: npt.ArrayLike, *, higher_is_better: Flags = False
) -> FloatArray:
    r"""Return the drop of each metric in per cent, PIVRG, Eq. (3).

    .. math:: \Delta m_i = (-1)^{\delta_i} \frac{M_{m,i} - M_{b,i}}{M_{b,i}} \times 100

    Positive where a method is worse than single-task training. The denominator is :math:`|M_{b,i}|`, which differs
    for negative baselines only.

    Parameters
    ----------
    metrics : array_like, shape (..., n_metrics)
        M_m.
    baselines : array_like, shape (n_metrics,)
        M_b, of single-task training; not zero.
    higher_is_better : bool or sequence of n_metrics bools
        delta. (BiLB4MTL prints it the other way round, which contradicts its own tables.)

    Returns
    -------
    numpy.ndarray
        In the shape of `metrics`.
    """
    base = _array("baselines", baselines)
    if base.ndim != 1 or base.size == 0:
        raise ValueError(f"`baselines` must have shape (n_metrics,); got {base.shape}.")
    if (base == 0.0).any():
        raise ValueError(f"`baselines` must not be zero; got 0 at index {int(np.argmin(np.abs(base)))}.")
    values = _array("metrics", metrics)
    if values.ndim == 0 or values.shape[-1] != base.size:
        raise ValueError(f"`metrics` must have shape (..., {base.size}), as `baselines`; got {values.shape}.")
    return np.asarray(_signs(higher_is_better, base.size) * (values - base) / np.abs(base) * 100.0)


def delta_m(metrics: npt.ArrayLike, baselines: npt.ArrayLike, *, higher_is_better: Flags = False) -> Any:
    r"""Return :math:`\Delta m`, the mean of :func:`performance_drops` (PIVRG, sec. 3.2): lower is better.

    The tables of PIVRG, BiLB4MTL and Nash-MTL average over all metrics alike, whichever task they belong to.
    A float for one method, shape (n_methods,) for several; parameters as in :func:`performance_drops`.
    """
    return _plain(performance_drops(metrics, baselines, higher_is_better=higher_is_better).mean(axis=-1))


def delta_m_variance(metrics: npt.ArrayLike, baselines: npt.ArrayLike, *, higher_is_better: Flags = False) -> Any:
    r"""Return :math:`\mathrm{Var}[\Delta m_i]` over the metrics, with 1/n (PIVRG, Table 5): lower is more balanced."""
    return _plain(performance_drops(metrics, baselines, higher_is_better=higher_is_better).var(axis=-1))


def delta_p(
    metrics: npt.ArrayLike,
    baselines: npt.ArrayLike,
    *,
    higher_is_better: Flags = False,
    metrics_per_task: Sequence[int] | None = None,
) -> Any:
    r"""Return :math:`\Delta_p` of FORUM (Eq. 3.33 of the thesis), in per cent: higher is better.

    .. math:: \Delta_p = 100 \times \frac1m \sum_i \frac{1}{N_i} \sum_j
              \frac{(-1)^{s_{ij}} (M_{ij} - M_{ij}^{\mathrm{STL}})}{M_{ij}^{\mathrm{STL}}}

    The opposite sign of :func:`delta_m`, and each task counts alike, however many metrics it has.

    Parameters
    ----------
    metrics, baselines, higher_is_better
        As in :func:`performance_drops`, the metrics of a task side by side.
    metrics_per_task : sequence of m ints, optional
        :math:`N_i`; 1 for each by default.
    """
    gains = -performance_drops(metrics, baselines, higher_is_better=higher_is_better)
    counts = [1] * gains.shape[-1] if metrics_per_task is None else list(metrics_per_task)
    if sum(counts) != gains.shape[-1] or min(counts) < 1:
        raise ValueError(f"`metrics_per_task` must be positive with the sum {gains.shape[-1]}; got {counts}.")
    weights = np.repeat(1.0 / np.array(counts), counts) / len(counts)
    return _plain(gains @ weights)


def mean_rank(metrics: npt.ArrayLike, *, higher_is_better: Flags = False) -> FloatArray:
    """Return the mean rank of each method over the metrics (MR of PIVRG, sec. 4.1); 1 is the best.

    Equal results share the mean of their ranks. Single-task training is not among the methods in the paper's tables.

    Parameters
    ----------
    metrics : array_like, shape (n_methods, n_metrics)
        The table.
    higher_is_better : bool or sequence of n_metrics bools
        The direction of each metric.

    Returns
    -------
    numpy.ndarray, shape (n_methods,)
    """
    values = _array("metrics", metrics)
    if values.ndim != 2:
        raise ValueError(f"`metrics` must have shape (n_methods, n_metrics); got {values.shape}.")
    costs = values * _signs(higher_is_better, values.shape[1])
    better = (costs[None, :, :] < costs[:, None, :]).sum(axis=1)
    equal = (costs[None, :, :] == costs[:, None, :]).sum(axis=1)
    return np.asarray((better + 0.5 * (equal + 1)).mean(axis=1))


def hypervolume(metrics: npt.ArrayLike, reference: npt.ArrayLike, *, higher_is_better: Flags = False) -> float:
    """Return the hypervolume of a set of results, which moocore computes exactly: larger is better.

    Parameters
    ----------
    metrics : array_like, shape (n_points, n_metrics)
        The points; those that do not dominate the reference count nothing.
    reference : array_like, shape (n_metrics,)
        The worst value of each metric that counts.
    higher_is_better : bool or sequence of n_metrics bools
        The direction of each metric.

    Raises
    ------
    ImportError
        Without moocore.
    """
    try:
        import moocore
    except ImportError as error:
        raise ImportError("hypervolume needs moocore: pip install moocore.") from error
    values, worst = _array("metrics", metrics), _array("reference", reference)
    if values.ndim != 2:
        raise ValueError(f"`metrics` must have shape (n_points, n_metrics); got {values.shape}.")
    if worst.shape != values.shape[1:]:
        raise ValueError(f"`reference` must have shape ({values.shape[1]},); got {worst.shape}.")
    signs = _signs(higher_is_better, values.shape[1])
    return float(moocore.hypervolume(np.ascontiguousarray(values * signs), ref=worst * signs))


def _array(name: str, values: Any) -> FloatArray:
    array = np.asarray(real_array(name, values, "an array"), dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite; got {array[~np.isfinite(array)].flat[0]}.")
    return array


def _signs(higher_is_better: Flags, n: int) -> FloatArray:
    """-1 where higher is better, else 1."""
    flags = np.asarray(higher_is_better)
    if flags.dtype != np.bool_ or flags.shape not in ((), (n,)):
        raise ValueError(f"`higher_is_better` must be a bool or {n} bools; got {higher_is_better!r}.")
    return np.broadcast_to(np.where(flags, -1.0, 1.0), (n,))


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value
