"""Time of one generation (ask + tell, no objective): ours beside its peers, N = 100 candidates, m = 2.

The objective values are drawn beforehand, the same for all, so that only the optimizers' own work is timed,
on one thread: the process is pinned to one core (XLA cannot be held to one thread otherwise). ``numpy`` and
``torch`` are plain twins: the same algorithm as a user would write it with those libraries (objectives in
persistent units, a gradient of mean and stds per objective, the two-objective QP in closed form, the
weighted step), but with fixed steps and independent samples. EvoTorch's and evosax's SNES and pycma with
``CMA_diagonal`` have one objective, so they do less work. EvoTorch does not copy its best and worst
solutions (``store_solution_stats=False``), evosax's random keys are split beforehand. On one core evosax
also pays for switching between its threads, which shows at d = 100.

Methods run interleaved in one process (A B C, then C B A, ...), a block of generations each. Where not all
populations fit side by side, every peer is paired with ours alone. How to read the table:

- ``ms``: median wall time per generation, ``CPU ms``: median processor time (the fairer one on a busy
  machine), ``best ms``: the least wall time;
- ``ns / sample``: the median wall time divided by the N d samples;
- ``peer / ours``: median over the rounds of the ratio within a round, ``least ratio`` the least of them,
  ``CPU ratio`` the median for processor time. The floors (copying, writing, drawing a population) show the
  same ratio, below 1;
- ``GB/s``: for ours, bytes that have to move (the population written by ask and read by tell, and O(m d)
  for gradients, mean and stds) over the time; for the floors likewise.

Then: two threads against one; and the peak of extra memory of three generations, each mode in a fresh
process.

    python -m bench.speed [--quick] [--dimensions 100 1000 10000 100000 1000000] [--peers numpy torch ...]
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import common

common.one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

from bench.speed_methods import (  # noqa: E402
    FLOORS,
    KINDS,
    N_OBJECTIVES,
    OURS,
    PEERS,
    Case,
    Method,
    Numpy,
    Ours,
)

Array = npt.NDArray[Any]

BLOCK = 0.02  # seconds per measurement at least
WARM_UPS = 4
ROOT = Path(__file__).resolve().parents[1]


# ---------------------------------------------------------------- measuring


@dataclass
class Samples:
    """Seconds per generation, one entry per round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """How long and how large a comparison may get."""

    seconds: float  # per comparison
    cap: float  # per method and size
    min_rounds: int
    max_rounds: int
    memory: float  # bytes, in total


def measure(methods: dict[str, Method], limits: Limits, skip: Callable[[str, str], None]) -> dict[str, Samples]:
    """Time the methods in turn, round by round; those that would exceed the cap are dropped."""
    seconds: dict[str, float] = {}
    for name in list(methods):
        once = math.inf
        for i in range(WARM_UPS):  # the first ones compile
            begin = time.perf_counter()
            methods[name].generation()
            once = min(once, time.perf_counter() - begin)
            if i > 0 and once > 1.0:
                break
        seconds[name] = once
        if once * limits.min_rounds > limits.cap:
            skip(name, f"too slow: {once:.3g} s per generation")
            del methods[name]
    repeats = {name: max(1, round(BLOCK / seconds[name])) for name in methods}
    samples = {name: Samples() for name in methods}
    budget = max(limits.seconds, limits.min_rounds * sum(repeats[n] * seconds[n] for n in methods))
    order = list(methods)
    end = time.perf_counter() + budget
    rounds = 0
    gc.collect()
    gc.freeze()  # or each collection below would walk through all of torch and jax
    while rounds < limits.max_rounds and (rounds < limits.min_rounds or time.perf_counter() < end):
        for name in order:
            generation, count = methods[name].generation, repeats[name]
            gc.collect()
            gc.disable()
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                generation()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            gc.enable()
            samples[name].wall.append(wall / count)
            samples[name].cpu.append(cpu / count)
        order.reverse()
        rounds += 1
    gc.unfreeze()
    return samples


def compare(case: Case, names: Sequence[str], limits: Limits, skip: Callable[[str, str], None]) -> dict[str, Samples]:
    """Build and measure ours and the named methods side by side."""
    methods = {name: KINDS[name].make(case) for name in (OURS, *names)}
    try:
        return measure(methods, limits, skip)
    finally:
        methods.clear()
        gc.collect()


