"""What is said of a stored run: ended, running, killed, continued, damaged."""

import io
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import pyasmg
from pyasmg import StoreError
from pyasmg._cli_show import clean, run_tables, vector
from pyasmg._store_holder import is_held
from pyasmg.report import age, read_run, reading, summarize
from pyasmg.store import RunReader, RunStore

PROGRAM = """
import sys, time
import numpy as np
import pyasmg

def objective(x):
    time.sleep(float(sys.argv[2]))
    return [np.sum((x - 1) ** 2), np.sum((x + 1) ** 2)]

pyasmg.minimize(objective, np.full(4, 3.0), 1.0, popsize=6, seed=5, max_evaluations=int(sys.argv[3]), store=sys.argv[1])
"""


def objective(x):
    return [float(np.sum((x - 1) ** 2)), float(np.sum((x + 1) ** 2))]


def minimize(path, fun=objective, max_evaluations=61, **options):
    settings = {"popsize": 6, "seed": 5, "max_evaluations": max_evaluations, **options}
    return pyasmg.minimize(fun, np.full(4, 3.0), 1.0, store=path, **settings)


def environment():
    """Return an environment in which the same pyasmg is imported from any folder, and these tests."""
    folders = Path(pyasmg.__file__).parents[1], Path(__file__).parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}


def in_another_process(path, seconds=0.0, max_evaluations=61):
    """Start the same run elsewhere."""
    arguments = [sys.executable, "-c", PROGRAM, str(path), str(seconds), str(max_evaluations)]
    return subprocess.Popen(arguments, env=environment())


def wait_for(condition, process=None):
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        assert process is None or process.poll() is None
        time.sleep(0.02)


def killed_after(path, generations):
    """Kill a run in the middle."""
    process = in_another_process(path, 0.02, 100_000)
    try:
        wait_for(lambda: path.exists() and n_generations(path) >= generations, process)
    finally:
        process.kill()
        process.wait(60)


def n_generations(path):
    try:
        return read_run(path)["progress"]["generations"]
    except StoreError:  # not begun yet
        return -1


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.db"


def test_an_ended_run(path):
    result = minimize(path)
    run = read_run(path)
    assert (run["format"], run["version"], run["path"]) == ("pyasmg.Run", 1, str(path))
    assert (run["state"], run["message"], run["held"]) == ("ended", result.message, False)
    assert run["settings"]["seed"] == 5
    assert run["final"] == {"generation": 10, "f": result.fun.tolist(), "error": ""}
    progress = run["progress"]
    assert (progress["evaluations"], progress["ok"], progress["failed"], progress["open"]) == (61, 61, 0, 0)
    assert (progress["generations"], progress["in_generation"], progress["max_evaluations"]) == (10, 0, 61)
    assert progress["seconds"] > 0
    assert abs(progress["last_entry"] - time.time()) < 60
    assert run["counters"] == result.counters
    assert run["failures"] == []
    assert len(run["sessions"]) == 1
    for name, values in result.history.items():
        np.testing.assert_array_equal([row[name] for row in run["generations"]], values)
    json.dumps(run, allow_nan=False)


def test_the_last_generations(path):
    minimize(path)
    assert [row["generation"] for row in read_run(path, n_generations=3)["generations"]] == [7, 8, 9]
    assert read_run(path, n_generations=0)["generations"] == []
    assert len(read_run(path, n_generations=50)["generations"]) == 10
    with pytest.raises(ValueError, match="n_generations"):
        read_run(path, n_generations=-1)


