"""Traffic of a run on a Dask cluster of two worker processes, measured at the sockets, and a worker killed in a run."""

from __future__ import annotations

import argparse
import gc
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import pyasmg
from bench import common, wire
from bench.common import Table, machine
from pyasmg.evaluation import CallableSource, Driver, Points, Source
from pyasmg.evaluation.dask import DaskSource

WORKERS = 2
MIB = 2**20
FEW_BYTES = 8  # of a number


def objective(x: Any) -> list[float]:
    """Two squared distances: cheap, so that the figures show what travelling costs."""
    return [float(x @ x), float(((x - 1.0) ** 2).sum())]


def optimizer(d: int, popsize: int, bounds: Any = None) -> pyasmg.ASMG:
    return pyasmg.ASMG(np.zeros(d), 0.5, popsize=popsize, seed=1, bounds=bounds, memory="regenerate")


def generations(source: Source, opt: pyasmg.ASMG, count: int, *, by_number: bool) -> list[float]:
    """Make ``count`` generations; return their seconds, asked and told."""
    driver, seconds = Driver(source), []
    for _ in range(count):
        begin = time.perf_counter()
        opt.ask()
        search = opt._search if by_number else None
        points = Points(opt.n_iterations, opt.ask_one, opt.dimension, opt.dtype, search, opt._options.center)
        records = driver.evaluate(points, {}, range(opt.n_candidates)).records
        opt.tell([records[i].values for i in range(opt.n_candidates)])
        seconds.append(time.perf_counter() - begin)
    return seconds


def measure(source: Source, opt: pyasmg.ASMG, count: int, client: Any, *, by_number: bool) -> tuple[list[Any], Any]:
    """Return the bytes of each generation, and their seconds."""
    traffic, seconds = [], []
    for _ in range(count):
        before = wire.read_everywhere(client)
        seconds += generations(source, opt, 1, by_number=by_number)
        traffic.append(wire.read_everywhere(client) - before)
    return traffic, seconds


class Assassin(DaskSource):
    """Kills a worker process, once, when half a generation's answers are there."""

    def __init__(self, fun: Any, client: Any, popsize: int) -> None:
        super().__init__(fun, client)
        self.client = client
        self.moment = popsize + popsize // 2
        self.victim: int | None = None
        self.open_then = 0

    def poll(self, timeout: float | None) -> list[Any]:
        """Wait for calls to come back, and strike."""
        outcomes = super().poll(timeout)
        if self.victim is None and self.counters.evaluations >= self.moment and self._calls:
            self.victim = min(self.client.run(os.getpid).values())
            self.open_then = len(self._calls)
            os.kill(self.victim, signal.SIGKILL)
        return outcomes


def projection(d: int, control: float, n_workers: int, popsizes: Sequence[int], gigabits: float) -> Table:
    """Say what a generation costs on a large cluster; the assumptions are printed with it."""
    vector, rate = d * FEW_BYTES, gigabits * 1e9 / 8
    # Who has a copy gives it to two others in each round of the tree; all the rest then fetch it from those who have.
    holders = math.isqrt(n_workers - 1) + 1
    rounds = 2 * math.ceil(math.log(holders, 3) - 1e-9)
    others = math.ceil((n_workers - holders) / holders)
    in_a_row = 1 + rounds + others
    title = (
        f"Projected, not measured: a generation with {n_workers:,} workers, d = {d:,}, all links {gigabits:g} Gb/s.\n"
        f"By number: workers x 2 d x 8 bytes, and as measured {control:,.0f} bytes of commands per candidate. The\n"
        f"client gives mean and stds to one worker, it to {holders - 1} more in a tree, and each of those to\n"
        f"{others} others: 1 + {rounds} + {others} transfers in a row. At worst one worker serves all others.\n"
        "As vectors: N x d x 8 bytes to the scheduler, and from it. Latencies and the scheduler's time come on top."
    )
    columns = ["candidates travel", "workers", "N", "GB in all", "GB leaving the client", "seconds of transfer"]
    table = Table("distributed_projection", columns, title=title)
    for popsize in popsizes:
        commands, both = control * popsize, 2 * vector
        everything, leaving = both * n_workers + commands, both + commands
        rows = {
            "by number": (everything, leaving, (in_a_row * both + commands) / rate),
            "by number, at worst": (everything, leaving, ((1 + n_workers) * both + commands) / rate),
            "as vectors": (both * popsize, vector * popsize, both * popsize / rate),
        }
        for name, (whole, out, seconds) in rows.items():
            table.add(name, n_workers, popsize, whole / 1e9, out / 1e9, seconds)
    return table


