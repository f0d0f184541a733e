"""Time and memory per iteration against d, N and m, with the fitted exponents, ours and peers.

One iteration is ask + tell with given objective values, so that no objective is timed. From a base case (d = 10,000,
N = 100, m = 2; float64, one thread) one size changes at a time: d from 1e2 to 1e7, N from 10 to 10,000, m from 1 to 40.
A method leaves a row out where an iteration would take too long or more memory than is free; a line says so.

``time`` is the median over several iterations after a warm-up. ``memory`` is what the resident set of a fresh process
grows by, at its peak, over three iterations; below a few MiB it is the allocator's noise. The exponent p is that of
``time ~ size^p``, a least-squares line through the logarithms of the values above the fixed costs.
"""

from __future__ import annotations

import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import common

common.one_thread()

import numpy as np  # noqa: E402

from bench.harness import OPTIMIZERS, Figure, Panel, Series, available, parse, parser, say  # noqa: E402

METHODS = ("asmg", "regenerate", "cma-diagonal", "sep-cma", "mmes", "cma-full", "nsga2")
LABELS = {"regenerate": "ASMG regenerate", **{name: entry.label for name, entry in OPTIMIZERS.items()}}
BASE = {"d": 10_000, "N": 100, "m": 2}
FULL = {
    "d": (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000),
    "N": (10, 100, 1_000, 10_000),
    "m": (1, 2, 5, 10, 20, 40),
}
QUICK_METHODS = ("asmg", "regenerate", "cma-diagonal", "sep-cma")
QUICK = {"d": (100, 1_000, 10_000, 100_000), "N": (10, 100, 1_000), "m": (1, 2, 10, 40)}
SMALL_N = 10  # for d = 1e7, where 100 candidates would take 8 GB
#: Matrices of d^2 entries and populations of objects: sizes beyond which one iteration takes seconds.
LARGEST = {"cma-full": 1_000, "nsga2": 5_000_000, "mmes": 100_000}


@dataclass(frozen=True)
class Case:
    """One row: which method, and the three sizes."""

    method: str
    d: int
    N: int
    m: int

    @property
    def population_bytes(self) -> int:
        """Of one population in float64."""
        return 8 * self.d * self.N


def sweep(size: str, sizes: Sequence[int]) -> list[dict[str, int]]:
    """Return the cases in which one size changes; N = 10 at d = 1e7."""
    cases = [{**BASE, size: value} for value in sizes]
    for case in cases:
        if case["d"] >= 10_000_000:
            case["N"] = SMALL_N
    return cases


def generation(case: Case) -> Callable[[], None]:
    """Return a function that makes one iteration of the method."""
    rng = np.random.default_rng(0)
    values = itertools.cycle([rng.standard_normal((case.N + 1, case.m)) for _ in range(8)])
    x0, bounds = np.full(case.d, 0.5), (0.0, 1.0)
    if case.method == "regenerate":
        import pyasmg

        opt = pyasmg.ASMG(x0, 0.1, popsize=case.N, seed=1, memory="regenerate")

        def regenerated() -> None:
            opt.ask()
            opt.tell(next(values)[: case.N])

        return regenerated
    from bench.harness import make

    optimizer = make(case.method, x0, 0.1, case.N, 1, bounds=bounds if case.method == "nsga2" else None)

    def one() -> None:
        X = optimizer.ask()
        optimizer.tell(X, next(values)[: len(X)])

    return one


