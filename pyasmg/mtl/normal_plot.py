"""A plot of task positions over training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def plot_positions(
    history: Sequence[npt.ArrayLike], *, names: Sequence[str] | None = None, steps: Sequence[float] | None = None
) -> Any:
    """Draw the positions of the tasks in NORMAL's flow over training (thesis, Fig. 5.2).

    Collect the history in the training loop: ``history.append(model.positions)``.

    Parameters
    ----------
    history : sequence of arrays of shape (m,)
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
        For an empty history, entries of different lengths, or another number of names or steps.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError('plot_positions needs matplotlib: pip install "pyasmg[plot]".') from error
    rows = [np.asarray(entry, dtype=float) for entry in history]
    if not rows:
        raise ValueError("`history` must hold at least one entry; got none.")
    shapes = {row.shape for row in rows}
    if len(shapes) > 1 or rows[0].ndim != 1:
        raise ValueError(
            f"the entries of `history` must have one shape (m,); got {', '.join(map(str, sorted(shapes)))}."
        )
    values = np.stack(rows)
    m = values.shape[1]
    labels = [f"task {task}" for task in range(m)] if names is None else list(names)
    if len(labels) != m:
        raise ValueError(f"`names` must have {m} entries; got {len(labels)}.")
    x = np.asarray(range(len(rows)) if steps is None else steps, dtype=float)
    if x.shape != (len(rows),):
        raise ValueError(f"`steps` must have {len(rows)} entries, as `history`; got {x.size}.")
    fig, axis = plt.subplots(figsize=(5.0, 3.4))
    for task, label in enumerate(labels):
        axis.plot(x, values[:, task], label=label)
    axis.set(title="task positions", xlabel="step", ylabel="position")
    axis.legend(fontsize="small")
    fig.tight_layout()
    return fig
