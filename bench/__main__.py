"""All benchmarks by name.

python -m bench list
python -m bench run NAME [--quick] [...]     NAME "all": every benchmark that has --quick, in turn; options other than
                                             --quick are for the suites of the harness
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
    start = time.perf_counter()
    for name, benchmark in known.items():
        if not benchmark.quick or benchmark.needs_root:
            continue
        print(f"\n=== {name}", flush=True)
        began = time.perf_counter()
        its = arguments if benchmark.suite else [a for a in arguments if a == "--quick"]
        status = subprocess.run([sys.executable, "-m", "bench", "run", name, *its], check=False).returncode
        print(f"=== {name}: {time.perf_counter() - began:.0f} s" + (f", exit status {status}" if status else ""))
        failed += [name] if status else []
    print(f"\nall: {time.perf_counter() - start:.0f} s")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line."""
    common.one_thread()
    what, *others = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if what == "run" and others and not others[0].startswith("-"):
        return run(others[0], others[1:])
    if what == "report":
        return int(import_module("bench.report").main(others) or 0)
    command = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("what", choices=["list", "run", "report"])
    command.add_argument("name", nargs="?", help="of a benchmark, as `list` prints it")
    options = command.parse_args([what, *others])
    if options.what == "run":
        command.error("run needs the name of a benchmark: python -m bench list")
    return show_list()


if __name__ == "__main__":
    sys.exit(main())
