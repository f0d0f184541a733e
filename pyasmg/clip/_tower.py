"""The text towers of open_clip whose input embeddings may be replaced exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ._imports import open_clip

_POOLS = ("argmax", "eos")


class UnsupportedTowerError(ValueError):
    """A text tower for which features from prompt embeddings would not equal the model's own."""


class TextTower:
    """The parts of a text tower, wherever the model keeps them; the modules are the model's own.

    Parameters
    ----------
    model : open_clip.CLIP or open_clip.CustomTextCLIP
        CLIP's own text transformer, causal or not, pooled at the end-of-text token.

    Raises
    ------
    UnsupportedTowerError
        For any other tower: a Hugging Face encoder, a class token (CoCa), pooling of the first or the last token.
    """

    def __init__(self, model: Any) -> None:
        holder = _holder(model)
        transformer_module = open_clip().transformer
        if holder is not model and not isinstance(holder, transformer_module.TextTransformer):
            _refuse(model, f"its text tower is a {type(holder).__name__}, not open_clip's TextTransformer")
        if getattr(holder, "cls_emb", None) is not None:
            _refuse(model, "its text tower appends a class token, as CoCa's does")
        self.pool_type = holder.text_pool_type if holder is model else holder.pool_type
        if self.pool_type not in _POOLS:
            _refuse(model, f"its text tower pools {self.pool_type!r}; only {_POOLS} find the end-of-text token")
        self.eos_id = holder.text_eos_id if holder is model else holder.eos_id
        self.token_embedding: nn.Embedding = holder.token_embedding
        self.context_length = int(holder.context_length)
        self._positions = holder.positional_embedding
        self._transformer = holder.transformer
        self._mask = holder.attn_mask
        self._norm = holder.ln_final
        self._projection = holder.text_projection
        self._pad_mask = holder._build_additive_mask if getattr(holder, "use_pad_mask", False) else None

    @property
    def width(self) -> int:
        """Size of a token's embedding."""
        return int(self.token_embedding.embedding_dim)

    @property
    def dtype(self) -> torch.dtype:
        """In which the tower computes."""
        dtype: torch.dtype = self._transformer.get_cast_dtype()
        return dtype

    @property
    def causal(self) -> bool:
        """Whether a token sees only what stands before it."""
        return self._mask is not None

    @property
    def trims(self) -> bool:
        """Whether what comes after the end-of-text token cannot be seen from it."""
        return self.causal or self._pad_mask is not None

    @property
    def positions(self) -> Tensor:
        """The position embeddings (context_length, width)."""
        positions: Tensor = self._positions.to(self.dtype)
        return positions

    def pooled_position(self, ids: Tensor) -> Tensor:
        """Return the position (B,) that is pooled in each row of token numbers (B, L)."""
        return ids.argmax(dim=-1) if self.pool_type == "argmax" else (ids == self.eos_id).int().argmax(dim=-1)

    def embed(self, ids: Tensor) -> Tensor:
        """Return the embeddings (..., width) of token numbers, without positions."""
        tokens: Tensor = self.token_embedding(ids).to(self.dtype)
        return tokens

    def padding_mask(self, ids: Tensor) -> Tensor | None:
        """Return the additive mask (B * heads, L, L) of padded sequences as the model makes it; None without one."""
        return None if self._pad_mask is None else self._pad_mask(ids, ids.shape[1], self.dtype)

    def features(self, x: Tensor, mask: Tensor | None, pooled: Tensor) -> Tensor:
        """Return the text features (B, k, embed_dim), not normalised, of input embeddings (B, L, width).

        ``pooled`` (B, k) are the positions of the end-of-text tokens.
        """
        x = self._transformer(x, attn_mask=mask)
        x = self._norm(x[torch.arange(len(x), device=x.device)[:, None], pooled])
        if self._projection is None:
            return x
        projected: Tensor = self._projection(x) if isinstance(self._projection, nn.Module) else x @ self._projection
        return projected


def _holder(model: Any) -> Any:
    if hasattr(model, "token_embedding") and hasattr(model, "text_pool_type"):
        return model
    if hasattr(model, "text"):
        return model.text
    return _refuse(model, "it has no text tower of open_clip's")


def _refuse(model: Any, reason: str) -> Any:
    raise UnsupportedTowerError(
        f"text features from prompt embeddings cannot be exact for this {type(model).__name__}: {reason}. "
        "CLIP's own text towers work, in open_clip.CLIP and in open_clip.CustomTextCLIP."
    )
