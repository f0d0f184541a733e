"""GradVac: gradient vaccine."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from .. import _core
from .._validate import number
from ._gradient import GramBalancer, HeadWeights
from ._state import generator
from ._types import FloatArray
from .ew import Reduction, reduction_factor
from .pcgrad import orders

Update = Literal["always", "violation"]
LARGEST_TARGET = 1.0 - 1e-6


class GradVac(GramBalancer):
    r"""Gradient vaccine (GradVac; Wang et al., 2021): each gradient is turned until its cosines reach usual ones.

    For each task i, :math:`v_i = g_i`, and then for the other tasks j in a random order, with
    :math:`\phi = \cos(v_i, g_j)` and the usual cosine :math:`\hat\phi_{ij}`,

    .. math:: v_i \leftarrow v_i + \frac{\|v_i\| (\hat\phi_{ij} \sqrt{1 - \phi^2} - \phi \sqrt{1 - \hat\phi_{ij}^2})}
                                        {\|g_j\| \sqrt{1 - \hat\phi_{ij}^2}} g_j
              \quad \text{if } \phi < \hat\phi_{ij}

    .. math:: \hat\phi_{ij} \leftarrow (1 - \beta) \hat\phi_{ij} + \beta \phi, \qquad d = \sum_i v_i

    after which :math:`\cos(v_i, g_j) = \hat\phi_{ij}`. The usual cosines start at 0: the first step is PCGrad's. On
    coefficients with the Gram matrix: O(m^3) beside the m backward passes (one through the trunk with ``features=``).

    Parameters
    ----------
    n_tasks : int
        m.
    beta : float
        In [0, 1]. 0.5 as in LibMTL and TorchJD; 0.01 in the paper's multilingual experiments.
    update : {"always", "violation"}
        When the usual cosines are updated: "always" as in the paper, or only where the gradient is turned (LibMTL 1.1).
    reduction : {"sum", "mean"}
        The sum as in the paper.
    seed : int
        Of the random orders, anew for each i; part of the state, as in :class:`PCGrad`.
    head_weights : {"one", "weighted"}
        "one" by default: the heads are trained on the plain losses.

    Notes
    -----
    Deviations. The paper's cosines are those of single layers or of encoder and decoder; here they are those of all
    shared parameters (LibMTL's default). Target cosines are at most 1 - 1e-6 in magnitude, where public codes add
    1e-8 to the divisor: of two equal tasks nothing is turned then but rounding. Where :math:`v_i` or :math:`g_j` is
    zero there is no cosine, and the pair is skipped.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_generator", "_usual")

    def __init__(
        self,
        n_tasks: int,
        *,
        beta: float = 0.5,
        update: Update = "always",
        reduction: Reduction = "sum",
        seed: int = 0,
        head_weights: HeadWeights | None = None,
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        self.beta = number("beta", beta, low=0.0, high=1.0)
        if update not in ("always", "violation"):
            raise ValueError(f"`update` must be 'always' or 'violation'; got {update!r}.")
        self.update: Update = update
        self._factor = reduction_factor(reduction, n_tasks)
        self._generator = generator(seed)
        self._usual: FloatArray = np.zeros((n_tasks, n_tasks))

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        order = orders(self._generator, self.n_tasks)
        weights, self._usual = _core.vaccinate(
            gram, order, self._factor, self.beta, self.update == "always", LARGEST_TARGET, self._usual
        )
        return weights
