"""State of a balancer that is no tensor of the model: packed into plain data, so that resuming is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _core
from .._validate import integer
from ._types import FloatArray


def pack(value: Any) -> Any:
    """Turn an attribute into what ``torch.load(weights_only=True)`` reads back."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, np.random.Generator):
        return dict(value.bit_generator.state)
    if isinstance(value, Adam):
        return {name: pack(entry) for name, entry in vars(value).items()}
    if isinstance(value, Tensor):
        return value.detach().clone()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"no state can be kept of {type(value).__name__}.")


def unpack(current: Any, packed: Any) -> Any:
    """Return the attribute that was packed; ``current`` is the one of the balancer that loads it."""
    if isinstance(current, np.random.Generator):
        current.bit_generator.state = packed
        return current
    if isinstance(current, Adam):
        for name, entry in packed.items():
            setattr(current, name, unpack(getattr(current, name), entry))
        return current
    if isinstance(current, Tensor) and isinstance(packed, Tensor):
        return packed.to(current)
    if isinstance(packed, Tensor):
        return packed.cpu().numpy().copy()
    return packed


def generator(seed: int) -> np.random.Generator:
    """Return a random generator; a seed stands for the same numbers on each process and device."""
    return np.random.Generator(np.random.PCG64(integer("seed", seed, 0)))


class Adam:
    """Adam (Kingma and Ba, 2015) on a small vector in float64: for the weights that a balancer learns by itself.

    Parameters
    ----------
    learning_rate : float
        Step size.
    betas : tuple of two floats
        Decay of the two running means.
    eps : float
        Added to the root of the second.
    weight_decay : float
        Added to the gradient times the vector (as ``torch.optim.Adam`` does).
    """

    def __init__(
        self,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.learning_rate = learning_rate
        self.beta1, self.beta2 = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.n_steps = 0
        self.first: FloatArray = np.zeros(0)
        self.second: FloatArray = np.zeros(0)

    def step(self, vector: FloatArray, gradient: FloatArray) -> None:
        """Move the vector by one step along ``gradient``."""
        if self.n_steps == 0:
            self.first, self.second = np.zeros_like(vector), np.zeros_like(vector)
        self.n_steps += 1
        _core.adam_step(
            vector,
            gradient,
            self.first,
            self.second,
            self.learning_rate,
            self.beta1,
            self.beta2,
            self.eps,
            self.weight_decay,
            1.0 - self.beta1**self.n_steps,
            1.0 - self.beta2**self.n_steps,
        )
