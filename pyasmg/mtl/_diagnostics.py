"""What a balancer knows of its last step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._types import FloatArray


class Diagnostics(NamedTuple):
    """The last step of a balancer, in float64 on the host.

    Attributes
    ----------
    losses : ndarray, shape (m,)
        The losses (their mean over the processes where there are several).
    weights : ndarray, shape (m,), or None
        What the gradients of the tasks were multiplied by; None for a rule that is no linear combination.
    gram : ndarray, shape (m, m), or None
        Gram matrix of the tasks' gradients, on the shared parameters or on the representation; None for methods that
        look at losses only. MoCo keeps no gradients: that of their running averages.
    """

    losses: FloatArray
    weights: FloatArray | None
    gram: FloatArray | None = None

    @property
    def gradient_norms(self) -> FloatArray | None:
        """Norm of each task's gradient, shape (m,)."""
        return None if self.gram is None else np.sqrt(np.diag(self.gram))

    @property
    def cosines(self) -> FloatArray | None:
        """Cosines between the tasks' gradients, shape (m, m); 0 beside a zero gradient."""
        norms = self.gradient_norms
        if self.gram is None or norms is None:
            return None
        scale = np.where(norms > 0, norms, 1.0)
        cosines: FloatArray = np.clip(self.gram / scale / scale[:, None], -1.0, 1.0)
        np.fill_diagonal(cosines, np.where(norms > 0, 1.0, 0.0))
        return cosines

    @property
    def conflict_rate(self) -> float | None:
        """Share of the pairs of tasks whose gradients have a negative inner product; 0 for a single task."""
        if self.gram is None:
            return None
        m = len(self.gram)
        upper = self.gram[np.triu_indices(m, 1)]
        return float(np.mean(upper < 0)) if m > 1 else 0.0
