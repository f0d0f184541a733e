"""How the classes of one prompt are laid out in sequences for the text tower.

In a causal tower the start and the prompt see nothing of the class names: they are the same for every class. So they
stand there once, the class names follow one after the other, each at the positions behind the prompt, and the mask
lets a class name see the start, the prompt and itself. The tower computes 1 + n_ctx + (sum of the classes' tokens)
positions instead of K times the longest sequence; nothing is padded.

Otherwise each class has a sequence of its own. If padding is masked, it is cut off behind the longest class.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ._tower import TextTower

_LONGEST = 192  # tokens of class names in one sequence: beyond, attention costs more than sharing saves


class Sequences(NamedTuple):
    """Sequences for the tower that differ in the prompt only; positions are added everywhere but in the prompt.

    ``before`` (R, 1, width) and ``after`` (R, L, width) are the start and the class names of the R sequences of one
    prompt, ``mask`` an additive mask (T, T) for all, one for each head of each (R * heads, T, T), or None; ``pooled``
    (R, k) says which tokens are pooled: R * k classes, in order.
    """

    before: Tensor
    after: Tensor
    mask: Tensor | None
    pooled: Tensor

    def features(self, tower: TextTower, context: Tensor) -> Tensor:
        """Return the features (N, R * k, embed_dim) for prompts (N, n_ctx, width), positions added."""
        n, r = len(context), len(self.before)
        parts = (
            self.before.expand(n, -1, -1, -1),
            context[:, None].expand(-1, r, -1, -1),
            self.after.expand(n, -1, -1, -1),
        )
        x = torch.cat(parts, dim=2).flatten(0, 1)
        mask = self.mask if self.mask is None or self.mask.ndim == 2 else self.mask.repeat(n, 1, 1)
        return tower.features(x, mask, self.pooled.repeat(n, 1)).reshape(n, self.pooled.numel(), -1)


def lay_out(tower: TextTower, ids: Tensor, ends: Tensor, n_ctx: int) -> list[Sequences]:
    """Return the sequences of all classes.

    Parameters
    ----------
    tower : TextTower
        Embeds them.
    ids : Tensor, shape (K, context_length)
        Token numbers, anything that is no padding in place of the prompt's.
    ends : Tensor, shape (K,)
        Which token is pooled.
    n_ctx : int
        Tokens of the prompt.
    """
    if tower.causal:
        return [_shared(tower, ids[rows], ends[rows], n_ctx) for rows in _groups(ends - n_ctx)]
    length = int(ends.max()) + 1 if tower.trims else tower.context_length
    ids = ids[:, :length]
    x = tower.embed(ids) + tower.positions[:length]
    return [Sequences(x[:, :1].clone(), x[:, n_ctx + 1 :].clone(), tower.padding_mask(ids), ends[:, None])]


def _groups(sizes: Tensor) -> list[slice]:
    """Return runs of classes of together at most ``_LONGEST`` tokens, at least one class each."""
    groups, first, total = [], 0, 0
    for i, size in enumerate(sizes.tolist()):
        if total + size > _LONGEST and i > first:
            groups.append(slice(first, i))
            first, total = i, 0
        total += size
    return [*groups, slice(first, len(sizes))]


def _shared(tower: TextTower, ids: Tensor, ends: Tensor, n_ctx: int) -> Sequences:
    """Return one sequence that several classes share."""
    head = n_ctx + 1
    sizes = ends + 1 - head
    own = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    named = (own >= head) & (own <= ends[:, None])  # row after row: the class names one after the other
    position = torch.cat((own[0, :head], own[named]))
    owner = torch.repeat_interleave(torch.arange(len(ids), device=ids.device), sizes)
    owner = torch.cat((owner.new_full((head,), -1), owner))
    seen = (position[:, None] >= position) & ((owner[:, None] == owner) | (owner == -1))
    mask = torch.zeros(seen.shape, device=ids.device, dtype=tower.dtype).masked_fill_(~seen, float("-inf"))
    after = tower.embed(ids[named]) + tower.positions[position[head:]]
    before = tower.embed(ids[:1, :1]) + tower.positions[:1]
    pooled = head + sizes.cumsum(0) - 1
    return Sequences(before, after[None], mask, pooled[None])
