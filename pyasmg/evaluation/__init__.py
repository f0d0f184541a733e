"""Where objective values come from: a Python callable, a command, an HTTP endpoint; here, in an executor or on Dask."""

from ._base import Counters, Job, Outcome, Points, Source
from ._budget import Budget
from ._driver import Driver, Record
from ._retry import Retry
from .callable import CallableSource

__all__ = ["Budget", "CallableSource", "Counters", "Driver", "Job", "Outcome", "Points", "Record", "Retry", "Source"]
