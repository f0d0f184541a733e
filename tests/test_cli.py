"""The command line as users run it: the console script in a process of its own, objectives in files of their own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import pyasmg

OBJECTIVES = """
import os, pathlib, sys, time
import numpy as np

A_NUMBER = 3
calls = 0

def sphere_pair(x):
    return np.array([np.sum((x - 1.0) ** 2), np.sum((x + 1.0) ** 2)])

def population(X):
    return np.stack([np.sum((X - 1.0) ** 2, axis=1), np.sum((X + 1.0) ** 2, axis=1)], axis=1)

lambda_pair = lambda x: sphere_pair(x)  # cannot be pickled

class Simulator:
    def run(self, x):
        return sphere_pair(x)

simulator = Simulator()

def count(x):
    with open("calls", "a") as file:
        file.write("x")
    return os.stat("calls").st_size

def fails_sometimes(x):
    if count(x) % 3 == 0:
        raise RuntimeError("the simulator crashed")
    return sphere_pair(x)

def fails_after_20(x):
    if count(x) > 20:
        raise RuntimeError("the simulator\\nis gone")
    return sphere_pair(x)

def slow_after_20(x):
    if count(x) > 20:
        time.sleep(600)
    return sphere_pair(x)

def dies_after_20(x):
    if count(x) > 20:
        os._exit(1)
    return sphere_pair(x)

def negative_after_20(x):
    return sphere_pair(x) - 1e3 * (count(x) > 20)

def removes_the_folder(x):
    if pathlib.Path("gone").exists():
        pathlib.Path("gone").rmdir()
    return sphere_pair(x)
"""
RUN = ["--sigma0", "0.5", "--max-evaluations", "61", "--popsize", "10", "--seed", "4"]


def command():
    """Return the console script of this environment, or what it would run where the package is not installed."""
    script = shutil.which("pyasmg", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-c", "import sys; from pyasmg.cli import main; sys.exit(main())"]


def environment():
    """Return an environment in which the same pyasmg is imported from any folder."""
    root = str(Path(pyasmg.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "COLUMNS": "200", "PYTHONWARNINGS": "error"}


def start(folder, *arguments):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits an ignored SIGINT
    try:
        return subprocess.Popen(
            [*command(), *arguments],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def run(folder, *arguments, status=0):
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=120)
    assert process.returncode == status, (out, err)
    return out, err


def result_in(folder, name="pyasmg-result.json"):
    def refuse(text):
        raise AssertionError(f"not strict JSON: {text}")

    return json.loads((folder / name).read_text(), parse_constant=refuse)


@pytest.fixture
def folder(tmp_path):
    """A user's folder with objectives in it; no half-written file may be left there."""
    (tmp_path / "problem.py").write_text(OBJECTIVES)
    yield tmp_path
    assert not list(tmp_path.glob(".*"))


def test_version_and_help(tmp_path):
    assert run(tmp_path, "--version")[0] == f"pyasmg {pyasmg.__version__}\n"
    assert "minimize" in run(tmp_path, "--help")[0]
    assert "minimize" in run(tmp_path, status=2)[0]
    assert "--max-evaluations" in run(tmp_path, "minimize", "--help")[0]


def test_minimize_is_the_librarys_minimize(folder):
    out, err = run(folder, "minimize", "problem:sphere_pair", "--x0", "-1,2,3", *RUN)
    assert err == ""
    expected = pyasmg.minimize(
        lambda x: [np.sum((x - 1.0) ** 2), np.sum((x + 1.0) ** 2)],
        [-1, 2, 3],
        0.5,
        max_evaluations=61,
        popsize=10,
        seed=4,
    )
    stored = result_in(folder)
    assert stored["x"] == expected.x.tolist()
    assert stored["fun"] == expected.fun.tolist()
    assert stored["weights"] == expected.weights.tolist()
    assert stored["stds"] == expected.stds.tolist()
    assert (stored["n_evaluations"], stored["n_failed"], stored["seed"]) == (61, 0, 4)
    assert stored["success"] is True
    assert stored["failures"] == []
    assert {key: np.shape(values) for key, values in stored["history"].items()} == {
        "n_evaluations": (6,),
        "mean": (6, 2),
        "best": (6, 2),
        "weights": (6, 2),
        "max_std": (6,),
        "stationarity": (6,),
    }
    assert stored["versions"]["pyasmg"] == pyasmg.__version__
    assert stored["settings"]["x0"] == "-1,2,3"
    assert stored["settings"]["popsize"] == 10
    for text in ("0 ", "61 in 6 generations", "budget", "pyasmg-result.json", f"{expected.x[0]:.6g}"):
        assert text in out


