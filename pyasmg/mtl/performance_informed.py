"""Performance-informed weighting of any method."""

from __future__ import annotations

import numpy as np

from .._validate import describe
from ._base import Balancer
from ._diagnostics import Diagnostics
from ._types import Call, FloatArray
from .performance import Metrics, Performance


class PerformanceInformed(Balancer):
    r"""The PI- variant of another method (PIVRG, sec. 4.4): weights :math:`\omega` of Eq. (5) on top of it.

    ==================  ===========================================================================================
    method              what :math:`\omega` does
    ==================  ===========================================================================================
    loss weighting      the losses are multiplied by it, :math:`\mathcal L' = \omega \odot \mathcal L` (sec. 4.4)
    Nash-MTL            the logarithms of the rates are (sec. 4.4), :math:`G w = \omega / w`
    FairGrad            :math:`G w = (\omega / w)^{1/\alpha}`; PIVRG itself is this at alpha = 2
    MGDA                the rates :math:`g_i^\top d / \omega_i` are balanced; see :class:`MGDA`
    any other           the losses are multiplied by it before the method sees their gradients
    ==================  ===========================================================================================

    The paper spells out the first two; the others are ours. :math:`\omega` is ones until :meth:`update` is called.
    The cost is that of the method.

    Parameters
    ----------
    balancer : Balancer
        The method.
    performance : Performance
        Baselines and directions of the metrics, of as many tasks.

    Examples
    --------
    >>> import pyasmg.mtl
    >>> performance = pyasmg.mtl.Performance([0.80, 2.5], higher_is_better=[True, False], bounds=(0.5, 1.5))
    >>> balancer = pyasmg.mtl.PerformanceInformed(pyasmg.mtl.EW(2), performance)
    >>> balancer.update([0.72, 2.5]).round(3)
    array([1.2, 0.8])
    """

    def __init__(self, balancer: Balancer, performance: Performance) -> None:
        if not isinstance(balancer, Balancer):
            raise TypeError(f"`balancer` must be a balancer of pyasmg.mtl; got {describe(balancer)}.")
        super().__init__(balancer.n_tasks)
        if not isinstance(performance, Performance):
            raise TypeError(f"`performance` must be a Performance; got {describe(performance)}.")
        if len(performance) != balancer.n_tasks:
            raise ValueError(f"`performance` must be of n_tasks = {balancer.n_tasks} tasks; got {len(performance)}.")
        self.balancer = balancer
        self.performance = performance

    def update(self, metrics: Metrics) -> FloatArray:
        """Set the weights of the tasks from metrics on validation data (or training data), usually once an epoch.

        Parameters
        ----------
        metrics : sequence of m entries
            In the layout of the baselines.

        Returns
        -------
        numpy.ndarray, shape (m,)
            The new weights, which are in ``balancer.preference``.
        """
        self.balancer.preference = self.performance.weights(metrics)
        return np.array(self.balancer.preference)

    @property
    def diagnostics(self) -> Diagnostics | None:
        """What the method knows of its last step."""
        return self.balancer.diagnostics

    def _backward(self, call: Call) -> None:
        self.balancer._backward(call)
