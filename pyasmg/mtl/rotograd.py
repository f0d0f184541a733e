"""RotoGrad: each task sees its own rotation of the representation."""

from __future__ import annotations

import math
import weakref
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .._validate import describe, integer
from ._base import scale_of
from ._distributed import mean
from ._gradient import GramBalancer, HeadWeights
from ._parameters import accumulate
from ._types import Call, FloatArray


class RotoGrad(GramBalancer):
    r"""RotoGrad (Javaloy and Valera, 2022): gradients on the representation of equal length, and of like direction.

    The heads see :math:`r_k = R_k z`, with a rotation :math:`R_k \in SO(s)` per task, which the balancer keeps::

        balancer = pyasmg.mtl.RotoGrad(n_tasks=3, size=64)
        optimizer = torch.optim.Adam([{"params": model_parameters}, {"params": balancer.parameters(), "lr": 1e-4}])
        z = trunk(batch)
        losses = [loss(head(r)) for head, r in zip(heads, balancer.rotate(z))]
        balancer.backward(losses, features=z)

    With :math:`G_k` the gradient of loss k on z, over the batch, and :math:`G_k^0` that of an early step,

    .. math:: d = C \sum_k U_k, \qquad U_k = \frac{G_k}{\|G_k\|}, \qquad C = \sum_k \alpha_k \|G_k\|, \qquad
              \alpha_k = \frac{\|G_k\| / \|G_k^0\|}{\sum_j \|G_j\| / \|G_j^0\|}

    goes back through the trunk. ``.grad`` of the rotations receives the gradient of

    .. math:: -\sum_n \langle R_k^\top \tilde g_{nk},\, v_n \rangle, \qquad v_n = \frac1m \sum_j u_{nj}

    with :math:`\tilde g_{nk} = R_k g_{nk}`, the gradient of sample n on :math:`r_k`, held constant: so they turn
    towards the mean direction, in your optimizer. Its rate for them should be smaller, and decay faster, than that of
    the network. One backward pass per task through the heads, one through the trunk, and O(m s^3) for the rotations.

    Parameters
    ----------
    n_tasks : int
        m.
    size : int, optional
        s, how many entries of the representation are rotated, from the first on; the others are passed on. Without
        it there are no rotations (the paper's "scale only").
    dim : int
        The dimension of the representation that is rotated: the last by default, 1 for the channels of an image.
    rotate_only : bool
        d is the plain sum of the :math:`G_k`.
    burn_in : int
        :math:`G_k^0` is of the first step, and from step `burn_in` + 1 on of that step: 20 as in the authors' code, 0
        for the first step as in the paper's formula.
    head_weights : {"one", "weighted"}
        "one" by default: the heads are trained on the plain losses.

    Attributes
    ----------
    angles : torch.nn.Parameter, shape (m, s, s)
        A, with :math:`R_k = \exp(L_k - L_k^\top)` and :math:`L_k` the part of :math:`A_k` below the diagonal; 0 at
        first, so that the rotations are the identity.

    Notes
    -----
    Deviations. The authors' code has a mean of squares for the rotations, :math:`\|R_k \bar g_n - \tilde g_{nk}\|^2`,
    whose gradient is the same up to a factor that all tasks share. It wraps the whole model, and optionally divides the
    losses by their first values; here the model and the losses stay yours. Zero gradients have :math:`U_k = 0`, and a
    ratio of 1 where :math:`G_k^0` is zero.

    Where :meth:`rotate` has not been called, or ``backward`` is called without `features`, there is nothing to rotate:
    the lengths are those of the gradients on the representation or on the shared parameters, and the rotations get
    no gradient.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_initial", "_n_steps")

    def __init__(
        self,
        n_tasks: int,
        size: int | None = None,
        *,
        dim: int = -1,
        rotate_only: bool = False,
        burn_in: int = 20,
        head_weights: HeadWeights | None = None,
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        self.size = None if size is None else integer("size", size, 1)
        self.dim = int(dim)
        self.rotate_only = bool(rotate_only)
        self.burn_in = integer("burn_in", burn_in, 0)
        self.angles: nn.Parameter | None = None
        if self.size is not None:
            self.angles = nn.Parameter(torch.zeros(n_tasks, self.size, self.size))
        self._initial: FloatArray | None = None
        self._n_steps = 0
        self._rotated: weakref.ref[Tensor] | None = None
        self._turn: tuple[Tensor, float, Any] | None = None  # representation, factor of the scaler, group
        self._gradient: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the weak reference behind, which cannot be pickled."""
        return {**self.__dict__, "_rotated": None, "_turn": None, "_gradient": None}

    @property
    def rotations(self) -> Tensor:
        """The rotations, shape (m, s, s)."""
        if self.angles is None:
            raise ValueError("`size` must be given to RotoGrad for its rotations; got None.")
        lower = self.angles.tril(-1)
        rotations: Tensor = torch.linalg.matrix_exp(lower - lower.transpose(1, 2))
        return rotations

    def rotate(self, representation: Tensor) -> list[Tensor]:
        """Return the representation as each head sees it; the heads' losses do not train the rotations.

        Parameters
        ----------
        representation : Tensor
            What ``backward`` gets as `features`; at least `size` entries along `dim`.
        """
        rotations = self.rotations.detach()
        size = rotations.shape[1]
        if not isinstance(representation, Tensor):
            raise TypeError(f"`representation` must be a tensor; got {describe(representation)}.")
        if not -representation.ndim <= self.dim < representation.ndim or representation.shape[self.dim] < size:
            raise ValueError(
                f"`representation` must have at least size = {size} entries along dim = {self.dim}; "
                f"got shape {tuple(representation.shape)}."
            )
        if representation.requires_grad:
            self._rotated = weakref.ref(representation)
        moved = representation.movedim(self.dim, -1)
        turned = [torch.cat((moved[..., :size] @ r.T.to(moved), moved[..., size:]), dim=-1) for r in rotations]
        return [result.movedim(-1, self.dim) for result in turned]

    def _backward(self, call: Call) -> None:
        """Turn as well; `features` is the tensor that was rotated."""
        features = call.features
        rotated = None if self._rotated is None else self._rotated()
        if rotated is not None and features is not None:
            given = [features] if isinstance(features, Tensor) else list(features)
            if len(given) != 1 or given[0] is not rotated:
                raise ValueError("`features` must be the tensor that was passed to `rotate`; got another one.")
            self._turn = (rotated, scale_of(call.scaler, rotated.device), call.group)
        try:
            super()._backward(call)
            if self._turn is not None and self.angles is not None and self.angles.requires_grad:
                overflow = torch.full_like(self.angles, torch.nan)  # of the scaler, which skips the step then
                accumulate([self.angles], [overflow if self._gradient is None else self._gradient])
        finally:
            self._turn = self._gradient = None

    def _combination(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> FloatArray:
        self._turn_towards_mean(matrix, gram)
        return super()._combination(matrix, gram, losses)

    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        lengths = [math.sqrt(square) for square in gram.diagonal().tolist()]
        if self._initial is None or self._n_steps == self.burn_in:
            self._initial = np.array(lengths)
        self._n_steps += 1
        if self.rotate_only:
            return np.ones(self.n_tasks)
        initial = self._initial.tolist()
        ratios = [now / before if before > 0.0 else 1.0 for now, before in zip(lengths, initial, strict=True)]
        total = sum(ratios)
        terms = sum(ratio * norm for ratio, norm in zip(ratios, lengths, strict=True))
        length = terms / total if total > 0.0 else 0.0
        return np.array([length / norm if norm > 0.0 else 0.0 for norm in lengths])

    def _turn_towards_mean(self, matrix: Tensor, gram: FloatArray) -> None:
        """Compute the gradient of the rotations."""
        if self._turn is None or self.angles is None or not self.angles.requires_grad:
            return
        representation, scale, group = self._turn
        norms = np.sqrt(np.diag(gram))
        inverse = np.where(norms > 0.0, 1.0 / np.where(norms > 0.0, norms, 1.0), 0.0) / self.n_tasks
        target = (torch.from_numpy(inverse).to(matrix) @ matrix) / scale  # v
        size = self.angles.shape[1]

        def samples(row: Tensor) -> Tensor:
            return row.view(representation.shape).movedim(self.dim, -1)[..., :size].reshape(-1, size)

        outer = torch.stack([samples(row).T @ samples(target) for row in matrix])  # sum_n g_n v_n'
        if group is not None:  # means over shares: gradients and norms are those of the joined batch
            outer = mean(outer, group) / torch.distributed.get_world_size(group)
        with torch.enable_grad():
            rotations = self.rotations
            alignment = (rotations.transpose(1, 2) @ rotations.detach() @ outer.to(rotations)).diagonal(dim1=1, dim2=2)
            self._gradient = torch.autograd.grad(-alignment.sum(), self.angles)[0]
