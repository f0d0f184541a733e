"""Text features from the embedding of a prompt (Eq. 4.25), as the model itself computes them from text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .._validate import integer
from ._sequences import lay_out
from ._tower import TextTower, UnsupportedTowerError

__all__ = ["PromptEncoder", "UnsupportedTowerError"]

Tokenizer = Callable[[list[str]], Tensor]


class PromptEncoder:
    """Text features of every class for prompts that are given as embeddings.

    A text is [start] [prompt: n_ctx embeddings] [class name] [end]; only the prompt varies, so everything else is
    embedded once. In a causal tower all classes share the start and the prompt, see :mod:`pyasmg.clip._sequences`.

    Parameters
    ----------
    model : open_clip.CLIP or open_clip.CustomTextCLIP
        Used as it is and never changed; put it into ``eval()`` mode first.
    tokenizer : callable
        The model's own: list of texts to token numbers (n, context_length).
    class_names : sequence of str
        K >= 2 texts.
    n_ctx : int
        Tokens of the prompt.
    ending : str
        What follows the class name, such as ".".

    Attributes
    ----------
    class_names : tuple of str
    model : the model
    n_ctx, width, n_positions : int
        Tokens of the prompt, size of an embedding, positions that the tower computes for one prompt.
    token_embedding_std : float
        Standard deviation of all entries of the model's token embeddings.

    Raises
    ------
    UnsupportedTowerError
        If features could not be exact, see :class:`TextTower`.
    ValueError
        If a class name leaves no room for the prompt, or the tokenizer is not the model's.

    Notes
    -----
    With the embedding of "a photo of a" the features equal ``model.encode_text`` of "a photo of a {class}" up to
    rounding. Per prompt the tower computes ``n_positions`` instead of K * context_length.
    """

    def __init__(
        self, model: Any, tokenizer: Tokenizer, class_names: Sequence[str], *, n_ctx: int = 4, ending: str = ""
    ) -> None:
        self.class_names = _names(class_names)
        self.n_ctx = integer("n_ctx", n_ctx, 1)
        self.model = model
        self._tower = TextTower(model)
        self._tokenizer = tokenizer
        with torch.no_grad():
            self._build(ending)
            self.token_embedding_std = float(self._tower.token_embedding.weight.detach().double().std())

    @property
    def width(self) -> int:
        """Size of a token's embedding."""
        return self._tower.width

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self._tower.token_embedding.weight.device
        return device

    def _build(self, ending: str) -> None:
        """Embed all but the prompt, positions added."""
        tower, n_ctx = self._tower, self.n_ctx
        texts = [name + ending for name in self.class_names]
        ids = self._tokenize(texts)
        ends = tower.pooled_position(ids)
        room = tower.context_length - n_ctx - 1
        if int(ends.max()) > room:
            name = texts[int(ends.argmax())]
            raise ValueError(
                f"class name {name[:60]!r} has {int(ends.max()) - 1} tokens or more; with {n_ctx} of the prompt, a "
                f"start and an end, the model's {tower.context_length} positions have room for {room - 1}."
            )
        # The prompt has no token numbers; the start's stands in: it is no padding, and not what is pooled.
        spliced = torch.cat((ids[:, :1].expand(-1, n_ctx + 1), ids[:, 1 : tower.context_length - n_ctx]), dim=1)
        ends = ends + n_ctx
        if not torch.equal(tower.pooled_position(spliced), ends):
            raise ValueError(
                "`tokenizer` is not the model's: its start-of-text token is not below the end-of-text one."
            )
        self._sequences = lay_out(tower, spliced, ends, n_ctx)
        self._positions = tower.positions[1 : n_ctx + 1].clone()

    @property
    def n_positions(self) -> int:
        """Positions that the tower computes for one prompt; K times the context length if it were given texts."""
        return sum(len(s.before) * (1 + self.n_ctx + s.after.shape[1]) for s in self._sequences)

    def _tokenize(self, texts: list[str]) -> Tensor:
        """Return token numbers, of which column 0 is the start-of-text token."""
        ids = self._tokenizer(["", *texts]).to(self.device)
        vocabulary, length = self._tower.token_embedding.num_embeddings, self._tower.context_length
        if ids.shape != (len(texts) + 1, length) or int(ids.max()) >= vocabulary or int(ids.min()) < 0:
            raise ValueError(
                f"`tokenizer` is not the model's: it must give {length} token numbers below {vocabulary} for each "
                f"text; got shape {tuple(ids.shape)}, numbers up to {int(ids.max())}."
            )
        if int(self._tower.pooled_position(ids[:1])[0]) != 1 or not bool((ids[:, 0] == ids[0, 0]).all()):
            raise ValueError(
                "`tokenizer` must put one start-of-text token before the text and an end-of-text token behind it."
            )
        return ids[1:]

    def embedding(self, text: str) -> npt.NDArray[np.float32]:
        """Return the token embeddings (n_ctx, width) of a text such as "a photo of a".

        Raises
        ------
        ValueError
            If the text has not exactly n_ctx tokens.
        """
        with torch.no_grad():
            ids = self._tokenize([text])
            n_tokens = int(self._tower.pooled_position(ids)[0]) - 1
            if n_tokens != self.n_ctx:
                raise ValueError(f"`text` must have n_ctx = {self.n_ctx} tokens; {text[:60]!r} has {n_tokens}.")
            tokens = self._tower.token_embedding(ids[0, 1 : 1 + n_tokens])
        embedding: npt.NDArray[np.float32] = tokens.float().cpu().numpy().copy()
        return embedding

    def encode(self, prompts: Tensor) -> Tensor:
        """Return the text features (N, K, embed_dim), not normalised, of prompts (N, n_ctx, width).

        Differentiable with respect to the prompts, unless gradients are switched off.
        """
        if prompts.ndim != 3 or prompts.shape[1:] != (self.n_ctx, self.width):
            raise ValueError(f"`prompts` must have shape (N, {self.n_ctx}, {self.width}); got {tuple(prompts.shape)}.")
        if len(prompts) == 0:
            return self.encode(prompts.new_zeros(1, self.n_ctx, self.width))[:0]
        context = prompts.to(self.device, self._positions.dtype) + self._positions
        features = [sequences.features(self._tower, context) for sequences in self._sequences]
        return torch.cat(features, dim=1)


def _names(class_names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(class_names, str) or not all(isinstance(name, str) for name in class_names):
        raise TypeError("`class_names` must be a sequence of texts.")
    names = tuple(class_names)
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"`class_names` must be at least two different texts; got {len(names)}.")
    if not all(name.strip() for name in names):
        raise ValueError("`class_names` must not hold an empty text.")
    return names
