"""Where objective values come from: a Python callable, a command, an HTTP endpoint; here, in an executor or on Dask."""

from typing import TYPE_CHECKING, Any

from ._base import Counters, Job, Outcome, Points, Source
from ._budget import Budget
from ._driver import Driver, Record
from ._retry import Retry
from .callable import CallableSource

if TYPE_CHECKING:
    from .command import Command
    from .dask import DaskSource
    from .http import HTTP

__all__ = [
    "HTTP",
    "Budget",
    "CallableSource",
    "Command",
    "Counters",
    "DaskSource",
    "Driver",
    "Job",
    "Outcome",
    "Points",
    "Record",
    "Retry",
    "Source",
]

_LAZY = {"Command": "command", "DaskSource": "dask", "HTTP": "http"}  # they import more than most users need


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
