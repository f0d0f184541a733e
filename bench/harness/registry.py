"""Which benchmarks there are: suites of the harness, and the modules that stand alone."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Benchmark:
    """A benchmark by name: its module, and what the first line of its docstring says."""

    name: str
    module: str
    title: str
    suite: bool
    quick: bool
    needs_root: bool = False


def benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks by name, suites first; found by reading the sources, nothing is imported."""
    found = {}
    for path in sorted((ROOT / "suites").glob("[!_]*.py")):
        found[path.stem] = _benchmark(path.stem, path, True)
    folders = [ROOT, *(p for p in sorted(ROOT.iterdir()) if p.is_dir() and p.name not in ("suites", "harness"))]
    for folder in folders:
        prefix = "" if folder == ROOT else f"{folder.name}."
        for path in sorted(folder.glob("[!_]*.py")):
            source = path.read_text()
            if '__name__ == "__main__"' in source and _is_benchmark(source):
                found[prefix + path.stem] = _benchmark(prefix + path.stem, path, False)
    return found


def _is_benchmark(source: str) -> bool:
    """Say whether a module is run by people: helpers that another module starts have no options of their own."""
    return "python -m bench." in source or "argparse" in source


def _benchmark(name: str, path: Path, suite: bool) -> Benchmark:
    source = path.read_text()
    title = (ast.get_docstring(ast.parse(source)) or name).splitlines()[0]
    module = ".".join(("bench", *path.relative_to(ROOT).with_suffix("").parts))
    return Benchmark(name, module, title, suite, suite or '"--quick"' in source, '"--root"' in source)
