"""A generation on a GPU: ask + tell against copying the population once, EvoTorch's and evosax's SNES.

python -m bench.gpu [--quick]

Needs a CUDA device, a pyasmg built with CUDA and PyTorch with CUDA; says so and ends well where one is missing. All
methods run N = 100 candidates of d = 10^7 in float32 (``--quick``: d = 10^6) on the same card in the same run, each
with an objective that costs next to nothing (two coordinates of each candidate), so that the figures are the methods'
own. Times are medians of CUDA events (of the wall clock with a synchronisation for evosax) over 20 generations after 5
to warm up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import numpy as np

import pyasmg
from bench.common import Table

N, WARM, TIMED = 100, 5, 20
CHUNK = 10  # candidates at a time with memory="regenerate"


def events(torch: Any, function: Callable[[], Any]) -> float:
    """Return the median time of a call in milliseconds, by CUDA events."""
    times = []
    for i in range(WARM + TIMED):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        function()
        end.record()
        end.synchronize()
        if i >= WARM:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def copy_once(torch: Any, d: int) -> float:
    """Copy a population from device to device."""
    source = torch.ones((N, d), dtype=torch.float32, device="cuda")
    target = torch.empty_like(source)
    return events(torch, lambda: target.copy_(source))


def ours(torch: Any, d: int, memory: str, mirrored: bool) -> tuple[float, float]:
    """Time ask + tell; return it with the memory in use at the end in GiB, PyTorch's and ours."""
    before = pyasmg.cuda_info()["devices"][0]["free_memory"]
    zeros = np.zeros(d, np.float32)
    opt = pyasmg.ASMG(zeros, 1.0, popsize=N, seed=1, dtype="float32", memory=memory, mirrored=mirrored, device="cuda")
    values = torch.empty((N, 2), dtype=torch.float64)

    def generation() -> None:
        X = opt.ask()
        if memory == "store":
            opt.tell(X, X[:, :2])
        else:
            for first in range(0, N, CHUNK):
                values[first : first + CHUNK] = X[first : first + CHUNK][:, :2].cpu()
            opt.tell(values)

    time_ms = events(torch, generation)
    return time_ms, (before - pyasmg.cuda_info()["devices"][0]["free_memory"]) / 2**30


def evotorch_snes(torch: Any, d: int) -> float:
    """Time a step of EvoTorch's SNES."""
    from evotorch import Problem
    from evotorch.algorithms import SNES
    from evotorch.decorators import vectorized

    @vectorized
    def objective(x: Any) -> Any:
        return x[:, 0]

    problem = Problem(
        "min", objective, solution_length=d, initial_bounds=(-1.0, 1.0), dtype=torch.float32, device="cuda"
    )
    searcher = SNES(problem, stdev_init=1.0, popsize=N)
    return events(torch, searcher.step)


def evosax_snes(d: int) -> float:
    """Time ask + tell of evosax's SNES, both compiled."""
    import jax
    import jax.numpy as jnp
    from evosax.algorithms import SNES

    if jax.default_backend() != "gpu":
        raise RuntimeError("JAX has no GPU here")
    strategy = SNES(population_size=N, solution=jnp.zeros(d, jnp.float32))
    parameters = strategy.default_params
    key = jax.random.key(1)
    state = strategy.init(key, jnp.zeros(d, jnp.float32), parameters)
    ask, tell = jax.jit(strategy.ask), jax.jit(strategy.tell)
    times = []
    for i in range(WARM + TIMED):
        key, first, second = jax.random.split(key, 3)
        begin = time.perf_counter()
        population, state = ask(first, state, parameters)
        state, _ = tell(second, population, population[:, 0], state, parameters)
        jax.block_until_ready(state)
        if i >= WARM:
            times.append(1000.0 * (time.perf_counter() - begin))
    return statistics.median(times)


def tried(function: Callable[[], float]) -> float | str:
    """Return what came out, or why nothing did."""
    try:
        return function()
    except Exception as error:
        return f"not run: {type(error).__name__}: {str(error)[:60]}"


def main() -> None:
    """Measure, and print the table last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="d = 10^6 instead of 10^7")
    d = 10**6 if parser.parse_args().quick else 10**7
    if not pyasmg.cuda_available():
        print(f"No CUDA device to measure on: {pyasmg.cuda_info()['problem']}")
        return
    try:
        import torch
    except ImportError:
        print('No PyTorch to measure with: pip install "pyasmg[bench]"')
        return
    if not torch.cuda.is_available():
        print(f"This PyTorch ({torch.__version__}) cannot use the CUDA device.")
        return

    device = pyasmg.cuda_info()["devices"][0]
    copy = copy_once(torch, d)
    table = Table("gpu", ["method", "ms", "copies", "GiB"], f"{device['name']}: N = {N}, d = {d:.0e}, float32, m = 2")
    table.add("copy of the population", copy, 1.0, 8 * N * d / 2**30)
    for memory in ("store", "regenerate"):
        for mirrored in (True, False):
            name = f"pyasmg, memory={memory!r}, {'mirrored' if mirrored else 'independent'} samples"
            torch.cuda.empty_cache()
            milliseconds, used = ours(torch, d, memory, mirrored)
            table.add(name, milliseconds, milliseconds / copy, used)
    for name, peer in (("EvoTorch SNES", lambda: evotorch_snes(torch, d)), ("evosax SNES", lambda: evosax_snes(d))):
        torch.cuda.empty_cache()
        result = tried(peer)
        table.add(f"{name}, m = 1", result, "" if isinstance(result, str) else result / copy, "")
    table.save()
    table.show()


if __name__ == "__main__":
    main()