def test_failures_retries_and_cost_over_two_sessions(path):
    asked = []

    def shaky(x):
        asked.append(1)
        if len(asked) % 5 == 0:
            raise RuntimeError("out of\nlicences" if len(asked) % 10 else "no contact")
        return objective(x)

    minimize(path, shaky, 31, cost_per_evaluation=0.25)
    result = minimize(path, shaky, 61, cost_per_evaluation=0.25)
    run = read_run(path)
    assert len(run["sessions"]) == 2
    assert all(session["ended"] for session in run["sessions"])
    counters = [session["counters"]["requests"] for session in run["sessions"]]
    assert run["counters"]["requests"] == sum(counters) == len(asked)
    assert min(counters) > 0
    assert run["progress"]["cost"] == result.cost == 0.25 * len(asked)
    assert run["progress"]["failed"] == sum(row["final"] for row in run["failures"]) == len(asked) // 5
    assert sorted(row["reason"] for row in run["failures"]) == [
        "RuntimeError: no contact",
        "RuntimeError: out of licences",
    ]
    assert run["progress"]["seconds"] == pytest.approx(result.seconds, abs=0.5)


def test_a_run_of_this_process_stays_locked_when_it_is_looked_at(path):
    """Closing the lock file anywhere in a process releases its lock: looking must not open it."""
    seen = []

    def look(opt):
        seen.append(read_run(path))
        other = "import sys; from pyasmg.store import RunStore; RunStore(sys.argv[1])"
        root = os.path.dirname(os.path.dirname(pyasmg.__file__))
        process = subprocess.run(
            [sys.executable, "-c", other, path],
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            check=False,
        )
        assert b"in use" in process.stderr, process.stderr

    minimize(path, max_evaluations=13, callback=look)
    assert [(run["state"], run["held"]) for run in seen] == [("running", True)] * 2
    assert seen[-1]["message"] == "process {process} on {host} works on it".format(**seen[-1]["sessions"][-1])
    assert [run["progress"]["generations"] for run in seen] == [1, 2]


def test_a_run_of_another_process_while_it_is_written(path):
    process = in_another_process(path, 0.005, 400)
    try:
        wait_for(lambda: n_generations(path) >= 2, process)
        readings = []
        while process.poll() is None:
            readings.append(read_run(path))
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait(60)
    last = read_run(path)
    assert last["state"] == "ended"
    assert last["progress"]["evaluations"] <= 400
    running = [run for run in readings if run["state"] == "running"]
    assert len(running) > 1
    assert any(run["progress"]["in_generation"] for run in running)
    for run in running:
        rows = run["generations"]
        assert rows == last["generations"][: len(rows)]
        assert run["progress"]["seconds"] < 60
        assert f"process {process.pid} on" in run["message"]
    counts = [run["progress"]["evaluations"] for run in readings]
    assert counts == sorted(counts)


def test_a_killed_run(path):
    killed_after(path, 3)
    files = {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}
    run = read_run(path)
    assert (run["state"], run["held"]) == ("stopped", False)
    assert run["message"].startswith("no process works on it (process ")
    assert "the last entry is" in run["message"]
    assert run["final"] is None
    assert run["sessions"][0]["ended"] is None
    assert run["progress"]["generations"] >= 3
    assert files == {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}
    assert in_another_process(path, 0.0, run["progress"]["evaluations"] + 60).wait(60) == 0
    assert read_run(path)["state"] == "ended"


def test_who_holds_a_store(path):
    assert is_held(path) is False
    with RunStore(path):
        assert is_held(path) is True
        (path.parent / "link.db").symlink_to(path)
        assert is_held(path.parent / "link.db") is True
    assert is_held(path) is False
    process = in_another_process(path, 0.05, 100_000)
    try:
        wait_for(path.exists, process)
        wait_for(lambda: is_held(path), process)
        process.send_signal(signal.SIGSTOP)
        assert is_held(path) is True
    finally:
        process.kill()
        process.wait(60)
    assert path.with_name("run.db-lock").exists()
    assert is_held(path) is False


def test_a_begun_store_without_a_session(path):
    opt = pyasmg.ASMG(np.zeros(3), 1.0, seed=1)
    with RunStore(path) as store:
        store.begin({"seed": 1}, opt.state_dict())
        run = read_run(path)
        assert (run["state"], run["message"]) == ("running", "a process works on it")
    run = read_run(path)
    assert run["state"] == "stopped"
    assert run["progress"]["generations"] == run["progress"]["evaluations"] == 0
    rendered(run)