def test_a_second_run_does_not_overwrite_the_first(folder):
    for _ in range(3):
        run(folder, "minimize", "problem:sphere_pair", "--x0", "1,2", *RUN)
    names = ["pyasmg-result.json", "pyasmg-result-2.json", "pyasmg-result-3.json"]
    assert len({json.dumps(result_in(folder, name)["x"]) for name in names}) == 1
    run(folder, "minimize", "problem:sphere_pair", "--x0", "1", *RUN, "--output", names[0])
    assert len(result_in(folder)["x"]) == 1


@pytest.mark.parametrize(
    "way",
    [
        ["problem:lambda_pair"],
        ["problem:simulator.run"],
        ["problem:population", "--vectorized"],
        ["problem:lambda_pair", "--workers", "2"],
        ["problem:population", "--vectorized", "--workers", "2"],
        ["problem:sphere_pair", "--threads", "3", "--memory", "regenerate", "--progress"],
    ],
    ids=" ".join,
)
def test_the_way_of_evaluation_does_not_change_the_result(folder, way):
    run(folder, "minimize", "problem:sphere_pair", "--x0", "1,2", *RUN, "--output", "plain.json")
    run(folder, "minimize", *way, "--x0", "1,2", *RUN)
    assert result_in(folder)["x"] == result_in(folder, "plain.json")["x"]


def test_numbers_from_files(folder):
    np.save(folder / "x.npy", np.array([1.0, 2.0]))
    (folder / "x.csv").write_text("1.0\n2.0\n")
    (folder / "row.csv").write_text("1, 2\n")
    (folder / "x.json").write_text("[1, 2]")
    (folder / "earlier.json").write_text('{"x": [1, 2], "stds": [0.5, 0.5]}')
    found = []
    for start_at in ("1,2", "@x.npy", "@x.csv", "@row.csv", "@x.json", "@earlier.json"):
        sigma = "@earlier.json" if start_at == "@earlier.json" else "0.5"
        arguments = ["--x0", start_at, *RUN, "--sigma0", sigma, "--output", "r.json"]
        run(folder, "minimize", "problem:sphere_pair", *arguments)
        found.append(result_in(folder, "r.json")["x"])
    assert all(x == found[0] for x in found)


