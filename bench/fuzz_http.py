"""A hostile HTTP server against ``pyasmg.evaluation.http.HTTP``: no hang, no crash, every question answered once.

A server on raw sockets, in a process of its own, answers each request with something drawn at random: valid answers,
whole, packed, in chunks or in small pieces; random bytes; answers cut short, too long or endless; wrong lengths and
broken chunks; compression bombs; statuses and headers at random; silence, closed and reset connections; answers sent
twice. Plain JSON and KServe v2 take turns, as do sources, which are cancelled or closed in the middle of it.

What is checked:

- every candidate that was started comes back exactly once, with values or an error of one short line;
- values are those of the objective, bit by bit (not where the server may change valid answers at random);
- evaluations + unknown is never more than the candidates sent;
- nothing hangs: a watchdog ends the program if nothing happens for 30 seconds;
- memory: the peak grows by less than 256 MiB; no thread and no file descriptor is left at the end.

    python -m bench.fuzz_http [--seconds 60] [--seed 0]

Exit status 0 if all of that holds, else 1.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.common import Table
from bench.fuzz_http_server import objective
from pyasmg.evaluation import Job, Outcome, Points
from pyasmg.evaluation.http import HTTP

DIMENSION = 3
_TIMEOUT = 0.4  # seconds for a request
_ROUND = 2.0  # seconds for which a source lives
_PATIENCE = 30.0  # seconds without any event that count as a hang
_MEMORY = 2**28  # bytes by which the peak may grow


@contextlib.contextmanager
def server(seed: int) -> Iterator[str]:
    """Run the server in a process of its own; it ends when its standard input closes."""
    command = [sys.executable, "-m", "bench.fuzz_http_server", "--seed", str(seed)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait(30.0)
        process.stdout.close()


class Fuzz:
    """Asks, and keeps account of what is wrong."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.random = random.Random(seed)
        self.numbers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.progress = time.monotonic()

    def round(self, protocol: str, seconds: float) -> None:
        """Use one source until the time is over, then end it in one of the ways in which a run ends."""
        rng = self.random
        options: dict[str, Any] = {"model": "m"} if protocol == "kserve" else {}
        ending = rng.choice(["finish", "finish", "cancel", "close"])
        source = HTTP(self.url, timeout=_TIMEOUT, concurrency=8, protocol=protocol, **options)
        with source:
            waiting: dict[Job, npt.NDArray[np.float64]] = {}
            running: dict[int, int] = {}  # candidates that each call still owes
            owner: dict[Job, int] = {}
            end = time.monotonic() + seconds
            n_calls = n_jobs = 0
            while time.monotonic() < end or (ending == "finish" and waiting):
                while len(running) < source.n_slots and time.monotonic() < end:
                    jobs = [Job(n_jobs + i, rng.randrange(1, 3)) for i in range(rng.randrange(1, 7))]
                    X = np.array([[rng.uniform(-1.0, 1.0) for _ in range(DIMENSION)] for _ in jobs])
                    X[:, 0] = np.copysign(X[:, 0], rng.choice([-1.0, 1.0, 1.0]))
                    source.start(Points(n_calls, dict(zip((j.candidate for j in jobs), X, strict=True)).__getitem__,
                                        DIMENSION, X.dtype), jobs)  # fmt: skip
                    waiting.update(zip(jobs, X, strict=True))
                    owner.update(dict.fromkeys(jobs, n_calls))
                    running[n_calls] = len(jobs)
                    n_calls, n_jobs = n_calls + 1, n_jobs + len(jobs)
                for outcome in source.poll(rng.choice([0.0, 0.01, 1.0, None]) if waiting else 0.0):
                    self.progress = time.monotonic()
                    x = waiting.pop(outcome.job, None)
                    if x is None:
                        self.wrong.append(f"{outcome.job} came back twice or was never asked")
                        continue
                    call = owner.pop(outcome.job)
                    running[call] -= 1
                    if not running[call]:
                        del running[call]
                    self.check(outcome, x)
            if ending == "cancel":
                source.cancel()
                if source.poll(0.0):
                    self.wrong.append("an outcome came after cancel()")
        counters = source.counters
        if counters.evaluations + counters.unknown > n_jobs:
            self.wrong.append(f"more candidates counted than the {n_jobs} sent: {counters}")
        self.numbers.update(sources=1, calls=n_calls, candidates=n_jobs, requests=counters.requests)
        self.numbers.update(evaluations=counters.evaluations, unknown=counters.unknown, refused=source.refused)
        self.numbers[f"ended by {ending}"] += 1
        self.progress = time.monotonic()

    def check(self, outcome: Outcome, x: npt.NDArray[np.float64]) -> None:
        """Check one outcome."""
        if outcome.values is None:
            self.numbers["errors"] += 1
            if not outcome.error or len(outcome.error) > 600 or not outcome.error.isprintable():
                self.wrong.append(f"an error that is no short line: {outcome.error[:700]!r}")
            if outcome.traceback:
                self.wrong.append(f"a mistake in the client: {outcome.traceback}")
            return
        self.numbers["values"] += 1
        if outcome.error:
            self.wrong.append(f"values and an error: {outcome}")
        if x[0] >= 0 and outcome.values.tolist() != objective(x):
            self.wrong.append(f"wrong values for {outcome.job}: {outcome.values.tolist()} instead of {objective(x)}")


def _watch(fuzz: Fuzz, done: threading.Event) -> None:
    while not done.wait(1.0):
        if time.monotonic() - fuzz.progress > _PATIENCE:
            print(f"nothing has happened for {_PATIENCE:g} s", file=sys.stderr)
            faulthandler.dump_traceback(all_threads=True)
            os._exit(1)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _n_files() -> int:
    return len(os.listdir("/dev/fd"))


def main() -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with server(options.seed) as url:
        fuzz = Fuzz(url, options.seed)
        done = threading.Event()
        watchdog = threading.Thread(target=_watch, args=(fuzz, done))
        watchdog.start()
        try:
            fuzz.round("kserve", 0.2)  # imports and the like
            peak, n_threads, n_files = _peak(), threading.active_count(), _n_files()
            end = time.monotonic() + options.seconds
            while (rest := end - time.monotonic()) > 0.0:
                fuzz.round(fuzz.random.choice(["json", "kserve"]), min(_ROUND, rest))
        finally:
            done.set()
            watchdog.join()
        grown, threads, files = _peak() - peak, threading.active_count() + 1 - n_threads, _n_files() - n_files
    if grown > _MEMORY:
        fuzz.wrong.append(f"memory grew by {grown} bytes")
    if threads or files:
        fuzz.wrong.append(f"{threads} threads and {files} file descriptors are left")
    if not fuzz.numbers["values"] or not fuzz.numbers["errors"]:
        fuzz.wrong.append("there must be both values and errors")
    table = Table(
        "fuzz_http", ["what", "number"], f"A hostile HTTP server for {options.seconds:g} s, seed {options.seed}"
    )
    for what, number in fuzz.numbers.items():
        table.add(what, number)
    table.add("growth of the peak of memory / MiB", round(grown / 2**20, 1))
    table.add("wrong", len(fuzz.wrong))
    table.show()
    for line in fuzz.wrong[:20]:
        print(line)
    return int(bool(fuzz.wrong))


if __name__ == "__main__":
    sys.exit(main())
