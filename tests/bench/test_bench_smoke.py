"""The benchmarks run, write what they promise, and their twins make the same search as pyasmg."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyasmg
from pyasmg import _core

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n"
SEED = 11


def run_module(name, *arguments):
    command = [sys.executable, "-m", f"bench.{name}", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def read_csv(path):
    first, second, *lines = path.read_text().splitlines()
    assert first.startswith("# python -m bench.")
    assert second.startswith("# ")
    return list(csv.DictReader(lines))


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "XLA_FLAGS",
    ):
        monkeypatch.setenv(name, "")  # the module sets them on import: put back afterwards
    from bench import speed_methods

    return speed_methods


def test_convergence(tmp_path):
    pytest.importorskip("cma")
    pytest.importorskip("matplotlib")
    sizes = ["--dimensions", "4", "3", "--popsizes=10", "--budget=3000", "--seeds=2", "--other-seeds=1"]
    out = run_module("convergence", *sizes, "--output", str(tmp_path))
    for line in (
        "paper mode succeeds in ",
        "auto succeeds in ",
        "geometric mean of paper / auto over ",
    ):
        assert line in out

    *rows, last = read_csv(tmp_path / "convergence.csv")
    methods = ["paper", "auto", "pycma full", "pycma diagonal"]
    columns = [c for m in methods for c in (m, f"{m} ok")]
    assert list(rows[0]) == ["d", "problem", "N", *columns, "paper / auto"]
    assert [r["problem"] for r in rows] == ["l1 (4.21)", "l1/2 (4.22)", "mixed (4.23)"]
    assert last["problem"] == "geometric mean"
    l1 = rows[0]
    assert l1["auto ok"] == l1["paper ok"] == l1["pycma full ok"] == "2/2"
    assert 0 < int(l1["auto"]) <= 3000
    assert float(l1["paper / auto"]) == pytest.approx(int(l1["paper"]) / int(l1["auto"]), rel=1e-3)

    runs = read_csv(tmp_path / "convergence_runs.csv")
    assert len(runs) == 3 * 4 * 2
    for r in runs:
        assert int(r["spent"]) % (11 if r["method"] == "paper" else 10) == 0  # the paper's evaluates the mean too
        assert (r["end"] == "target") == (float(r["distance"]) <= 1e-4) == (r["evaluations to target"] != "")
    other = read_csv(tmp_path / "convergence_dimensions.csv")
    assert {r["d"] for r in other} == {"3", "all"}
    assert "pycma full" not in other[0]
    assert (tmp_path / "convergence.png").read_bytes().startswith(PNG)


def test_convergence_invariance(tmp_path):
    sizes = ["--dimensions", "5", "--popsizes", "8", "--iterations", "20"]
    out = run_module("convergence", "--invariance", *sizes, "--output", str(tmp_path))
    assert "factors 1e-6 and 1e6" in out
    rows = read_csv(tmp_path / "convergence_invariance.csv")
    assert len(rows) == 3 * (2 * 4 + 1)
    for r in rows:
        assert float(r["mean"]) < 1e-10, r
        if r["times"].startswith("2^"):
            assert float(r["mean"]) == float(r["stds"]) == 0, r


def test_speed(tmp_path):
    pytest.importorskip("matplotlib")
    sizes = [
        "--dimensions",
        "20",
        "--large",
        "300",
        "--seconds",
        "0.05",
        "--peers",
        "numpy",
        "pycma diagonal",
    ]
    out = run_module("speed", *sizes, "--output", str(tmp_path))
    assert "pycma diagonal skipped at d = 20, float32: " in out
    for line in (
        "float32, d = 20: ",
        "x faster than the fastest peer",
        "float64, d = 300: two threads ",
        "float32, d = 300: regenerate takes ",
    ):
        assert line in out

    rows = read_csv(tmp_path / "speed.csv")
    columns = ["d", "dtype", "method", "ms", "CPU ms", "best ms", "ns / sample"]
    assert list(rows[0]) == [*columns, "peer / ours", "least ratio", "CPU ratio", "GB/s", "rounds"]
    floors = {"floor: normals", "floor: copy", "floor: write", "floor: allocate, write"}
    assert {r["method"] for r in rows if r["dtype"] == "float32"} == {"pyasmg", "numpy", *floors}
    for r in rows:
        assert 0 < float(r["best ms"]) <= float(r["ms"])
        assert float(r["ns / sample"]) == pytest.approx(float(r["ms"]) * 1e6 / (100 * 20))
        assert (r["peer / ours"] == "") == (r["method"] == "pyasmg")
        assert int(r["rounds"]) >= 3
    assert len(read_csv(tmp_path / "speed_threads.csv")) == 2
    memory = read_csv(tmp_path / "speed_memory.csv")
    assert [r["mode"] for r in memory] == ["regenerate", "store", "numpy"] * 2
    assert (tmp_path / "speed.png").read_bytes().startswith(PNG)


def shared_search(twin, dtype, convert):
    """Ours and the twin on the same normals and the same objective values: the same distributions."""
    d, popsize, rng = 200, 30, np.random.default_rng(SEED)
    x0, target = rng.normal(size=d), rng.normal(size=(2, d))
    fixed = {"step_size": 0.5, "std_step_size": 0.5, "mirrored": False}
    opt = pyasmg.ASMG(x0, 0.7, popsize=popsize, seed=SEED, dtype=dtype, **fixed)
    other = twin(x0, 0.7, popsize, dtype, step=0.5)
    Z = np.empty((popsize, d), dtype=dtype)
    tolerance = 1e-4  # ours rounds scaled objectives to 2^-20
    for generation in range(30):
        X = opt.ask()
        _core.sample_normals(SEED, generation, 0, Z, 1)
        np.testing.assert_allclose(np.asarray(other.ask(convert(Z))), X, rtol=tolerance, atol=tolerance)
        F = np.stack([np.abs(X - t).sum(axis=1, dtype=np.float64) for t in target], axis=1) * [1.0, 1e3]
        opt.tell(X, F)
        other.tell(convert(F))
        message = f"{SEED=} {generation=}"
        np.testing.assert_allclose(np.asarray(other.mean), opt.mean, rtol=0, atol=tolerance, err_msg=message)
        np.testing.assert_allclose(np.asarray(other.stds), opt.stds, rtol=tolerance, err_msg=message)
        np.testing.assert_allclose(np.asarray(other.weights), opt.weights, rtol=0, atol=tolerance, err_msg=message)
    assert not np.allclose(opt.mean, x0, atol=0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_numpy_twin_makes_our_search(speed, dtype):
    shared_search(speed.NumpyTwin, dtype, lambda a: a)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_torch_twin_makes_our_search(speed, dtype):
    torch = pytest.importorskip("torch")
    shared_search(speed.TorchTwin, dtype, torch.from_numpy)


def test_two_objective_weights(speed):
    for seed in range(20):
        G = np.random.default_rng(seed).normal(size=(2, 3))
        gram = G @ G.T
        expected = pyasmg.min_norm_weights(gram)
        np.testing.assert_allclose(speed.two_objective_weights(gram), expected, atol=1e-12, err_msg=f"{seed=}")
    assert speed.two_objective_weights(np.ones((2, 2))).tolist() == [0.5, 0.5]