@dataclass
class Figure:
    """One row of the table, as numbers."""

    case: Case
    method: str
    ms: float
    cpu_ms: float
    best_ms: float
    ratio: float | None
    least_ratio: float | None
    cpu_ratio: float | None
    rounds: int

    @property
    def ns(self) -> float:
        """Wall nanoseconds per sample."""
        return self.ms * 1e6 / (self.case.popsize * self.case.d)

    @property
    def bandwidth(self) -> float | None:
        """GB/s, where the bytes are known."""
        moved = KINDS[self.method].moved
        if moved is None:
            return None
        size = moved * self.case.population_bytes
        if self.method == OURS:  # gradients written and read, mean and stds read twice and written
            size += (4 * N_OBJECTIVES + 8) * self.case.population_bytes / self.case.popsize
        return size / self.ms * 1e-6


def tookof(case: Case, groups: Sequence[dict[str, Samples]]) -> list[Figure]:
    """Return ours from all groups together, the others from their own."""
    ours = Samples([t for g in groups for t in g[OURS].wall], [t for g in groups for t in g[OURS].cpu])
    rows = [_figure(case, OURS, ours, None)]
    for group in groups:
        rows += [_figure(case, name, group[name], group[OURS]) for name in group if name != OURS]
    return rows


def _figure(case: Case, name: str, samples: Samples, ours: Samples | None) -> Figure:
    ratios = None if ours is None else np.divide(samples.wall, ours.wall)
    return Figure(
        case,
        name,
        1e3 * float(np.median(samples.wall)),
        1e3 * float(np.median(samples.cpu)),
        1e3 * min(samples.wall),
        None if ratios is None else float(np.median(ratios)),
        None if ratios is None else float(ratios.min()),
        None if ours is None else float(np.median(np.divide(samples.cpu, np.maximum(ours.cpu, 1e-12)))),
        len(samples.wall),
    )


def speed(case: Case, peers: Sequence[str], limits: Limits) -> list[Figure]:
    """Compare at one size: all at once, or in pairs where the populations would not fit."""

    def skip(name: str, why: str) -> None:
        print(f"{name} skipped at d = {case.d}, {case.dtype}: {why}.", flush=True)

    names = []
    for name in peers:
        kind = KINDS[name]
        size = (1 + kind.populations) * case.population_bytes
        if kind.module is not None and find_spec(kind.module) is None:
            skip(name, 'not installed (pip install "pyasmg[bench]")')
        elif case.dtype not in kind.dtypes:
            skip(name, f"it has {' and '.join(kind.dtypes)} only")
        elif size > min(limits.memory, available_memory()):
            skip(name, f"too large: about {size / 2**30:.1f} GiB")
        else:
            names.append(name)
    total = sum(KINDS[name].populations for name in (OURS, *names, *FLOORS)) * case.population_bytes
    if total <= limits.memory / 4:
        groups = [compare(case, [*names, *FLOORS], limits, skip)]
    else:
        groups = [compare(case, [name], limits, skip) for name in (*names, *FLOORS)]
    return tookof(case, groups)


def pin(core: int | None) -> set[int]:
    """Hold this thread, and all that it starts from now on, to a core (the last one); return those it had."""
    if not hasattr(os, "sched_setaffinity"):
        print("this system cannot pin a process to a core: XLA may use several threads.")
        return set()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before) if core is None else core})
    return before


