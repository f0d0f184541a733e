"""GradDrop: gradient sign dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from .. import _core
from .._validate import describe, vector
from ._distributed import mean
from ._gradient import GradientBalancer, HeadWeights
from ._gram import host_array, on_core
from ._parameters import feature_list
from ._state import generator
from ._tensors import usual
from ._types import Call, FloatArray

CHUNK = 2**13  # columns at a time: what is computed on the way stays in the cache
PRODUCTS = 2**17  # at a time, of gradients on a representation: they stay in the cache


class GradDrop(GradientBalancer):
    r"""GradDrop (Chen et al., 2020): of the entries of all gradients, those of one sign are kept, at random.

    .. math:: P = \frac12 \Bigl(1 + \frac{\sum_i g_i}{\sum_i |g_i|}\Bigr), \qquad
              M_i = \mathbb 1[P > U]\, \mathbb 1[g_i > 0] + \mathbb 1[P < U]\, \mathbb 1[g_i < 0], \qquad U \sim U(0, 1)

    .. math:: d = \sum_i \bigl(l_i + (1 - l_i) M_i\bigr) \odot g_i   \qquad \text{(Algorithm 1)}

    with the leaks :math:`l_i`. There are two variants. Without `features`, all of it is elementwise on the gradients
    of the **parameters**, as in TorchJD (m backward passes). With ``features=`` it is on the gradients of the
    **representation** A, as in the paper (one backward pass through the trunk): there :math:`g_i` in P and M is
    :math:`\sum_b \operatorname{sgn}(A_b) \odot \nabla_{A_b} \ell_i`, summed over the batch, which is the first
    dimension; M holds for each sample.

    Parameters
    ----------
    n_tasks : int
        m.
    leak : float or array_like, shape (m,)
        l, in [0, 1]; 0, as in the paper's "pure" form and in LibMTL.
    seed : int
        Of U: the same numbers on each process and device. The state of the generator is part of the balancer's state.
        Deviation: the public codes draw from PyTorch's generator of the device.
    head_weights : {"one"}
        The heads are trained on the plain losses.

    Notes
    -----
    The paper's activation function of P is the identity, which is what its experiments use. :math:`P = U` keeps the
    negative sign (it has probability 0 in exact arithmetic), and where all gradients are zero P is 1/2.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_generator",)

    def __init__(
        self,
        n_tasks: int,
        *,
        leak: Any = 0.0,
        seed: int = 0,
        head_weights: HeadWeights | None = None,
    ) -> None:
        super().__init__(n_tasks, head_weights=head_weights)
        if self.head_weights != "one":
            raise ValueError("`head_weights` must be 'one' for GradDrop, which has no weights; got 'weighted'.")
        self.leak = vector("leak", leak, n_tasks)
        if self.leak.min() < 0.0 or self.leak.max() > 1.0:
            raise ValueError(f"`leak` must be in [0, 1]; got {describe(leak)}.")
        self._generator = generator(seed)
        self._features: list[Tensor] | None = None
        self._group: Any = None

    def _backward(self, call: Call) -> None:
        """Remember the representation, whose signs and batch enter."""
        if call.features is None:
            super()._backward(call)
            return
        self._features, self._group = feature_list(call.features), call.group
        try:
            for i, feature in enumerate(self._features):
                if feature.ndim == 0:
                    raise ValueError(f"`features` must have a batch as the first dimension; entry {i} has shape ().")
            super()._backward(call)
        finally:
            self._features = self._group = None

    def aggregate(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> tuple[Tensor, FloatArray | None]:
        dropped = None if self._features is not None else self._drop_on_core(matrix, [matrix[0]])
        if dropped is not None:
            return dropped[0], None
        leak = torch.from_numpy(self.leak).to(matrix)[:, None]
        if self._features is None:
            pieces = torch.split(matrix, CHUNK, dim=1)
            return torch.cat([self._drop_entries(piece, leak) for piece in pieces]), None
        parts, offset = [], 0
        for feature in self._features:
            part = matrix[:, offset : offset + feature.numel()].view(self.n_tasks, len(feature), -1)
            parts.append(self._drop_in_batch(part, feature.detach().sign().to(matrix), leak).reshape(-1))
            offset += feature.numel()
        return torch.cat(parts), None

    def _pieces(
        self, matrix: Tensor, gram: FloatArray, losses: FloatArray, like: Sequence[Tensor]
    ) -> tuple[list[Tensor], FloatArray | None]:
        pieces = None if self._features is not None else self._drop_on_core(matrix, like)
        return super()._pieces(matrix, gram, losses, like) if pieces is None else (pieces, None)

    def _drop_on_core(self, matrix: Tensor, like: Sequence[Tensor]) -> list[Tensor] | None:
        """Return d in pieces by the core's kernel, which draws the numbers that the generator would; None elsewhere."""
        bits = self._generator.bit_generator
        state: Any = bits.state
        pcg, leak = state["state"], self.leak if any(self.leak.tolist()) else None
        words = [*divmod(pcg["state"], 2**64), *divmod(pcg["inc"], 2**64), state["has_uint32"], state["uinteger"]]
        made = usual.sign_dropout(matrix, leak, words, like)
        pieces: list[Tensor]
        if made is not None:
            pieces, words = made
        elif not on_core(matrix):
            return None
        else:
            pieces = [matrix.new_empty(target.shape) for target in like]
            words = _core.sign_dropout(host_array(matrix), leak, words, [piece.numpy() for piece in pieces])
        pcg["state"] = words[0] << 64 | words[1]
        state["has_uint32"], state["uinteger"] = words[4:]
        bits.state = state
        return pieces

    def _drop_entries(self, rows: Tensor, leak: Tensor) -> Tensor:
        """Return d for columns of the matrix; P is the share of the positive entries in the sum of all sizes."""
        positive, negative = rows.clamp(min=0.0), rows.clamp(max=0.0)
        ones = rows.new_ones(self.n_tasks)  # a product adds up faster than sum()
        above, below = ones @ positive, ones @ negative
        keep = above > self._draw(above) * (above - below)
        if not self.leak.any():
            return torch.where(keep, above, below)
        left = torch.where(keep, (positive * (1.0 - leak)).sum(dim=0), (negative * (1.0 - leak)).sum(dim=0))
        return left.add_((rows * leak).sum(dim=0))

    def _drop_in_batch(self, part: Tensor, signs: Tensor, leak: Tensor) -> Tensor:
        """Return d for a representation; gradients of shape (m, b, n)."""
        signs = signs.reshape(part.shape[1:])
        together = max(1, PRODUCTS // signs.numel()) if signs.numel() else self.n_tasks
        groups = torch.split(part, together)
        evidence = torch.cat(
            [(gradients * signs).sum(dim=1) for gradients in groups]
        )  # einsum takes five times as long
        mean(evidence, self._group)
        above, below = evidence.clamp(min=0.0).sum(dim=0), evidence.clamp(max=0.0).sum(dim=0)
        keep = above > self._draw(above) * (above - below)
        kept = torch.where(keep, evidence > 0.0, evidence < 0.0).to(part)
        direction = torch.zeros_like(part[0])
        for gradients, shares in zip(groups, torch.split(leak + (1.0 - leak) * kept, together), strict=True):
            direction += (gradients * shares[:, None]).sum(dim=0)
        return direction

    def _draw(self, like: Tensor) -> Tensor:
        return torch.from_numpy(self._generator.random(len(like), dtype="float32")).to(like)
