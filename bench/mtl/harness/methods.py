"""Balancers by name, with options from the command line."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

import pyasmg.mtl as mtl

#: Beside ``pyasmg.mtl.METHODS``: one task alone, for the baselines.
SINGLE_TASK = "STL"


def parse_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Return ``NAME=VALUE`` pairs as a dict; values are JSON, else text."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"`--option` must be NAME=VALUE; got {pair!r}.")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def make(method: str, n_tasks: int, seed: int, options: dict[str, Any]) -> mtl.Balancer:
    """Return a balancer; methods that draw random numbers get the seed.

    ``router=WIDTH``, for BiLB4MTL, stands for a linear layer from so many pooled features to the tasks.
    """
    make_it = mtl.METHODS[method]
    known = inspect.signature(make_it).parameters
    unknown = [name for name in options if name not in known or name in ("n_tasks", "performance")]
    if unknown:
        allowed = [name for name in known if name not in ("n_tasks", "performance")]
        raise ValueError(f"{method} has no option {unknown[0]!r}; it has {', '.join(allowed) or 'none'}.")
    values = dict(options)
    if "seed" in known:
        values.setdefault("seed", seed)
    if isinstance(values.get("router"), int):
        values["router"] = nn.Linear(values["router"], n_tasks)
    return make_it(n_tasks, **values)


def needs_features(balancer: mtl.Balancer) -> bool:
    """Whether the method cannot do without the representation."""
    router = isinstance(balancer, mtl.BiLB4MTL) and balancer.router is not None
    return router or (isinstance(balancer, mtl.RotoGrad) and balancer.size is not None)


def rotate(balancer: mtl.Balancer, features: Any) -> Any:
    """Return the representation as each head sees it: RotoGrad turns it, the others leave it."""
    if not isinstance(balancer, mtl.RotoGrad) or balancer.size is None:
        return features
    if not isinstance(features, Tensor):
        raise ValueError("RotoGrad's rotations need one representation for all tasks; this network has one for each.")
    return balancer.rotate(features)


def end_epoch(balancer: mtl.Balancer) -> None:
    """Tell the method that an epoch is over, where it wants to know."""
    close = getattr(balancer, "end_epoch", None)
    if close is not None:
        close()


def double_loop(balancer: mtl.Balancer, closure: Callable[[], list[Tensor]]) -> dict[str, Any]:
    """Return what ``backward`` needs beside the rest: BiLB4MTL's Algorithm 2 computes the losses anew."""
    if isinstance(balancer, mtl.BiLB4MTL) and balancer.inner_steps:
        return {"closure": closure}
    return {}