# ------------------------------------------------------------------------------------------------------- errors


def broken_files(path):
    """Yield names of files that are no good run store, and what is to be said of them."""
    yield "missing.db", "there is no run store"
    (path / "empty.db").touch()
    yield "empty.db", "holds no run yet"
    (path / "folder.db").mkdir()
    yield "folder.db", "there is no run store"
    (path / "text.db").write_text("generation,candidate\n" * 400)
    yield "text.db", "file is not a database"
    with sqlite3.connect(path / "foreign.db") as connection:
        connection.execute("CREATE TABLE evaluations (id INTEGER)")
    connection.close()
    yield "foreign.db", "of another program"
    minimize(path / "good.db")
    whole = (path / "good.db").read_bytes()
    (path / "short.db").write_bytes(whole[: len(whole) // 2])
    yield "short.db", "damaged"
    (path / "page.db").write_bytes(whole[:4096] + b"\xff" * 4096 + whole[8192:])
    yield "page.db", "damaged"
    for name, statement, words in (
        ("newer", "PRAGMA user_version = 99", "version 99"),
        ("settings", "UPDATE settings SET value = '{' WHERE name = 'seed'", "cannot be read: JSONDecodeError"),
        ("types", "UPDATE generations SET mean = 'words'", "cannot be read"),
        ("tables", "DROP TABLE sessions", "no such table"),
    ):
        (path / f"{name}.db").write_bytes(whole)
        with sqlite3.connect(path / f"{name}.db") as connection:
            connection.execute(statement)
        connection.close()
        yield f"{name}.db", words


def test_files_that_are_no_good_store(tmp_path):
    for name, words in broken_files(tmp_path):
        with pytest.raises(StoreError) as caught:
            read_run(tmp_path / name)
        assert words in str(caught.value)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_locked_store_is_an_error_in_words(path, monkeypatch):
    minimize(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *arguments, **options: real(*arguments, **{**options, "timeout": 0}))
    with pytest.raises(StoreError, match="database is locked"):
        read_run(path)
    other.close()


def test_changed_bytes_are_reported_or_harmless(tmp_path):
    """Whatever is changed in a store: it is read, or refused in words."""
    good = tmp_path / "good.db"

    def shaky(x):
        if x[0] > 3.5:
            raise RuntimeError("a reason")
        return objective(x)

    minimize(good, shaky)
    whole = good.read_bytes()
    generator = random.Random(7)
    refused = 0
    for number in range(150):
        content = bytearray(whole)
        for _ in range(generator.choice((1, 1, 3, 30))):
            content[generator.randrange(len(content))] = generator.randrange(256)
        bad = tmp_path / "bad.db"
        bad.write_bytes(content)
        try:
            with reading(bad), RunReader(bad) as reader:
                run = summarize(reader)
                rows = list(reader.evaluations())
        except StoreError:
            refused += 1
            continue
        assert len(rows) <= 61, number
        rendered(run)
    assert 15 < refused < 150


# ------------------------------------------------------------------------------------------------------- words


def rendered(run):
    console = Console(file=io.StringIO(), width=200)
    console.print(run_tables(run))
    return console.file.getvalue()


def test_ages():
    given = (-3, 0, 35.2, 119, 121, 7100, 7300, 172_000, 180_000)
    assert [age(value) for value in given] == [
        "0 s", "0 s", "35 s", "119 s", "2 min", "118 min", "2 h", "48 h", "2 days",
    ]  # fmt: skip


def test_texts_of_others():
    assert clean("a\x1b[31mb\x07 \u202ec\n d") == r"a\x1b[31mb\x07 \u202ec d"
    assert len(clean("x" * 10_000)) == 200
    assert vector([1.0, None, 3.0]) == "1 - 3"
    assert vector(list(range(1000))) == "0 1 2 ... 999 (1,000)"
    assert vector([]) == vector(None) == "-"