def run(d: int, popsize: int, count: int, client: Any) -> tuple[list[Table], list[tuple[bool, str]]]:
    wire.install_everywhere(client)
    allowed = 2 * (2 * d * FEW_BYTES) * WORKERS + MIB
    reference = popsize * d * FEW_BYTES * 2
    columns = ["candidates travel", "generation", "MB", "kernel MB", "reference MB", "share", "seconds"]
    title = (
        f"Bytes on the wire: d = {d:,}, N = {popsize}, {WORKERS} workers. Reference: 2 x (2 d x 8) x workers + 1 MiB;\n"
        "of vectors: N x d x 8 x 2. Bounds travel once, with the first generation."
    )
    table = Table("distributed", columns, title=title)

    opt = optimizer(d, popsize)
    with DaskSource(objective, client) as source:
        traffic, seconds = measure(source, opt, count, client, by_number=True)
    with DaskSource(objective, client) as source:
        bounded, bounded_seconds = measure(source, optimizer(d, popsize, (-3.0, 3.0)), 2, client, by_number=True)
    for name, bytes_of, times in (("by number", traffic, seconds), ("the same, bounds", bounded, bounded_seconds)):
        for i, (one, taken) in enumerate(zip(bytes_of, times, strict=True)):
            table.add(name, i, one.sent / 1e6, one.kernel / 1e6, allowed / 1e6, one.sent / allowed, taken)
    control = (np.median([one.sent for one in traffic]) - 2 * d * FEW_BYTES * WORKERS) / popsize

    other = optimizer(d, popsize)
    with CallableSource(objective, executor=client.get_executor()) as plain:
        vectors, times = measure(plain, other, 1, client, by_number=False)
    for one, time_taken in zip(vectors, times, strict=True):
        table.add("as vectors", 0, one.sent / 1e6, one.kernel / 1e6, reference / 1e6, one.sent / reference, time_taken)

    serial = optimizer(d, popsize)
    generations(CallableSource(objective), serial, 1, by_number=False)
    gc.collect()  # Dask would evaluate again what its futures still refer to
    same_vectors = serial.mean.tobytes() == other.mean.tobytes()
    generations(CallableSource(objective), serial, count - 1, by_number=False)
    same = serial.mean.tobytes() == opt.mean.tobytes() and serial.stds.tobytes() == opt.stds.tobytes()

    opt = optimizer(d, popsize)
    with Assassin(objective, client, popsize) as source:
        generations(source, opt, count, by_number=True)
        killed, open_then, counters = source.victim, source.open_then, source.counters
    survived = serial.mean.tobytes() == opt.mean.tobytes() and serial.stds.tobytes() == opt.stds.tobytes()

    # Bounds travel with the first generation of a run.
    worst = max(one.sent for one in [*traffic, *bounded[1:]])
    agree = all(abs(one.sent - one.received) < MIB / 16 for one in traffic + bounded + vectors)
    lines = [
        (worst <= allowed, f"every generation within {allowed / 1e6:.2f} MB; the largest took {worst / 1e6:.2f} MB"),
        (agree, "bytes sent and bytes received agree, summed over all processes"),
        (same and same_vectors, f"the search ends after {count} generations with the bits of a serial one"),
        (
            survived and killed is not None and open_then > 0 and counters.evaluations == count * popsize,
            f"so it does with worker {killed} killed in its second generation ({open_then} calls open)",
        ),
    ]
    return [table, projection(d, control, 1000, (1000, 10_000), 10.0)], lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dimension", type=int, default=10**6)
    parser.add_argument("--popsize", type=int, default=64)
    parser.add_argument("--generations", type=int, default=5)
    parser.add_argument("--output", type=Path, help="folder for the CSV (bench/results)")
    options = parser.parse_args(arguments)
    if options.output is not None:
        common.RESULTS = options.output
    from distributed import Client, LocalCluster

    print(machine())
    print(
        "Counted: what all processes of the cluster (client and scheduler, workers) hand to send() on their sockets,\n"
        "heartbeats and commands included; beside it what the kernel says was received (TCP_INFO)."
    )
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        tables, lines = run(options.dimension, options.popsize, max(2, options.generations), client)
    for table in tables:
        table.show()
        print(f"written: {table.save()}")
    for good, text in lines:
        print(f"{'yes' if good else 'NO '}  {text}")
    return 0 if all(good for good, _ in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
