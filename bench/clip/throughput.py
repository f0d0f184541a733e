"""Prompts per second of the tuner's local path, and through HTTP, beside calling the model directly."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import Table, one_thread

one_thread()

from bench.clip.faulty_server import load_task  # noqa: E402
from bench.clip.fuzz import KEY, VARIABLE, serving  # noqa: E402
from pyasmg.clip import Projection  # noqa: E402
from pyasmg.clip._tune import tune  # noqa: E402
from pyasmg.clip.client import RemoteTask  # noqa: E402

LEAST = 0.9  # of the direct calls


def direct(task: Any, d: int, popsize: int, generations: int) -> Callable[[], None]:
    """Return the model called in a loop with prompts that are there already."""
    projection = Projection(d, task.n_ctx, task.width, task.token_embedding_std, 0)
    V = np.random.default_rng(0).normal(size=(popsize, d)).astype(np.float32)
    prompts = task.start + projection.apply(V)

    def loop() -> None:
        for generation in range(generations):
            task.losses(prompts, generation)

    return loop


def tuning(task: Any, d: int, popsize: int, generations: int, store: str | None) -> Callable[[], None]:
    """Return a tuning run of so many generations, and its final mean."""

    def run() -> None:
        tune(
            task,
            d=d,
            popsize=popsize,
            max_queries=popsize * generations + 3,
            validate_every=0,
            test=False,
            store=store,
            progress=False,
        )

    return run


def main() -> int:
    """Print the table; exit status 1 if the local path is too slow."""
    parser = argparse.ArgumentParser(prog="python -m bench.clip.throughput", description=__doc__)
    parser.add_argument("--task", default="pyasmg.clip:tiny", metavar="MODULE:FUNCTION")
    parser.add_argument("--generations", type=int, default=40)
    parser.add_argument("--popsize", type=int, default=20)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7, help="the paths in turn; medians are shown")
    options = parser.parse_args()
    task, d, n, generations = load_task(options.task), options.dimension, options.popsize, options.generations
    os.environ[VARIABLE] = KEY
    names = ("model called directly", "tune, local", "tune, local, with a store", "tune, HTTP")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(options.task, Path(folder) / "log") as server,
        RemoteTask(server.url, auth_env=VARIABLE) as remote,
    ):
        for repeat in range(options.repeats + 1):
            paths = (
                direct(task, d, n, generations),
                tuning(task, d, n, generations, None),
                tuning(task, d, n, generations, f"{folder}/{repeat}.db"),
                tuning(remote, d, n, generations, None),
            )
            for name, path in zip(names, paths, strict=True):
                start = time.perf_counter()
                path()
                if repeat:  # the first is the warm-up
                    seconds[name].append(time.perf_counter() - start)
    table = Table("clip_throughput", ["path", "prompts per second", "share"], f"{n} prompts per generation, d = {d}")
    whole = np.array(seconds[names[0]])
    shares = {}
    for name in names:
        times = np.array(seconds[name])
        shares[name] = float(np.median(whole / times))
        table.add(name, n * generations / float(np.median(times)), shares[name])
    table.show()
    table.save()
    good = shares["tune, local"] >= LEAST
    print(f"the local path has at least {LEAST:.0%} of the model's own throughput: {'yes' if good else 'NO'}")
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
