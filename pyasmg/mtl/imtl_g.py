"""IMTL-G: impartial multi-task learning by gradients."""

from __future__ import annotations

from .. import _core
from ._gradient import GramBalancer
from ._types import FloatArray


class IMTLG(GramBalancer):
    r"""IMTL-G (Liu et al., 2021): the direction has the same projection onto each gradient.

    .. math:: d = \sum_i w_i g_i, \qquad \sum_i w_i = 1, \qquad
              d^\top \frac{g_i}{\|g_i\|} = d^\top \frac{g_j}{\|g_j\|}   \qquad \text{(PIVRG, App. C.2)}

    so that :math:`w_i \propto y_i / \|g_i\|` with :math:`C y = 1`, C the cosines. m backward passes, or one through
    the trunk with ``features=``. Weights may be negative; where :math:`\sum_i y_i / \|g_i\|` is (a gradient that is
    much longer than the others with y < 0), the projections are equal and negative, and all losses rise along -d: the
    paper's formula does that too.

    Parameters
    ----------
    n_tasks : int
        m.
    head_weights : {"one", "weighted"}
        "one" by default: the paper weighs the heads by IMTL-L, not by these weights.

    Notes
    -----
    Deviations. The paper eliminates the first task and solves a system of m - 1 equations; this is the same for
    linearly independent gradients. Otherwise y is the shortest solution (so that equal tasks have equal weights);
    where there is none (0 is a combination of the gradients with a sum of y other than 0, such as a Pareto-stationary
    point), no d but 0 has equal projections, and all weights are 0, as they are where :math:`\sum_i y_i / \|g_i\|`
    vanishes. A zero gradient is left out, with weight 0.
    """

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        return _core.impartial_weights(gram)