def available_memory() -> float:
    """Return the bytes that this machine could still give, infinite where that is not known."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return math.inf


def threads(d: int, dtypes: Sequence[str], popsize: int, limits: Limits) -> common.Table:
    """Compare one thread and two, paired."""
    columns = ["d", "dtype", "1 thread, ms", "2 threads, ms", "ratio", "least ratio", "largest ratio", "rounds"]
    table = common.Table("speed_threads", columns, "Two threads against one, ask + tell")
    for dtype in dtypes:
        case = Case.make(d, dtype, popsize)
        methods: dict[str, Method] = {"one": Ours(case), "two": Ours(case, n_threads=2)}
        samples = measure(methods, limits, lambda *_: None)
        one, two = np.array(samples["one"].wall), np.array(samples["two"].wall)
        ratios = one / two
        medians = [1e3 * float(np.median(one)), 1e3 * float(np.median(two)), float(np.median(ratios))]
        table.add(d, dtype, *medians, float(ratios.min()), float(ratios.max()), len(ratios))
        del methods
        gc.collect()
    return table


# ---------------------------------------------------------------- memory, in fresh processes

MODES = ("regenerate", "store", "numpy")


def peak_memory() -> int:
    """Return the peak of resident memory in bytes.

    VmHWM where there is one: Linux's ``ru_maxrss`` starts from the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_child(mode: str, dtype: str, d: int, popsize: int) -> None:
    """Print, as JSON, the extra memory and the times of three generations that read every candidate."""
    case = Case.make(d, dtype, popsize)
    x0 = np.ones(d)  # touched: it belongs to the caller
    before = peak_memory()
    method = Numpy(case) if mode == "numpy" else Ours(case, memory=mode)
    wall, cpu = [], []
    for _ in range(3):
        begin = time.perf_counter(), time.process_time()
        method.generation_reading()
        wall.append(time.perf_counter() - begin[0])
        cpu.append(time.process_time() - begin[1])
    result = {"bytes": peak_memory() - before, "wall": float(np.median(wall)), "cpu": float(np.median(cpu))}
    print(json.dumps(result))
    del x0


def memory(d: int, dtypes: Sequence[str], popsize: int) -> common.Table:
    """Peak of extra memory of three generations, each mode in a fresh process."""
    columns = ["d", "dtype", "mode", "extra MiB", "populations", "ns / sample", "CPU ns / sample"]
    table = common.Table("speed_memory", columns, "Three generations, every candidate read: extra memory and time")
    for dtype, mode in itertools.product(dtypes, MODES):
        child = [sys.executable, "-m", "bench.speed", "--child", mode, dtype, str(d), str(popsize)]
        answer = subprocess.run(child, capture_output=True, text=True, cwd=ROOT, check=False)
        if answer.returncode != 0:
            print(f"memory, {mode}, {dtype} failed: {answer.stderr.strip().splitlines()[-1:]}")
            continue
        result = json.loads(answer.stdout)
        size = Case.make(d, dtype, popsize).population_bytes
        ns = 1e9 / (popsize * d)
        used = result["bytes"]
        table.add(d, dtype, mode, used / 2**20, used / size, result["wall"] * ns, result["cpu"] * ns)
    return table


# ---------------------------------------------------------------- what comes out

POPSIZE = 100
COLUMNS = (
    "d",
    "dtype",
    "method",
    "ms",
    "CPU ms",
    "best ms",
    "ns / sample",
    "peer / ours",
    "least ratio",
    "CPU ratio",
    "GB/s",
    "rounds",
)


def make_table(figures: Sequence[Figure]) -> common.Table:
    """One row per size, dtype and method."""
    table = common.Table("speed", COLUMNS, f"One ask + tell, N = {POPSIZE}, m = {N_OBJECTIVES}, one thread")
    for f in figures:
        optional = [f.ratio, f.least_ratio, f.cpu_ratio, f.bandwidth]
        cells = ["" if value is None else value for value in optional]
        table.add(f.case.d, f.case.dtype, f.method, f.ms, f.cpu_ms, f.best_ms, f.ns, *cells, f.rounds)
    return table


def summarise(figures: Sequence[Figure], two: common.Table, extra: common.Table) -> None:
    """Print the acceptance lines; wall times decide, processor times stand beside them."""
    for d, dtype in dict.fromkeys((f.case.d, f.case.dtype) for f in figures):
        here = [f for f in figures if (f.case.d, f.case.dtype) == (d, dtype)]
        peers = [f for f in here if f.method in PEERS and f.ratio is not None]
        goal = 4.0 if d >= 10_000 else 2.5
        if peers:
            fastest = min(peers, key=lambda f: f.ratio or math.inf)
            by_cpu = min(f.cpu_ratio or math.inf for f in peers)
            print(
                f"{dtype}, d = {d}: {fastest.ratio:.2f}x faster than the fastest peer ({fastest.method}; "
                f"CPU {by_cpu:.2f}x), at least {goal:g}: {_verdict((fastest.ratio or 0.0) >= goal)}"
            )
        if d >= 10_000:
            ours = next(f for f in here if f.method == OURS)
            cpu = ours.ns * ours.cpu_ms / ours.ms
            took = f"{ours.ns:.2f} ns per sample (CPU {cpu:.2f})"
            print(f"{dtype}, d = {d}: {took}, at most 4: {_verdict(ours.ns <= 4)}")
    for d, dtype, _, _, ratio, *_ in two.rows:
        print(f"{dtype}, d = {d}: two threads {ratio:.2f}x as fast as one, at least 1.7: {_verdict(ratio >= 1.7)}")
    for d, dtype, mode, used, *_ in extra.rows:
        if mode == "regenerate":
            verdict = _verdict(used <= 64)
            print(f"{dtype}, d = {d}: regenerate takes {used:.1f} MiB extra, at most 64: {verdict}")


