"""Dynamic weight average."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .._validate import integer, number
from ._base import LossBalancer
from ._types import FloatArray
from .rlw import softmax


class DWA(LossBalancer):
    r"""Dynamic weight average (DWA; Liu et al., 2019, Eq. 7): more weight to losses that fall slowly.

    .. math:: \lambda_i = m \operatorname{softmax}_i(r / T), \qquad
              r_i = \bar\ell_i^{(e-1)} / \bar\ell_i^{(e-2)}

    with :math:`\bar\ell_i^{(e)}` the mean of loss i over epoch e. The weights are 1 in the first two epochs. One
    backward pass. In PI-DWA (PIVRG, Table 5) the losses are those times the `preference`.

    Parameters
    ----------
    n_tasks : int
        m.
    temperature : float
        T; 2 in the paper.
    steps_per_epoch : int, optional
        An epoch ends by itself after this many steps. By default, call :meth:`end_epoch`.

    Notes
    -----
    The ratio of a loss whose mean was 0 in the epoch before is taken as 1; the paper leaves it undefined.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_sum", "_n_steps", "_last", "_before_last")

    def __init__(self, n_tasks: int, *, temperature: float = 2.0, steps_per_epoch: int | None = None) -> None:
        super().__init__(n_tasks)
        self.temperature = number("temperature", temperature, low=0.0, strict=True)
        self.steps_per_epoch = None if steps_per_epoch is None else integer("steps_per_epoch", steps_per_epoch, 1)
        self._equal: FloatArray = np.ones(n_tasks)
        self._sum: FloatArray = np.zeros(n_tasks)
        self._n_steps = 0
        self._last: FloatArray | None = None
        self._before_last: FloatArray | None = None

    def end_epoch(self) -> None:
        """Close the epoch: the mean of its losses enters the weights."""
        if self._n_steps == 0:
            return
        self._before_last, self._last = self._last, self._sum / self._n_steps
        self._sum, self._n_steps = np.zeros(self.n_tasks), 0

    def weights(self, losses: FloatArray) -> FloatArray:
        if self.steps_per_epoch is not None and self._n_steps >= self.steps_per_epoch:
            self.end_epoch()
        self._sum = self._sum + losses
        self._n_steps += 1
        if self._last is None or self._before_last is None:
            return np.array(self._equal)
        known = self._before_last != 0.0
        ratio = np.where(known, self._last / np.where(known, self._before_last, 1.0), 1.0)
        return self.n_tasks * softmax(ratio / self.temperature)
