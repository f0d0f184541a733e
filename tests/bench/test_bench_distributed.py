"""The benchmark of the Dask cluster runs and finds what it promises, at a small size."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_distributed(tmp_path):
    pytest.importorskip("distributed")
    sizes = ["--dimension=50000", "--popsize=12", "--generations=3"]
    command = [sys.executable, "-m", "bench.distributed", *sizes, "--output", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert sum(line.startswith("yes  ") for line in answer.stdout.splitlines()) == 4
    first, second, *lines = (tmp_path / "distributed.csv").read_text().splitlines()
    assert first.startswith("# python -m bench.distributed")
    assert second.startswith("# ")
    rows = list(csv.DictReader(lines))
    assert [row["candidates travel"] for row in rows] == ["by number"] * 3 + ["the same, bounds"] * 2 + ["as vectors"]
    vector = 50_000 * 8 / 1e6
    # Never less than what must travel: mean and stds, to one worker at least.
    assert all(2 * vector <= float(row["MB"]) <= float(row["reference MB"]) for row in rows[:3])
    assert float(rows[5]["MB"]) > 12 * vector
    assert (tmp_path / "distributed_projection.csv").exists()
