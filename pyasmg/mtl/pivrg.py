"""PIVRG: performance-informed variance reduction gradient aggregation."""

from __future__ import annotations

import numpy as np

from ..fair_weights import fair_weights
from ._gradient import GramBalancer, HeadWeights
from ._types import FloatArray
from .performance import Metrics, Performance


class PIVRG(GramBalancer):
    r"""PIVRG (Eqs. 2-8): the mean of the inverse rates, weighted by how far each task is behind its baseline.

    .. math:: \min_d \frac1m \sum_i \frac{\omega_i}{g_i^\top d} \quad (4) \;\Rightarrow\; d = \sum_i w_i g_i, \qquad
              (G w)^2 = \omega / w, \quad w > 0 \quad (8)

    with G the Gram matrix, solved to rounding by :func:`pyasmg.fair_weights` at alpha = 2. The weights
    :math:`\omega` are the `preference` of the balancer: ones (Eq. 2) until :meth:`update` is called with metrics,
    then those of Eq. (5), see :class:`Performance`. m backward passes.

    Parameters
    ----------
    n_tasks : int
        m.
    performance : Performance, optional
        Baselines and directions of the metrics; needed for :meth:`update`.
    head_weights : {"one", "weighted"}
        "one" by default: the paper speaks of shared parameters only and has no public code; FairGrad's code, which it
        follows, does not weigh the heads.

    Notes
    -----
    Deviation: the paper solves (8) as a least-squares problem with SciPy. A zero gradient has weight 0.

    Examples
    --------
    >>> import pyasmg.mtl
    >>> balancer = pyasmg.mtl.PIVRG(2, performance=pyasmg.mtl.Performance([0.80, 2.5], higher_is_better=[True, False]))
    >>> balancer.update([0.72, 2.5]).round(3)  # the first task is 10 % behind
    array([1.333, 0.667])
    """

    def __init__(
        self, n_tasks: int, *, performance: Performance | None = None, head_weights: HeadWeights | None = None
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        if performance is not None and len(performance) != n_tasks:
            raise ValueError(f"`performance` must be of n_tasks = {n_tasks} tasks; got {len(performance)}.")
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
            The new weights, which are in ``preference``.
        """
        if self.performance is None:
            raise ValueError("`performance` must be given to PIVRG for its `update`; got None.")
        self.preference = self.performance.weights(metrics)
        return np.array(self.preference)

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        return fair_weights(gram, 2.0)

    def preferred_weights(self, gram: FloatArray, losses: FloatArray, preference: FloatArray) -> FloatArray:
        return fair_weights(gram, 2.0, preference)
