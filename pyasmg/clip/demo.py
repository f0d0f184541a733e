"""What ``pyasmg clip demo`` runs: a real server in a process of its own, tuned through HTTP."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ._server_process import server_process
from ._tune import TuneResult, tune
from .client import RemoteTask

if TYPE_CHECKING:
    from rich.console import Console

MAX_QUERIES = 4_000
DIMENSION = 256
# Of the thesis: the common descent of all domains. The tuner's own weights do more for the worst domain, at the price
# of the one that the tiny CLIP has learnt by heart: its loss on training images says nothing about new ones.
WEIGHTING = "pareto"


def run_demo(
    *, max_queries: int = MAX_QUERIES, d: int = DIMENSION, seed: int = 0, console: Console | None = None, **options: Any
) -> TuneResult:
    """Tune the prompt of the tiny CLIP that comes with pyasmg for its four domains, and print the table.

    The model and the images are in a server process; this one only asks, and pays.

    Parameters
    ----------
    max_queries : int
        Budget, validations and test included.
    d : int
        Dimension of the search.
    seed : int
        Of the search and the projection.
    console : rich.console.Console, optional
        Where it is printed.
    **options
        More for :func:`pyasmg.clip.tune`; ``weighting`` is "pareto" here.

    Returns
    -------
    TuneResult
        The figures behind the table.
    """
    if console is None:
        from rich.console import Console

        console = Console(width=None if sys.stdout.isatty() else 120)
    options = {"weighting": WEIGHTING, **options}
    began = time.perf_counter()
    console.print("starting a server with the tiny CLIP ...")
    with server_process(["--model", "tiny"]) as server, RemoteTask(server.url) as task:
        shape = f"{task.n_ctx} x {task.width}"
        served = ", ".join(task.task_names)
        console.print(f"{server.url} serves {served}; a prompt has {shape} numbers", highlight=False)
        result = tune(task, max_queries=max_queries, d=d, seed=seed, model_name="tiny", **options)
    console.print(result.table())
    console.print(result.summary(), highlight=False)
    console.print(f"{time.perf_counter() - began:.0f} s, the server's start included", highlight=False)
    return result