def _verdict(passed: bool) -> str:
    return "yes" if passed else "NO"


def plot(figures: Sequence[Figure]) -> Path:
    """Draw ns per sample over d, one panel per dtype."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    dtypes = list(dict.fromkeys(f.case.dtype for f in figures))
    figure, axes = plt.subplots(1, len(dtypes), figsize=(6 * len(dtypes), 4.5), sharey=True, squeeze=False)
    for axis, dtype in zip(axes[0], dtypes, strict=True):
        for i, method in enumerate(KINDS):
            rows = [f for f in figures if f.case.dtype == dtype and f.method == method]
            if rows:
                style = ":" if method in FLOORS else "-"
                width = 3 if method == OURS else 1.5
                d, ns = [f.case.d for f in rows], [f.ns for f in rows]
                axis.plot(d, ns, style, marker="o", ms=3, lw=width, color=f"C{i % 10}", label=method)
        axis.set(xscale="log", yscale="log", xlabel="d", title=f"{dtype}, N = {POPSIZE}, one thread")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("ns per sample, ask + tell")
    axes[0, -1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    path = common.save_figure(figure, "speed")
    plt.close(figure)
    return path


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to d = 10,000, one second per comparison")
    parser.add_argument("--dimensions", type=int, nargs="+", help="d (100 1000 10000 100000 1000000)")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"), default=["float32", "float64"])
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--large", type=int, help="d of the parts on threads and memory, 0 for none (1000000)")
    parser.add_argument("--seconds", type=float, help="per comparison (15)")
    parser.add_argument("--cap", type=float, default=60.0, help="seconds per peer, size and dtype (60)")
    parser.add_argument("--rounds", type=int, default=200, help="at most (200)")
    parser.add_argument("--memory", type=float, default=12.0, help="GiB at most (12)")
    parser.add_argument("--core", type=int, help="that all but the second thread run on (the last one)")
    parser.add_argument("--output", type=Path, help="folder for CSV and PNG (bench/results)")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name, full, quick in (
        ("dimensions", [100, 1000, 10_000, 100_000, 1_000_000], [100, 1000, 10_000]),
        ("large", 1_000_000, 10_000),
        ("seconds", 15.0, 1.0),
    ):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else full)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.child:
        mode, dtype, d, popsize = options.child
        memory_child(mode, dtype, int(d), int(popsize))
        return
    if options.output is not None:
        common.RESULTS = options.output
    limits = Limits(options.seconds, options.cap, 3, max(3, options.rounds), options.memory * 2**30)
    figures: list[Figure] = []
    cores = pin(options.core)
    for dtype, d in itertools.product(options.dtypes, options.dimensions):
        print(f"measuring d = {d}, {dtype}", file=sys.stderr, flush=True)
        figures += speed(Case.make(d, dtype, POPSIZE), options.peers, limits)
    table = make_table(figures)
    table.show()
    table.save()

    two = extra = common.Table("none", [])
    if cores:
        os.sched_setaffinity(0, cores)
    if options.large:
        print(f"measuring threads and memory at d = {options.large}", file=sys.stderr, flush=True)
        two = threads(options.large, options.dtypes, POPSIZE, limits)
        two.show()
        two.save()
        extra = memory(options.large, options.dtypes, POPSIZE)
        extra.show()
        extra.save()
    summarise(figures, two, extra)
    if find_spec("matplotlib") is None:
        print('no figure: matplotlib is not installed (pip install "pyasmg[plot]").')
    else:
        plot(figures)


if __name__ == "__main__":
    main()
