"""All benchmarks by name.

python -m bench list
python -m bench run NAME [--quick] [...]     NAME "all": every benchmark that has --quick, in turn
python -m bench report [--output FILE]       one HTML page of all results on disk
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module

from bench import common
from bench.harness.registry import Benchmark, benchmarks


def show_list() -> int:
    """Print every benchmark with what it measures."""
    for benchmark in benchmarks().values():
        quick = " [--quick]" if benchmark.quick else ""
        print(f"{benchmark.name}{quick}\n    {benchmark.title}")
    return 0


def run(name: str, arguments: Sequence[str]) -> int:
    """Run a benchmark with its arguments; return its exit status."""
    known = benchmarks()
    if name == "all":
        return _run_all(known, arguments)
    if name not in known:
        print(f"no benchmark {name!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    benchmark = known[name]
    if not benchmark.suite:  # stands alone: its module reads sys.argv, or is given arguments
        return subprocess.run([sys.executable, "-m", benchmark.module, *arguments], check=False).returncode
    return int(import_module(benchmark.module).main(arguments) or 0)


def _run_all(known: dict[str, Benchmark], arguments: Sequence[str]) -> int:
    failed = []
    for name, benchmark in known.items():
        if not benchmark.quick or benchmark.needs_root:
            continue
        print(f"\n=== {name}", flush=True)
        began = time.perf_counter()
        status = subprocess.run([sys.executable, "-m", "bench", "run", name, *arguments], check=False).returncode
        print(f"=== {name}: {time.perf_counter() - began:.0f} s" + (f", exit status {status}" if status else ""))
        failed += [name] if status else []
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line."""
    common.one_thread()
    command = argparse.ArgumentParser(prog="python -m bench", description="The benchmarks of pyasmg.")
    parts = command.add_subparsers(dest="what", required=True)
    parts.add_parser("list", help="what there is")
    runner = parts.add_parser("run", help="run one; further arguments are its own", add_help=False)
    runner.add_argument("name")
    runner.add_argument("arguments", nargs=argparse.REMAINDER)
    reporter = parts.add_parser("report", help="one HTML page of all results on disk", add_help=False)
    reporter.add_argument("arguments", nargs=argparse.REMAINDER)
    options = command.parse_args(arguments)
    if options.what == "list":
        return show_list()
    if options.what == "run":
        return run(options.name, options.arguments)
    return int(import_module("bench.report").main(options.arguments) or 0)


if __name__ == "__main__":
    sys.exit(main())