def test_options_arrive(folder):
    out, _ = run(
        folder, "minimize", "problem:sphere_pair", "--dimension", "30", "--x0-value", "2", *RUN,
        "--bounds-low", "1.5", "--bounds-high", "inf", "--weighting", "3,1", "--step-size", "0.1",
        "--std-step-size", "auto", "--dtype", "float32", "--max-iterations", "4", "--tolx", "1e-9",
        "--tolfun", "0,1e-9", "--target", "1e-9", "--tolstationarity", "1e-9", "--no-progress",
    )  # fmt: skip
    stored = result_in(folder)
    assert "(d = 30)" in out
    assert stored["weights"] == [0.75, 0.25]
    assert stored["n_iterations"] == 4
    assert stored["stop"] == {"max_iterations": 4}
    assert min(stored["x"]) >= 1.5
    assert stored["x"] == np.array(stored["x"], np.float32).tolist()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["problem"], "MODULE:FUNCTION must be two names with a colon between; got 'problem'."),
        ([":f"], "MODULE:FUNCTION must be two names"),
        (["nowhere:f"], "importing 'nowhere' raised ModuleNotFoundError: No module named 'nowhere'."),
        (["broken:f"], "importing 'broken' raised SyntaxError"),
        (["leaves:f"], "importing 'leaves' raised SystemExit"),
        (["problem:missing"], "must name a function of 'problem'; got 'missing'."),
        (["problem:A_NUMBER"], "must name a function; got 'problem:A_NUMBER' of type int."),
        (["--x0", "1,two"], "--x0 must be a number, numbers with commas or @FILE; got '1,two'."),
        (["--x0", ""], "--x0 must be a number"),
        (["--x0", "__import__('os').system('touch ran')"], "--x0 must be a number"),
        (["--x0", "1,nan"], "--x0 must be finite; got nan at index 1."),
        (["--x0", "@missing.npy"], "--x0 must name a file of numbers; reading 'missing.npy' raised FileNotFoundError"),
        (["--x0", "@problem.py"], "--x0 must name a .json, .npy or .csv file; got 'problem.py'."),
        (["--x0", "@words.csv"], "--x0 must name a file of numbers; reading 'words.csv' raised ValueError"),
        (["--x0", "@objects.npy"], "--x0 must name a file of numbers; reading 'objects.npy' raised ValueError"),
        (["--x0", "@other.json"], "--x0 must name a file of numbers; reading 'other.json' raised KeyError: 'x'."),
        (["--dimension", "3"], "give one of --x0 and --dimension; got both."),
        (["--sigma0", "0"], "--sigma0 must be > 0; got 0."),
        (["--sigma0", "1,2,3"], "--sigma0 must be a scalar or of shape (2,); got shape (3,)."),
        (["--max-evaluations", "many"], "--max-evaluations must be an integer; got 'many'."),
        (["--max-evaluations", "10"], "--max-evaluations must allow one generation and the final mean: >= 11; got 10."),
        (["--popsize", "1"], "--popsize must be an integer in [2, 4294967294]; got 1."),
        (["--popsize", "2.5"], "--popsize must be an integer; got '2.5'."),
        (["--seed", "-1"], "--seed must be an integer in [0, 18446744073709551615]; got -1."),
        (["--bounds-low", "3"], "--bounds-low and --bounds-high"),
        (["--bounds-high", "1,2,3"], "--bounds-high must be a scalar or of shape (2,); got shape (3,)."),
        (["--workers", "0"], "--workers must be an integer >= 1; got 0."),
        (["--weighting", "best"], "--weighting must be one of 'pareto', 'equal', 'level', 'chebyshev'"),
        (["--weighting", "1,2,3"], "--weighting must have shape (m,) = (2,); got shape (3,)."),
        (["--weighting", "1,-1"], "--weighting must be non-negative; got -1."),
        (["--step-size", "fast"], "--step-size must be auto or a number; got 'fast'."),
        (["--std-step-size", "-1"], "--std-step-size must be a finite number > 0; got -1."),
        (["--dtype", "float16"], "--dtype must be 'float64' or 'float32'; got 'float16'."),
        (["--memory", "disk"], "--memory must be 'store' or 'regenerate'; got 'disk'."),
        (["--threads", "0"], "--threads must be an integer in [1, 1024]; got 0."),
        (["--max-iterations", "-2"], "--max-iterations must be an integer >= 0; got -2."),
        (["--tolx", "small"], "--tolx must be a number; got 'small'."),
        (["--tolx", "-1"], "--tolx must be a finite number >= 0; got -1."),
        (["--tolfun", "0,0,0"], "--tolfun must be a scalar or of shape (2,); got shape (3,)."),
        (["--target", "x"], "--target must be a number, numbers with commas or @FILE; got 'x'."),
        (["--tolstationarity", "-1"], "--tolstationarity must be a finite number >= 0; got -1."),
        (["--output", "missing/r.json"], "--output must be a file in a folder that exists; got 'missing/r.json'."),
        (["--output", "."], "--output must be a file in a folder that exists; got '.'."),
        (["--budget", "3"], "No such option: --budget"),
        (["--popsize"], "'--popsize' requires an argument"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)  # fmt: skip
def test_wrong_options(folder, arguments, expected):
    (folder / "broken.py").write_text("def f(:\n")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    (folder / "words.csv").write_text("x,y\n1,2\n")
    (folder / "other.json").write_text('{"y": [1, 2]}')
    np.save(folder / "objects.npy", np.array([{}]), allow_pickle=True)
    objective = [] if ":" in arguments[0] or arguments[0] == "problem" else ["problem:count"]
    if arguments[0] == "--weighting" or arguments[0] == "--tolfun":
        objective = ["problem:sphere_pair"]
    out, err = run(folder, "minimize", *objective, "--x0", "1,2", *RUN, *arguments, status=2)
    assert err.startswith("pyasmg: error: ")
    assert expected in err
    assert err.count("\n") == 1
    assert len(err) < 400
    assert out == ""
    assert not (folder / "calls").exists()  # nothing was paid for
    assert not (folder / "ran").exists()
    assert not list(folder.glob("pyasmg-result*"))


def test_missing_options(folder):
    assert "'--max-evaluations'" in run(folder, "minimize", "problem:count", "--sigma0", "1", status=2)[1]
    assert "got neither" in run(folder, "minimize", "problem:count", *RUN, status=2)[1]
    assert "No such command 'maximise'" in run(folder, "maximise", status=2)[1]


def test_some_failures_are_survived_and_told(folder):
    out, _ = run(folder, "minimize", "problem:fails_sometimes", "--x0", "1,2", *RUN)
    stored = result_in(folder)
    assert stored["n_failed"] == 20
    assert stored["success"] is True
    assert "20, last: RuntimeError: the simulator crashed" in out
    assert len(stored["failures"]) == 20
    assert "fails_sometimes" in stored["failures"][0]["traceback"]


