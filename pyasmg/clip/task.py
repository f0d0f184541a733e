"""The objectives of prompt tuning (Eq. 4.25): one loss per image domain, by forward passes only."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from .. import _core
from .._validate import integer, number, real_array
from .prompt import PromptEncoder

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

SPLITS = ("train", "validation", "test")
ALL = -1  # the batch_id of the whole training split
_MAX_BATCH_ID = 2**32 - 1
_CACHED_ORDERS = 64


class Part(NamedTuple):
    """Images of one split of one domain."""

    features: Tensor  # (n, embed_dim), normalised
    labels: Tensor  # (n,), numbers of the classes


class Domain(NamedTuple):
    """One task: its name, and a :class:`Part` for each of "train", "validation" and "test"."""

    name: str
    parts: Mapping[str, Part]


class PromptTask:
    """m domains, one frozen CLIP, one shared prompt.

    The image tower is frozen, so images are features from the start. Prompts are evaluated in groups of a fixed size,
    by default one by one: what a prompt scores then depends neither on its neighbours nor on its place among them, and
    a row that is asked again alone gets the same bits.

    Parameters
    ----------
    encoder : PromptEncoder
        Gives the text features; its classes are those of the labels.
    domains : sequence of Domain
        At least one; names must differ.
    scale : float
        What the cosine similarities are multiplied by: ``model.logit_scale.exp()``.
    start : array_like, shape (n_ctx, width), optional
        p0; zeros if not given.
    batch_size : int
        Images per task of a mini-batch; a task with fewer training images shows them all.
    seed : int
        Of the mini-batches.
    max_batch : int
        Largest number of prompts in one call.
    group : int
        Prompts in one forward pass. More than one can be faster on a GPU; groups are filled up, so that their shape
        is always the same, but some libraries' kernels then depend on a row's place.
    n_threads : int, optional
        Threads of PyTorch during a call; None leaves them alone. Small models are several times faster on one.

    Attributes
    ----------
    task_names : tuple of str
    n_ctx, width, max_batch, batch_size, seed : int
    n_train : tuple of int
        Training images per task.
    token_embedding_std : float
        Standard deviation of the model's token embeddings.
    start : ndarray, shape (n_ctx, width), float32

    Notes
    -----
    Mini-batches go through each task's images in a shuffled order, anew for each pass: batch_id b is the
    (b mod n)-th batch of pass floor(b / n), with n = floor(n_train / batch_size).
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        domains: Sequence[Domain],
        *,
        scale: float,
        start: npt.ArrayLike | None = None,
        batch_size: int = 64,
        seed: int = 0,
        max_batch: int = 64,
        group: int = 1,
        n_threads: int | None = None,
    ) -> None:
        self.encoder = encoder
        self.scale = number("scale", scale, low=0.0, strict=True)
        self.batch_size = integer("batch_size", batch_size, 1)
        self.seed = integer("seed", seed, 0, 2**64 - 1)
        self.max_batch = integer("max_batch", max_batch, 1)
        self.group = integer("group", group, 1)
        self.n_threads = None if n_threads is None else integer("n_threads", n_threads, 1)
        self._parts = {split: [_checked(domain, split, encoder) for domain in domains] for split in SPLITS}
        self.task_names = tuple(domain.name for domain in domains)
        if not self.task_names or len(set(self.task_names)) < len(self.task_names):
            raise ValueError(f"`domains` must have different names, at least one; got {self.task_names}.")
        self.start = self._start(start)
        self._orders: dict[tuple[int, int], npt.NDArray[np.int64]] = {}

    def _start(self, start: npt.ArrayLike | None) -> Float32Array:
        shape = (self.n_ctx, self.width)
        if start is None:
            return np.zeros(shape, np.float32)
        array = np.array(real_array("start", start, f"of shape {shape}"), np.float32)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"`start` must be finite and of shape {shape}; got {array.shape}.")
        return array

    @property
    def n_ctx(self) -> int:
        """Tokens of the prompt."""
        return self.encoder.n_ctx

    @property
    def width(self) -> int:
        """Size of a token's embedding."""
        return self.encoder.width

    @property
    def token_embedding_std(self) -> float:
        """Standard deviation of the model's token embeddings."""
        return self.encoder.token_embedding_std

    @property
    def n_train(self) -> tuple[int, ...]:
        """Training images per task."""
        return tuple(len(part.labels) for part in self._parts["train"])

    def parts(self, split: str) -> list[Part]:
        """Return the images of a split, task by task."""
        if split not in SPLITS:
            raise ValueError(f"`split` must be one of {SPLITS}; got {split!r}.")
        return list(self._parts[split])

    def losses(self, prompts: npt.ArrayLike, batch_id: int = ALL) -> FloatArray:
        """Return the mean training cross-entropy, in nats, of each prompt on each task.

        Parameters
        ----------
        prompts : array_like, shape (N, n_ctx, width)
            N <= max_batch.
        batch_id : int
            Which mini-batch, >= 0; the same images for all prompts. -1 is the whole training split.

        Returns
        -------
        ndarray, shape (N, m)
            A row of NaN where a prompt is not finite, or where its losses are not.

        Raises
        ------
        ValueError, TypeError
            For a wrong shape or a batch_id outside -1 .. 2^32 - 1.
        """
        batch_id = integer("batch_id", batch_id, ALL, _MAX_BATCH_ID)
        parts = self._parts["train"]
        if batch_id != ALL:
            parts = [self._batch(i, part, batch_id) for i, part in enumerate(parts)]
        return self._score(prompts, parts)[0]

    def evaluate(self, prompts: npt.ArrayLike, split: str = "test") -> tuple[FloatArray, FloatArray]:
        """Return mean cross-entropies and accuracies in [0, 1], both (N, m), on all images of a split."""
        return self._score(prompts, self.parts(split))

    def batch_indices(self, task: int, batch_id: int) -> npt.NDArray[np.int64]:
        """Return which training images of a task a mini-batch shows, shape (min(batch_size, n_train),)."""
        n = self.n_train[task]
        if n <= self.batch_size:
            return np.arange(n)
        turn, at = divmod(batch_id, n // self.batch_size)
        key = task, turn
        if key not in self._orders:
            draws = np.empty((1, n))
            _core.sample_normals(self.seed, turn, task, draws, 1)
            while len(self._orders) >= _CACHED_ORDERS:
                del self._orders[next(iter(self._orders))]
            self._orders[key] = np.argsort(draws[0], kind="stable")
        return self._orders[key][at * self.batch_size : (at + 1) * self.batch_size]

    def _batch(self, task: int, part: Part, batch_id: int) -> Part:
        rows = torch.from_numpy(self.batch_indices(task, batch_id)).to(part.labels.device)
        return Part(part.features[rows], part.labels[rows])

    def _score(self, prompts: npt.ArrayLike, parts: list[Part]) -> tuple[FloatArray, FloatArray]:
        array = self._prompts(prompts)
        values = np.full((2, len(array), len(parts)), math.nan)
        good = np.flatnonzero(np.isfinite(array).all(axis=(1, 2)))
        images = _Images(parts)
        with _threads(self.n_threads), torch.inference_mode():
            for first in range(0, len(good), self.group):
                rows = good[first : first + self.group]
                filled = np.resize(rows, self.group)  # always the same shape
                features = self.encoder.encode(torch.from_numpy(array[filled]))
                values[:, rows] = images.score(features, self.scale)[:, : len(rows)]
        losses, accuracies = values
        bad = ~np.isfinite(losses).all(axis=1)
        losses[bad] = accuracies[bad] = math.nan
        return losses, accuracies

    def _prompts(self, prompts: npt.ArrayLike) -> Float32Array:
        expected = f"of shape (N, {self.n_ctx}, {self.width})"
        array = real_array("prompts", prompts, expected)
        if array.ndim != 3 or array.shape[1:] != (self.n_ctx, self.width):
            raise ValueError(f"`prompts` must be {expected}; got {array.shape}.")
        if len(array) > self.max_batch:
            raise ValueError(f"`prompts` must have at most {self.max_batch} rows; got {len(array)}.")
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, dtype=np.float32)


