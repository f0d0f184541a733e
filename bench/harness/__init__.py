"""One harness for all comparisons: a problem, optimizers by name, seeds, a budget in evaluations.

A suite is a module ``bench/suites/NAME.py`` with a first docstring line that says what it measures,
``make_problem(name, d) -> Problem`` (called in the worker processes) and ``main(arguments=None)``. ``python -m bench
list`` finds it by its file, ``python -m bench run NAME`` calls its main. What it has to do is little::

    names = available(["asmg", "cma-diagonal"])
    tasks = [Task(__name__, "sphere", 10, optimizer, None, seed, 2000) for optimizer in names for seed in range(3)]
    runs = run_all(tasks, options.jobs, fresh=options.fresh)

Tables are :class:`bench.common.Table`, figures :class:`Figure`; both are saved with command, version, machine and date,
and ``python -m bench report`` shows all of them.
"""

from .cli import (
    expected_evaluations,
    median_evaluations,
    parse,
    parser,
    save_runs,
    select,
    show_settings,
    trace_figure,
)
from .figures import Figure, Panel, Series, band
from .optimizers import OPTIMIZERS, Optimizer, available, make, missing, say
from .problem import Problem
from .runs import Run, Task, grid, run, run_all

__all__ = [
    "OPTIMIZERS",
    "Figure",
    "Optimizer",
    "Panel",
    "Problem",
    "Run",
    "Series",
    "Task",
    "available",
    "band",
    "expected_evaluations",
    "grid",
    "make",
    "median_evaluations",
    "missing",
    "parse",
    "parser",
    "run",
    "run_all",
    "save_runs",
    "say",
    "select",
    "show_settings",
    "trace_figure",
]
