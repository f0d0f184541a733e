"""The options of a search, checked."""

from __future__ import annotations

import math
import secrets
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from ._validate import describe, integer, number


@dataclass(frozen=True)
class Options:
    """What does not change during a search; every field is plain data."""

    popsize: int
    step_size: float | None  # None: automatic
    std_step_size: float | None
    scale_objectives: bool
    weight_momentum: float | str
    baseline: str
    std_form: str
    mirrored: bool
    memory: str
    seed: int
    dtype: str

    @classmethod
    def check(
        cls,
        dimension: int,
        *,
        popsize: Any,
        step_size: Any,
        std_step_size: Any,
        scale_objectives: Any,
        weight_momentum: Any,
        baseline: Any,
        std_form: Any,
        mirrored: Any,
        memory: Any,
        seed: Any,
        dtype: Any,
    ) -> Options:
        """Check what the user wrote and fill in what was left to us."""
        baseline = _choice("baseline", baseline, ("mean", "center"))
        std_form = _choice("std_form", std_form, ("auto", "exponential", "inverse"))
        if std_form == "auto":
            std_form = "inverse" if baseline == "center" else "exponential"
        mirrored = baseline != "center" if mirrored == "auto" else _flag("mirrored", mirrored)
        if popsize is None:
            popsize = 4 + int(3 * math.log(dimension))
            popsize += popsize % 2 if mirrored else 0
        return cls(
            popsize=integer("popsize", popsize, 2, 2**32 - 2),
            step_size=_step("step_size", step_size),
            std_step_size=_step("std_step_size", std_step_size),
            scale_objectives=_flag("scale_objectives", scale_objectives),
            weight_momentum=(
                _choice("weight_momentum", weight_momentum, ("harmonic",))
                if isinstance(weight_momentum, str)
                else number("weight_momentum", weight_momentum, low=0.0, strict=True, high=1.0)
            ),
            baseline=baseline,
            std_form=std_form,
            mirrored=mirrored,
            memory=_choice("memory", memory, ("store", "regenerate")),
            seed=secrets.randbits(64) if seed is None else integer("seed", seed, 0, 2**64 - 1),
            dtype=_dtype(dtype),
        )

    @cached_property
    def center(self) -> int:
        """1 if row 0 of a generation is the mean, else 0."""
        return int(self.baseline == "center")

    @cached_property
    def automatic(self) -> bool:
        """Whether the values may be conditioned beyond the source's formulae: not where steps or baseline are set."""
        return self.step_size is None and self.std_step_size is None and not self.center

    @cached_property
    def n_candidates(self) -> int:
        """Rows of a generation."""
        return self.popsize + self.center

    def gamma(self, iteration: int) -> float:
        """gamma_t of Eq. 4.17."""
        if isinstance(self.weight_momentum, str):
            return 1.0 / (iteration + 1)
        return self.weight_momentum if iteration else 1.0

    def plain(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> Options:
        """Make the options that :meth:`plain` described."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})


def _dtype(value: Any) -> str:
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"`dtype` must be 'float64' or 'float32'; got {describe(value)}.")
    return str(dtype)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False; got {describe(value)}.")
    return bool(value)


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{name}` must be {' or '.join(repr(choice) for choice in choices)}; got {describe(value)}.")
    return value


def _step(name: str, value: Any) -> float | None:
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f"`{name}` must be 'auto' or a number > 0; got {value!r}.")
        return None
    return number(name, value, low=0.0, strict=True)