class _Images:
    """The images of all tasks one after the other: one matrix product for all of them."""

    def __init__(self, parts: list[Part]) -> None:
        self.sizes = [len(part.labels) for part in parts]
        self.features = torch.cat([part.features for part in parts])
        self.labels = torch.cat([part.labels for part in parts])

    def score(self, text: Tensor, scale: float) -> npt.NDArray[Any]:
        """Return losses and accuracies, (2, N, m), of text features (N, K, embed_dim)."""
        text = functional.normalize(text, dim=-1)
        logits = scale * (self.features @ text.transpose(-1, -2)).float()  # (N, images, K)
        labels = self.labels.expand(len(text), -1)
        losses = functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").double()
        hits = (logits.argmax(dim=-1) == labels).double()
        both = torch.stack((losses, hits))
        means = [values.mean(dim=-1) for values in torch.split(both, self.sizes, dim=-1)]
        array: npt.NDArray[Any] = torch.stack(means, dim=-1).cpu().numpy()
        return array


def _checked(domain: Domain, split: str, encoder: PromptEncoder) -> Part:
    """Return a part on the encoder's device; errors name the domain and the split."""
    where = f"domain {domain.name!r}, split {split!r}"
    if split not in domain.parts:
        raise ValueError(f"{where} is missing.")
    features, labels = domain.parts[split]
    if features.ndim != 2 or labels.shape != features.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"{where}: features must have shape (n, embed_dim) and labels (n,), n >= 1; got {tuple(features.shape)} "
            f"and {tuple(labels.shape)}."
        )
    k = len(encoder.class_names)
    if int(labels.min()) < 0 or int(labels.max()) >= k:
        raise ValueError(f"{where}: labels must lie in 0 .. {k - 1}; got {int(labels.min())} .. {int(labels.max())}.")
    return Part(features.to(encoder.device), labels.to(encoder.device, torch.int64))


@contextlib.contextmanager
def _threads(n: int | None) -> Iterator[None]:
    """Hold PyTorch to n threads for a while."""
    before = torch.get_num_threads()
    if n is None or n == before:
        yield
        return
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
