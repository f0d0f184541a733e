"""The benchmarks of cost and of the digits run, and their data are what they say."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]


def run(module: str, folder: Path, *arguments: str) -> list[dict[str, str]]:
    """Run a benchmark with its results in a folder; return the rows of its table."""
    code = (
        "import sys, importlib, pathlib, bench.common as common; common.RESULTS = pathlib.Path(sys.argv[1]);"
        "name = sys.argv[2]; sys.argv = [name, *sys.argv[3:]]; importlib.import_module(name).main()"
    )
    command = [sys.executable, "-c", code, str(folder), module, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 0, answer.stderr
    (path,) = folder.glob("*.csv")
    first, second, *lines = path.read_text().splitlines()
    assert first.startswith("# python -m ")
    assert second.startswith("# ")
    return list(csv.DictReader(lines))


def test_cost(tmp_path: Path) -> None:
    options = ["--sizes", "6k", "--tasks", "3", "--repeats", "2", "--batch", "16", "--methods", "EW", "MGDA"]
    rows = run("bench.mtl.cost", tmp_path, *options, "--no-peers")
    methods = ["sum", "m passes", "EW", "EW, losses alone", "MGDA", "MGDA, features"]
    assert [row["method"] for row in rows] == methods
    assert [row["d"] for row in rows] == ["5752"] * 6
    assert all(float(row["ms"]) > 0 for row in rows)
    assert float(rows[0]["x sum"]) == float(rows[1]["x m passes"]) == 1.0


def test_cost_of_peers() -> None:
    """Their steps do fill the gradients, and agree with ours where the method is the same."""
    pytest.importorskip("torchjd")
    from bench.mtl import cost
    from bench.mtl.cost_peers import torchjd_steps

    problem = cost.Problem("6k", 3, 16)
    found = []
    for step in (torchjd_steps(3)["FairGrad"], cost.ours(cost.mtl.FairGrad(3))):
        problem.forward()
        step(problem)
        found.append(torch.cat([parameter.grad.reshape(-1) for parameter in problem.shared]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=1e-2 * float(found[1].abs().max()))


def test_digits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    rows = run("bench.mtl.digits", tmp_path, "--quick", "--sets", "labels")
    assert [row["method"] for row in rows] == ["LS", "RLW", "DWA", "UW", "MGDA", "NashMTL", "PIVRG"]
    assert all(np.isfinite(float(row[key])) for row in rows for key in ("delta_m", "PI- delta_m", "PI- Var[delta_m]"))
    assert any(row["Var[delta_m]"] != row["PI- Var[delta_m]"] for row in rows)


@pytest.mark.parametrize("name", ["labels", "scales", "standardised"])
def test_digits_data(name: str) -> None:
    pytest.importorskip("sklearn")
    from bench.mtl import digits_data

    data, again, other = (getattr(digits_data, name)(seed) for seed in (0, 0, 1))
    m = len(data.names)
    assert m == len(data.n_outputs) == {"labels": 6}.get(name, 12)
    assert sum(len(data.inputs[part]) for part in data.inputs) == 1797
    for part in ("train", "validation", "test"):
        torch.testing.assert_close(data.inputs[part], again.inputs[part], rtol=0, atol=0)
        assert data.inputs[part].shape != other.inputs[part].shape or (data.inputs[part] != other.inputs[part]).any()
        assert [len(target) for target in data.targets[part]] == [len(data.inputs[part])] * m
        assert all(target.float().isfinite().all() for target in data.targets[part])
    if name == "labels":
        digit, parity, above, loop = (target.numpy() for target in data.targets["train"][:4])
        np.testing.assert_array_equal(parity, digit % 2)
        np.testing.assert_array_equal(above, digit > 4)
        np.testing.assert_array_equal(loop, np.isin(digit, [0, 6, 8, 9]))
    else:
        spreads = [float(target.std()) for target in data.targets["train"]]
        assert max(spreads) / min(spreads) > 1000.0 or name == "standardised"
        assert max(spreads) / min(spreads) < 1.001 or name == "scales"
