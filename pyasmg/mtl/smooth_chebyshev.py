"""Smooth Chebyshev scalarization."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from .._validate import integer, number, vector
from ._base import LossBalancer
from ._types import FloatArray
from .rlw import softmax
from .si import check_positive


class SmoothChebyshev(LossBalancer):
    r"""Smooth Chebyshev scalarization (STCH; Lin et al., ICML 2024): a smooth maximum of the weighted losses.

    .. math:: \min_\theta \mu \log \sum_i \exp\Bigl(\frac{\lambda_i (\ell_i(\theta) - z^*_i)}{\mu}\Bigr)

    The gradient of loss i is multiplied by
    :math:`\lambda_i \operatorname{softmax}_i(\lambda \odot (\ell - z^*) / \mu)`. The weights of the tasks are
    :math:`\lambda_i = 1 / m`, or ``preference[i] / m``. One backward pass.

    Parameters
    ----------
    n_tasks : int
        m.
    mu : float
        :math:`\mu`; towards 0, the largest loss gets all the weight, towards infinity all weigh alike. 1 as in the
        authors' multi-task code; the paper tries 0.01, 0.1, 0.5 and 1.
    ideal : float or sequence of m floats
        :math:`z^*`, lower bounds of the losses.

    See Also
    --------
    LogSmoothChebyshev : the form of the authors' multi-task code, which does not depend on the units of the losses.
    """

    def __init__(self, n_tasks: int, *, mu: float = 1.0, ideal: Any = 0.0) -> None:
        super().__init__(n_tasks)
        self.mu = number("mu", mu, low=0.0, strict=True)
        self.ideal = vector("ideal", ideal, n_tasks)

    def weights(self, losses: FloatArray) -> FloatArray:
        preference = 1.0 if self._preference is None else self._preference  # the losses are those times it
        return np.asarray(softmax((losses - preference * self.ideal) / (self.n_tasks * self.mu)) / self.n_tasks)


STCH = SmoothChebyshev


class LogSmoothChebyshev(LossBalancer):
    r"""Smooth Chebyshev scalarization of logarithms, as in the authors' multi-task code and in LibMTL.

    .. math:: \min_\theta m\,\mu \log \sum_i \exp\Bigl(\frac1\mu \log \frac{\ell_i(\theta)}{n_i}\Bigr)

    where :math:`n_i` is the mean of loss i over the last epoch of a warm-up, during which
    :math:`\sum_i \log \ell_i` is minimised. The gradient of loss i is multiplied by
    :math:`m \operatorname{softmax}_i(\log(\ell / n) / \mu) / \ell_i`, and by :math:`1 / \ell_i` in the warm-up: the
    units of the losses do not matter, and so a `preference` changes nothing. One backward pass.

    Parameters
    ----------
    n_tasks : int
        m.
    mu : float
        :math:`\mu`, see :class:`SmoothChebyshev`.
    warmup_epochs : int
        Length of the warm-up, at least 1: the last of these epochs gives n. 5, as in the code, whose option 4 counts
        from 0.
    steps_per_epoch : int, optional
        An epoch ends by itself after this many steps. By default, call :meth:`end_epoch`.

    Raises
    ------
    ValueError
        By ``backward``, for a loss that is not positive.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_sum", "_n_steps", "_epoch", "_nadir")

    def __init__(
        self, n_tasks: int, *, mu: float = 1.0, warmup_epochs: int = 5, steps_per_epoch: int | None = None
    ) -> None:
        super().__init__(n_tasks)
        self.mu = number("mu", mu, low=0.0, strict=True)
        self.warmup_epochs = integer("warmup_epochs", warmup_epochs, 1)
        self.steps_per_epoch = None if steps_per_epoch is None else integer("steps_per_epoch", steps_per_epoch, 1)
        self._sum: FloatArray = np.zeros(n_tasks)
        self._n_steps = 0
        self._epoch = 0
        self._nadir: FloatArray | None = None

    def end_epoch(self) -> None:
        """Close the epoch; the warm-up's last one sets the reference of the losses."""
        if self._n_steps == 0:
            return
        self._epoch += 1
        if self._epoch == self.warmup_epochs:
            self._nadir = self._sum / self._n_steps
        self._sum, self._n_steps = np.zeros(self.n_tasks), 0

    def weights(self, losses: FloatArray) -> FloatArray:
        check_positive(losses, "LogSmoothChebyshev")
        raw = losses if self._preference is None else losses / self._preference
        if self.steps_per_epoch is not None and self._n_steps >= self.steps_per_epoch:
            self.end_epoch()
        self._sum = self._sum + raw
        self._n_steps += 1
        if self._nadir is None:
            return np.asarray(1.0 / losses)
        return np.asarray(self.n_tasks * softmax(np.log(raw / self._nadir) / self.mu) / losses)
