"""What the run store costs: wall time at a thousand evaluations per second, paired, and bytes on disk."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import pyasmg
from bench.common import Table
from pyasmg.evaluation import Counters, Record
from pyasmg.store import RunReader, RunStore

N_OBJECTIVES = 3


class Clockwork:
    """Takes the same time for every evaluation: it works until the millisecond is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self, x: Any) -> list[float]:
        end = time.perf_counter() + self.seconds
        f = [float(x @ x), float((x - 1) @ (x - 1)), float(np.abs(x + 1).sum())]
        while time.perf_counter() < end:
            pass
        return f


def run(seconds: float, n: int, store: Path | None) -> float:
    """Return the wall time of one run of ``n`` evaluations."""
    begin = time.perf_counter()
    pyasmg.minimize(Clockwork(seconds), np.full(100, 3.0), 1.0, max_evaluations=n, popsize=20, seed=1, store=store)
    return time.perf_counter() - begin


def overhead(folder: Path, seconds: float, n: int, rounds: int) -> list[float]:
    """Return with / without, paired, in alternating order."""
    run(seconds, 100, folder / "warm.db")
    ratios = []
    for i in range(rounds):
        times = {}
        for kept in (True, False) if i % 2 else (False, True):
            times[kept] = run(seconds, n, folder / f"{i}.db" if kept else None)
        ratios.append(times[True] / times[False])
    return ratios


def size(folder: Path, n: int) -> tuple[int, float]:
    """Return the bytes of a store of ``n`` evaluations, with their generations, and the seconds that it took."""
    rng = np.random.default_rng(0)
    popsize = 20
    opt = pyasmg.ASMG(np.zeros(10), 1.0, seed=1, popsize=popsize)
    path = folder / "size.db"
    begin = time.perf_counter()
    largest = 0
    with RunStore(path) as store:
        store.begin({"objective": "bench"}, opt.state_dict())
        store.begin_session({})
        for generation in range(n // popsize):
            F = rng.standard_normal((popsize, N_OBJECTIVES))
            records = [Record(i, f, "", "", 0.123 + f[0], 1, 0.01, False) for i, f in enumerate(F)]
            store.record(generation, records)
            opt.ask_one(0)
            opt.tell(F)
            store.told(opt, F.mean(axis=0), F.min(axis=0), Counters())
            if generation % 1000 == 0:
                largest = max(largest, _bytes(folder, "size.db"))
        largest = max(largest, _bytes(folder, "size.db"))
    with RunReader(path) as reader:
        assert reader.totals()["evaluations"] == n // popsize * popsize
    return max(largest, path.stat().st_size), time.perf_counter() - begin


def _bytes(folder: Path, name: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(f"{name}*"))  # log and lock files included


def main() -> int:
    """Print the tables; exit status 1 if a line fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--evaluations", type=int, default=5000, help="per run")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--size", type=int, default=1_000_000, help="evaluations in the large store")
    parser.add_argument("--folder", type=Path, help="where the stores go (default: the system's temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        table = Table("store", ["what", "median", "least", "largest", "rounds"], "The run store")
        ratios = overhead(Path(temporary), 1e-3, options.evaluations, options.rounds)
        percent = [100 * (ratio - 1) for ratio in ratios]
        median = statistics.median(percent)
        table.add("1,000 evaluations per second: % more time", median, min(percent), max(percent), len(percent))
        n_bytes, seconds = size(Path(temporary), options.size)
        megabytes = n_bytes / 1e6
        table.add(f"{options.size:,} evaluations, m = {N_OBJECTIVES}: MB", megabytes, megabytes, megabytes, 1)
        each = 1e6 * seconds / options.size
        table.add("microseconds each, told and saved in generations of 20", each, each, each, 1)
    table.show()
    table.save()
    allowed = 200 * max(1.0, options.size / 1e6)
    print(f"overhead {median:.2f} %, at most 5: {'yes' if median <= 5 else 'NO'}")
    print(f"{megabytes:.0f} MB, at most {allowed:.0f}: {'yes' if megabytes <= allowed else 'NO'}")
    return int(median > 5 or megabytes > allowed)


if __name__ == "__main__":
    raise SystemExit(main())
