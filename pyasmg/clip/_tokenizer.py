"""CLIP's tokenizer on a part of its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ._imports import open_clip


class PrunedTokenizer:
    """CLIP's byte-pair tokens, renumbered: 0 is padding, then the kept tokens, then start and end of text.

    Parameters
    ----------
    vocabulary : sequence of str
        The kept tokens as CLIP's tokenizer writes them ("photo</w>").
    context_length : int
        Tokens per text.
    """

    def __init__(self, vocabulary: Sequence[str], context_length: int) -> None:
        self._whole = open_clip().SimpleTokenizer(context_length=context_length)
        self._numbers = {self._whole.encoder[token]: i for i, token in enumerate(vocabulary, start=1)}
        self.sot_token_id, self.eot_token_id = len(vocabulary) + 1, len(vocabulary) + 2
        self.vocab_size = len(vocabulary) + 3
        self.context_length = context_length

    def encode(self, text: str) -> list[int]:
        """Return the numbers of a text, without start and end."""
        tokens = self._whole.encode(text)
        unknown = [self._whole.decoder[token].removesuffix("</w>") for token in tokens if token not in self._numbers]
        if unknown:
            raise ValueError(f"{text[:60]!r}: the pruned vocabulary has no {unknown[0]!r}.")
        return [self._numbers[token] for token in tokens]

    def __call__(self, texts: str | Sequence[str]) -> Tensor:
        """Return the numbers (n, context_length) of texts; longer ones are refused."""
        texts = [texts] if isinstance(texts, str) else texts
        ids = torch.zeros(len(texts), self.context_length, dtype=torch.int64)
        for row, text in zip(ids, texts, strict=True):
            tokens = [self.sot_token_id, *self.encode(text), self.eot_token_id]
            if len(tokens) > self.context_length:
                raise ValueError(f"{text[:60]!r} has {len(tokens)} tokens; there is room for {self.context_length}.")
            row[: len(tokens)] = torch.tensor(tokens)
        return ids
