"""What makes two runs the same run: compared before a stored one is continued."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .asmg import ASMG

#: May change from session to session: they say how long the run goes on, not what it does.
BUDGETS = ("max_evaluations", "max_iterations", "max_seconds", "max_cost", "cost_per_evaluation")
_FREE = (*BUDGETS, "memory")


def settings_of(opt: ASMG, objective: str, budgets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run that has not begun, as plain data; vectors by shape, start and checksum."""
    state = opt.state_dict()
    vectors = {"x0": "mean", "sigma0": "std", "lower bounds": "low", "upper bounds": "high"}
    return {
        "objective": objective,
        "n_parameters": opt.dimension,
        **{name: _vector(state[key]) for name, key in vectors.items()},
        **state["options"],
        **state["stopping"],
        "weighting": state["weighting"],
        "n_objectives": state["n_objectives"],
        **budgets,
    }


def differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in words which settings differ, or ""."""
    names = [name for name in now if name not in _FREE and stored.get(name) != now[name]]
    return "; ".join(f"{name} is {_words(stored.get(name))} in the store, {_words(now[name])} now" for name in names)


def _vector(values: Any) -> dict[str, Any] | None:
    if values is None:
        return None
    array = np.ascontiguousarray(values)
    checksum = zlib.crc32(array.view(np.uint8).data)
    return {"size": array.size, "first": [_finite(value) for value in array[:4]], "checksum": checksum}


def _finite(value: Any) -> float | str:
    number = float(value)
    return number if np.isfinite(number) else str(number)


def _words(value: Any) -> str:
    if isinstance(value, dict) and "checksum" in value:
        numbers = ", ".join(str(number) for number in value["first"])
        dots = ", ..." if value["size"] > len(value["first"]) else ""
        return f"({numbers}{dots}; {value['size']} numbers with checksum {value['checksum']:08x})"
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."