def measure_time(case: Case, seconds: float) -> float:
    """Return the median seconds of an iteration, over as many as fit into `seconds`, at least three."""
    one = generation(case)
    one()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 200):
        began = time.perf_counter()
        one()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def measure_memory(case: Case) -> float:
    """Return the MiB by which three iterations raise the peak of a fresh process."""
    line = [sys.executable, "-m", "bench.suites.scaling", "--child", json.dumps(asdict(case))]
    answer = subprocess.run(line, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if answer.returncode != 0:
        raise RuntimeError(f"{case} failed: {answer.stderr.strip().splitlines()[-1:]}")
    return float(answer.stdout.split()[-1])


def child(text: str) -> None:
    """Be the fresh process: print the growth of the peak in MiB."""
    case = Case(**json.loads(text))
    warm = Case(case.method, 10, 10, case.m)  # imports and their caches
    generation(warm)()
    before = _peak()
    one = generation(case)
    for _ in range(3):
        one()
    print(max(_peak() - before, 0.0))


def _peak() -> float:
    """Return this process's largest resident set in MiB; Linux's getrusage would count the parent's as well."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return float(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _free_bytes() -> float:
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("MemAvailable"):
                return float(line.split()[1]) * 1024
    return 8e9


def fits(case: Case) -> str | None:
    """Return why a case is left out; None if it runs."""
    largest = LARGEST.get(case.method)
    if largest and case.d * (case.N if case.method == "nsga2" else 1) > largest:
        return "an iteration takes too long"
    populations = {"asmg": 2, "regenerate": 0.1}.get(case.method, 10)
    if populations * case.population_bytes + 10 * 8 * case.d * case.m > 0.7 * _free_bytes():
        return "needs more memory than is free"
    return None


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the slope of log(value) over log(size) through the points where the size counts; None for fewer than two.

    These are the values above three times the least one (below are the fixed costs), at least the last two.
    """
    pairs = [(s, v) for s, v in zip(sizes, values, strict=True) if v > 0]
    if len(pairs) < 2:
        return None
    least = min(v for _, v in pairs)
    kept = [(s, v) for s, v in pairs if v > 3 * least]
    x, y = np.log(np.array(kept if len(kept) >= 2 else pairs[-2:])).T
    return float(np.polyfit(x, y, 1)[0])


def run_sweep(
    size: str, sizes: Sequence[int], methods: Sequence[str], seconds: float, memory: bool
) -> list[tuple[str, dict[str, int], float, float | None]]:
    """Measure one sweep; return (method, case, seconds, MiB) rows."""
    rows = []
    for method in methods:
        for case_sizes in sweep(size, sizes):
            if size == "m" and OPTIMIZERS.get(method, OPTIMIZERS["asmg"]).kind == "sum":
                continue  # these see one objective, whatever m
            case = Case(method, **case_sizes)
            reason = fits(case)
            if reason:
                say(f"{LABELS[method]} left out at {case_sizes}: {reason}")
                continue
            taken = measure_time(case, seconds)
            grown = measure_memory(case) if memory else None
            rows.append((method, case_sizes, taken, grown))
            text = "" if grown is None else f", {grown:.1f} MiB"
            say(f"{LABELS[method]}, {size} = {case_sizes[size]:,}: {1e3 * taken:.3g} ms{text}")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the three sweeps, print tables and exponents, write CSV and PNG."""
    command = parser("scaling", __doc__)
    command.add_argument("--methods", nargs="+", choices=METHODS)
    command.add_argument("--seconds", type=float, help="of timing per row (1; --quick 0.2)")
    options = parse(command, arguments, seconds=(0.2, 1.0), methods=(QUICK_METHODS, METHODS))
    methods = [m for m in options.methods if m == "regenerate" or available([m])]
    columns = ["d", "N", "m", "method", "ms", "ns / sample", "MiB", "MiB / population"]
    table = common.Table("scaling", columns, "One iteration: ask + tell, float64, one thread")
    fits_table = common.Table(
        "scaling_exponents", ["size", "method", "time exponent", "memory exponent", "from", "to"], "Fitted exponents"
    )
    panels: dict[str, list[Panel]] = {"time": [], "memory": []}
    for size, sizes in (QUICK if options.quick else FULL).items():
        rows = run_sweep(size, sizes, methods, options.seconds, memory=size == "d" or not options.quick)
        times, memories = Panel(f"time over {size}"), Panel(f"memory over {size}")
        for method in dict.fromkeys(row[0] for row in rows):
            own = [row for row in rows if row[0] == method]
            for _, case, taken, grown in own:
                population = 8 * case["d"] * case["N"] / 2**20
                share = "-" if grown is None else grown / population
                per = 1e9 * taken / case["d"] / case["N"]
                shown = "-" if grown is None else grown
                table.add(case["d"], case["N"], case["m"], LABELS[method], 1e3 * taken, per, shown, share)
            same = [row for row in own if row[1]["N"] == own[0][1]["N"] or size == "N"]  # N shrinks at d = 1e7
            x, y = [row[1][size] for row in same], [row[2] for row in same]
            grown_rows = [(row[1][size], row[3]) for row in same if row[3] is not None and row[3] > 4.0]  # above noise
            time_fit = exponent(x, y)
            memory_fit = exponent(*zip(*grown_rows, strict=True)) if len(grown_rows) > 1 else None
            fits_table.add(size, LABELS[method], *_cells(time_fit, memory_fit), x[0], x[-1])
            times.series.append(Series(LABELS[method], x, [1e3 * value for value in y]))
            if grown_rows:
                memories.series.append(Series(LABELS[method], *map(list, zip(*grown_rows, strict=True))))
        panels["time"].append(times)
        panels["memory"] += [memories] if memories.series else []
    for found in (table, fits_table):
        found.show()
        found.save()
    note = "From d = 10,000, N = 100, m = 2; one size changes at a time."
    Figure("scaling_time", "Time per iteration", "size", "ms", panels["time"], note=note).save()
    Figure("scaling_memory", "Extra memory", "size", "MiB", panels["memory"], note=note).save()


def _cells(*values: float | None) -> list[Any]:
    return ["-" if value is None else round(value, 2) for value in values]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main()