@pytest.mark.parametrize(
    "way",
    [
        ["problem:fails_after_20"],
        ["problem:fails_after_20", "--workers", "2"],
        ["problem:dies_after_20", "--workers", "2"],
        ["problem:negative_after_20", "--weighting", "level"],
    ],
    ids=" ".join,
)
def test_a_failed_run_keeps_the_last_good_state(folder, way):
    _, err = run(folder, "minimize", *way, "--x0", "1,2", *RUN, status=1)
    assert err.count("\n") == 1, err
    assert "--x0 @pyasmg-result.json --sigma0 @pyasmg-result.json" in err
    stored = result_in(folder)
    assert stored["success"] is False
    assert stored["n_iterations"] == 2
    assert stored["fun"] is None
    run(
        folder, "minimize", "problem:sphere_pair", *RUN, "--x0", "@pyasmg-result.json",
        "--sigma0", "@pyasmg-result.json", "--max-iterations", "0", "--output", "again.json",
    )  # fmt: skip
    assert result_in(folder, "again.json")["x"] == stored["x"]
    assert result_in(folder, "again.json")["stds"] == stored["stds"]


def test_a_failed_final_evaluation_is_a_failed_run(folder):
    arguments = ["--x0", "1,2", *RUN, "--max-iterations", "2"]
    out, err = run(folder, "minimize", "problem:fails_after_20", *arguments, status=1)
    assert "the evaluation of the final mean failed: RuntimeError: the simulator is gone" in err
    assert "not evaluated" in out
    assert result_in(folder)["n_iterations"] == 2


@pytest.mark.parametrize("way", [[], ["--workers", "2"]], ids=" ".join)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("generations", [2, 6], ids=["in a generation", "in the final evaluation"])
def test_a_killed_run_leaves_its_result(folder, number, way, generations):
    objective = OBJECTIVES.replace(
        "if count(x) > 20:\n        time", f"if count(x) > {10 * generations}:\n        time"
    )
    (folder / "problem.py").write_text(objective)
    process = start(folder, "minimize", "problem:slow_after_20", "--x0", "1,2", *RUN, *way)
    give_up = time.monotonic() + 60
    while not (folder / "calls").exists() or (folder / "calls").stat().st_size <= 10 * generations:
        assert time.monotonic() < give_up
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: workers get it too
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, (out, err)
    assert err == ""
    assert "interrupted by the user" in out
    stored = result_in(folder)
    assert stored["n_iterations"] == generations
    assert stored["n_evaluations"] == 10 * generations
    assert stored["fun"] is None
    run(folder, "minimize", "problem:sphere_pair", "--x0", "1,2", *RUN, "--max-iterations", str(generations))
    assert result_in(folder, "pyasmg-result-2.json")["x"] == stored["x"]


def test_a_result_that_cannot_be_written_is_printed(folder):
    (folder / "gone").mkdir()
    arguments = ["--x0", "1,2", *RUN, "--output", "gone/r.json"]
    out, err = run(folder, "minimize", "problem:removes_the_folder", *arguments, status=1)
    assert "'gone/r.json' could not be written" in err
    assert len(json.loads(out[: out.index("\n}\n") + 2])["x"]) == 2


def test_demo(folder):
    arguments = ["--seeds", "1", "--max-evaluations", "16", "--popsize", "8", "--output-dir", "."]
    out, _ = run(folder, "demo", *arguments)
    assert "CMA-ES" in out
    assert (folder / "pyasmg-demo.png").stat().st_size > 1000
    assert len(result_in(folder, "pyasmg-demo.json")["runs"]) == 3
    for arguments, expected in (
        (["--seeds", "0"], "--seeds must be an integer >= 1; got 0."),
        (["--popsize", "x"], "--popsize must be an integer; got 'x'."),
        (["--output-dir", "missing"], "--output-dir must be a folder that exists; got 'missing'."),
    ):
        assert expected in run(folder, "demo", *arguments, status=2)[1]


def test_demo_without_its_extra(folder):
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent(
            """
            import sys
            sys.modules["cma"] = None
            """
        )
    )
    process = subprocess.run(
        [*command(), "demo"],
        cwd=folder,
        env={**environment(), "PYTHONPATH": f"{folder}{os.pathsep}{environment()['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 1
    assert 'pip install "pyasmg[demo]"' in process.stderr
    assert process.stderr.count("\n") == 1
