"""A plot of what a balancer did: weights, gradient norms, cosines, conflicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._diagnostics import Diagnostics
from ._types import FloatArray


def plot_diagnostics(
    history: Sequence[Diagnostics], *, names: Sequence[str] | None = None, steps: Sequence[float] | None = None
) -> Any:
    """Draw the losses, the weights of the tasks, their gradient norms, the conflict rate, and the last cosines.

    Collect the history in the training loop::

        balancer.backward(losses, ...)
        history.append(balancer.diagnostics)

    Parameters
    ----------
    history : sequence of Diagnostics
        One per step, or per so many steps.
    names : sequence of m strings, optional
        Of the tasks.
    steps : sequence of numbers, optional
        Where on the horizontal axis each entry stands; 0, 1, ... by default.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        Without matplotlib.
    ValueError
        For an empty history, or another number of names or steps.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('plot_diagnostics needs matplotlib: pip install "pyasmg[plot]".') from error
    entries = list(history)
    if not entries:
        raise ValueError("`history` must hold at least one entry; got none.")
    m = entries[0].losses.size
    labels = [f"task {task}" for task in range(m)] if names is None else list(names)
    if len(labels) != m:
        raise ValueError(f"`names` must have {m} entries; got {len(labels)}.")
    x = np.asarray(range(len(entries)) if steps is None else steps, dtype=float)
    if x.shape != (len(entries),):
        raise ValueError(f"`steps` must have {len(entries)} entries, as `history`; got {len(x)}.")
    curves: dict[str, list[FloatArray | None]] = {
        "losses": [entry.losses for entry in entries],
        "weights": [entry.weights for entry in entries],
        "gradient norms": [entry.gradient_norms for entry in entries],
    }
    with_gram = any(entry.gram is not None for entry in entries)
    fig, axes = plt.subplots(1, 5 if with_gram else 2, figsize=(3.4 * (5 if with_gram else 2), 3.0), squeeze=False)
    for axis, (title, rows) in zip(axes[0], curves.items(), strict=False):
        _lines(axis, x, rows, m, labels)
        axis.set(title=title, xlabel="step")
    axes[0][0].legend(fontsize="small")
    if with_gram:
        rates = [np.nan if entry.conflict_rate is None else entry.conflict_rate for entry in entries]
        axes[0][3].plot(x, rates, color="0.3")
        axes[0][3].set(title="conflict rate", xlabel="step", ylim=(-0.03, 1.03))
        last = next(entry.cosines for entry in reversed(entries) if entry.gram is not None)
        image = axes[0][4].imshow(last, vmin=-1.0, vmax=1.0, cmap="RdBu")
        axes[0][4].set(title="cosines of the last step", xticks=range(m), yticks=range(m))
        axes[0][4].set_xticklabels(labels, rotation=90, fontsize="small")
        axes[0][4].set_yticklabels(labels, fontsize="small")
        fig.colorbar(image, ax=axes[0][4])
    fig.tight_layout()
    return fig


def _lines(axis: Any, x: FloatArray, rows: Sequence[FloatArray | None], m: int, labels: Sequence[str]) -> None:
    """Draw one line per task; gaps where there is no value, logarithmic where all are positive and far apart."""
    values = np.array([np.full(m, np.nan) if row is None else row for row in rows])
    for task in range(m):
        axis.plot(x, values[:, task], label=labels[task])
    known = values[np.isfinite(values)]
    if known.size and known.min() > 0.0 and known.max() > 30.0 * known.min():
        axis.set_yscale("log")
