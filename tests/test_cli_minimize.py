"""``pyasmg minimize`` with a command, an HTTP endpoint, a store: the processes are real, and so are the kills."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from pyasmg.store import RunReader
from tests.evaluation.http_server import ServerProcess
from tests.test_cli import command, environment, result_in, run, start

SIMULATOR = """
import json, sys, time
for line in sys.stdin:
    question = json.loads(line)
    open("asked", "a").write("x")
    x = question["x"]
    if len(sys.argv) > 1:
        time.sleep(float(sys.argv[1]))
    f = [sum((xi - 1) ** 2 for xi in x), sum((xi + 1) ** 2 for xi in x)]
    print(json.dumps({"id": question["id"], "f": f}), flush=True)
"""
PROBLEM = """
import time
def evaluate(x):
    open("asked", "a").write("x")
    time.sleep(0.005)
    x = x.tolist()
    return [sum((xi - 1) ** 2 for xi in x), sum((xi + 1) ** 2 for xi in x)]
"""
SEARCH = ["--dimension", "4", "--x0-value", "3", "--sigma0", "1", "--popsize", "10", "--seed", "4"]
RUN = [*SEARCH, "--max-evaluations", "200"]
PYTHON = command()[0] if len(command()) > 1 else str(Path(command()[0]).with_name("python"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "simulator.py").write_text(SIMULATOR)
    (tmp_path / "problem.py").write_text(PROBLEM)
    return tmp_path


def bits(folder, name="pyasmg-result.json"):
    result = result_in(folder, name)
    return [result[key] for key in ("x", "fun", "stds", "weights", "n_evaluations", "history", "stop")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    (folder / "problem.py").write_text(PROBLEM)
    run(folder, "minimize", "problem:evaluate", *RUN)
    return bits(folder)


@pytest.mark.parametrize("workers", [[], ["--workers", "3"]])
def test_a_command_gives_the_same_bits_as_a_function(folder, whole, workers):
    out, err = run(folder, "minimize", "--command", f"{PYTHON} simulator.py", *workers, *RUN)
    assert err == ""
    assert "pyasmg minimize" in out
    assert "simulator.py" in out
    assert bits(folder) == whole


def test_an_endpoint(folder):
    with ServerProcess() as server:
        out, err = run(folder, "minimize", "--url", server.url, "--batch-size", "4", "--workers", "2", *RUN)
        assert err == ""
        json_bits = bits(folder)
        kserve = ["--url", f"{server.url}/v2/models/quadratic", "--auth-env", "KEY_OF_MINE"]
        os.environ["KEY_OF_MINE"] = "secret-0815"
        try:
            out, err = run(folder, "minimize", *kserve, *RUN, "--store", "run.db", "--log", "log.jsonl")
        finally:
            del os.environ["KEY_OF_MINE"]
        assert bits(folder, "pyasmg-result-2.json") == json_bits
        for file in folder.iterdir():
            assert b"secret-0815" not in file.read_bytes()
        assert "secret-0815" not in out + err
        assert len((folder / "log.jsonl").read_text().splitlines()) == 19


def test_an_endpoint_that_moves_goes_by_its_name(folder):
    first = ["minimize", *SEARCH, "--store", "run.db", "--name", "simulator"]
    with ServerProcess() as server:
        run(folder, *first, "--url", server.url, "--max-evaluations", "61")
    with ServerProcess() as server:
        err = run(folder, *first[:-2], "--url", server.url, "--max-evaluations", "101", status=1)[1]
        assert "objective is 'simulator' in the store" in err
        run(folder, *first, "--url", server.url, "--max-evaluations", "102", "--output", "more.json")
        assert sum(entry["rows"] for entry in server.log()) == 41
    assert result_in(folder, "more.json")["n_evaluations"] == 101


@pytest.mark.parametrize("way", ["function", "workers", "command"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_run_again(folder, whole, way, number):
    arguments = {
        "function": ["problem:evaluate"],
        "workers": ["problem:evaluate", "--workers", "2"],
        "command": ["--command", f"{PYTHON} simulator.py 0.005"],
    }[way]
    arguments = ["minimize", *arguments, *RUN, "--store", "run.db"]
    process = start(folder, *arguments)
    asked = folder / "asked"
    while not asked.exists() or asked.stat().st_size < 60:
        time.sleep(0.005)
        assert process.poll() is None, process.communicate()
    process.send_signal(number)
    process.communicate()
    assert process.returncode in (-number, 128 + number)
    time.sleep(0.1)
    n_before = asked.stat().st_size
    output = [] if number == signal.SIGKILL else ["--output", "result.json"]
    run(folder, *arguments, *output)
    assert bits(folder, "result.json" if output else "pyasmg-result.json") == whole
    assert 191 <= asked.stat().st_size <= 191 + 4
    assert n_before < 191
    with RunReader(folder / "run.db") as reader:
        assert reader.totals()["ok"] == 191
        assert len(reader.sessions()) == 2
    again = run(folder, *arguments, "--output", "again.json")[0]
    assert "191 in 19 generations" in again
    assert bits(folder, "again.json") == whole


def test_ways_of_evaluation_share_a_store(folder, whole):
    """A run begun in one process goes on in several: it is the same function."""
    first = ["minimize", "problem:evaluate", *SEARCH, "--store", "run.db"]
    run(folder, *first, "--max-evaluations", "61")
    run(folder, *first, "--max-evaluations", "201", "--workers", "2", "--output", "more.json")
    assert result_in(folder, "more.json")["x"] == whole[0]


def test_budgets(folder):
    arguments = ["minimize", "problem:evaluate", *SEARCH, "--max-evaluations", "100000"]
    run(folder, *arguments, "--max-cost", "1", "--cost-per-evaluation", "0.02")
    result = result_in(folder)
    assert result["stop"] == {"max_cost": 1.0}
    assert result["cost"] == pytest.approx(0.02 * 41)
    run(folder, *arguments, "--max-seconds", "3", "--output", "seconds.json")
    assert result_in(folder, "seconds.json")["stop"] == {"max_seconds": 3.0}


def test_a_command_that_fails(folder):
    (folder / "simulator.py").write_text("import sys\nsys.exit('no licence')\n")
    run_it = ["minimize", "--command", f"{PYTHON} simulator.py", *RUN]
    err = run(folder, *run_it, "--attempts", "2", "--backoff", "0.01", status=1)[1]
    assert "6 of 10 evaluations failed in generation 0" in err
    assert "no licence" in err
    err = run(folder, *run_it, "--timeout", "-1", status=2)[1]
    assert "--timeout must be a finite number > 0; got -1" in err
    err = run(folder, "minimize", "--command", "no-such-program-here", *RUN, status=2)[1]
    assert "no-such-program-here" in err


def test_a_hanging_command_is_killed(folder):
    hangs = SIMULATOR.replace(
        "    x = question", "    if question['candidate'] == 3:\n        time.sleep(60)\n    x = question"
    )
    (folder / "simulator.py").write_text(hangs)
    begin = time.monotonic()
    arguments = ["--command", f"{PYTHON} simulator.py", "--timeout", "1", *SEARCH, "--max-evaluations", "21"]
    run(folder, "minimize", *arguments)
    assert time.monotonic() - begin < 30
    assert result_in(folder)["n_failed"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["problem:evaluate", "--command", "true"],
            "give one of MODULE:FUNCTION, --command and --url; got objective and command",
        ),
        ([], "give one of MODULE:FUNCTION, --command and --url; got none"),
        (["--url", "ftp://example.org"], "url"),
        (["--url", "http://localhost:1", "--protocol", "soap"], "protocol"),
        (["--url", "http://localhost:1", "--auth-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE"),
        (["problem:evaluate", "--resume", "always"], "--resume must be 'auto' or 'never'; got 'always'"),
        (["problem:evaluate", "--attempts", "0"], "--attempts must be an integer >= 1; got 0"),
        (["problem:evaluate", "--min-success", "2"], "--min-success"),
        (["problem:evaluate", "--log", "no/such/folder/log"], "--log"),
        (["problem:evaluate", "--dask", "tcp://127.0.0.1:1"], "--dask"),
    ],
)
def test_options_that_make_no_sense(folder, arguments, words):
    err = run(folder, "minimize", *arguments, *RUN, status=2)[1]
    assert words in err
    assert len(err.splitlines()) == 1
    assert not (folder / "asked").exists()


def test_a_store_that_cannot_be_used(folder):
    (folder / "run.db").write_text("not a database, and longer than its header of a hundred bytes\n" * 10)
    err = run(folder, "minimize", "problem:evaluate", *RUN, "--store", "run.db", status=1)[1]
    assert "damaged or no run store" in err
    assert not (folder / "asked").exists()
    run(folder, "minimize", "problem:evaluate", *SEARCH, "--max-evaluations", "21", "--store", "good.db")
    asked = (folder / "asked").stat().st_size
    err = run(folder, "minimize", "problem:evaluate", *RUN, "--store", "good.db", "--resume", "never", status=1)[1]
    assert "holds a run already" in err
    other = ["--popsize", "12", "--store", "good.db"]
    err = run(folder, "minimize", "problem:evaluate", *RUN, *other, status=1)[1]
    assert "popsize is 10 in the store, 12 now" in err
    assert (folder / "asked").stat().st_size == asked


def test_the_readmes_shell_script_is_killed_and_goes_on(tmp_path):
    """The example as it stands in the README, by the shell that a reader would paste it into."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (block,) = [code for code in re.findall(r"^```sh\n(.*?)^```$", readme, re.M | re.S) if "kill -9" in code]
    shim = tmp_path / "bin" / "pyasmg"
    shim.parent.mkdir()
    words = " ".join(f"'{word}'" for word in command())
    shim.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    shim.chmod(0o755)
    env = {**environment(), "PATH": f"{shim.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-e"], input=block, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with RunReader(tmp_path / "run.db") as reader:
        assert len(reader.sessions()) == 2
        first, second = reader.sessions()
        assert first["ended"] is None  # killed
        assert second["ended"] == "the budget of evaluations is spent"
        total = reader.totals()
    assert total["failed"] == 0
    assert total["ok"] == total["evaluations"]
    assert json.loads((tmp_path / "pyasmg-result.json").read_text())["success"]
    assert "the budget of evaluations is spent" in done.stdout
