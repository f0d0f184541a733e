"""What every benchmark shares: a table that prints and is saved, machine facts, one thread."""

from __future__ import annotations

import csv
import datetime
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def one_thread() -> None:
    """Hold every numerical library to one thread; call before numpy, torch or jax is imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[name] = "1"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def machine() -> str:
    """One line that says where and when the figures were taken."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    today = datetime.date.today().isoformat()
    return f"pyasmg {_version()}, {model}, {os.cpu_count()} cores, Python {platform.python_version()}, {today}"


def _version() -> str:
    """Return pyasmg's version as its sources tell it, without importing it."""
    return (Path(__file__).parents[1] / "pyasmg" / "_version.py").read_text().rpartition("=")[2].strip(' "\n')


def header() -> str:
    """Return the two lines that stand above every result: the command, and version, machine and date."""
    return f"# python -m {_command()}\n# {machine()}\n"


class Table:
    """A table that is printed with rich and saved as CSV, with the command and the machine above it."""

    def __init__(self, name: str, columns: Sequence[str], title: str = "") -> None:
        self.name = name
        self.columns = list(columns)
        self.title = title or name
        self.rows: list[list[Any]] = []

    def add(self, *cells: Any) -> None:
        """Add a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"expected {len(self.columns)} cells; got {len(cells)}.")
        self.rows.append(list(cells))

    def show(self) -> None:
        """Print the table."""
        from rich.console import Console
        from rich.table import Table as RichTable

        table = RichTable(title=self.title, title_justify="left")
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="left" if i == 0 else "right")
        for row in self.rows:
            table.add_row(*(_text(cell) for cell in row))
        width = None if sys.stdout.isatty() else 200
        Console(width=width).print(table)

    def save(self) -> Path:
        """Write ``bench/results/NAME.csv``; numbers in full precision."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.csv"
        with path.open("w", newline="") as file:
            file.write(header())
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self.rows)
        return path


def save_figure(figure: Any, name: str) -> Path:
    """Write ``bench/results/NAME.png``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.png"
    figure.savefig(path, dpi=120, bbox_inches="tight")
    return path


def _command() -> str:
    module = Path(sys.argv[0])
    name = module.name
    if module.suffix == ".py":
        root = Path(__file__).resolve().parents[1]
        inside = module.resolve().is_relative_to(root)
        name = ".".join(module.resolve().relative_to(root).with_suffix("").parts) if inside else module.stem
        name = name.removesuffix(".__main__")
    return " ".join([name, *sys.argv[1:]])


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return str(cell)
