"""``pyasmg show``, ``export`` and ``watch`` as users run them, on stores that real runs write."""

import csv
import io
import json
import os
import pty
import re
import select
import signal
import sqlite3
import subprocess
import time

import pytest

from pyasmg.cli import main
from pyasmg.report import read_run
from pyasmg.store import RunReader

from .test_cli import command, environment, run, start
from .test_report import broken_files, in_another_process, killed_after, minimize, n_generations, objective, wait_for

LINE = re.compile(r"generation (\d+)  evaluations \d+ of \d+  failed \d+  mean \S+ \S+  best \S+ \S+  weights ")


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    assert not list(tmp_path.glob(".*")), "a half-written file was left"


@pytest.fixture
def here(folder, monkeypatch, capfd):
    """Return the command line as a function in this process, for what is wrong before anything happens."""
    monkeypatch.chdir(folder)

    def call(*arguments, status):
        assert main(arguments) == status
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("pyasmg: error: ")
        assert err.count("\n") == 1
        return err

    return call


def hostile(x):
    """Fail with a reason that wants to be more than a text."""
    if x[0] > 3.5:
        raise RuntimeError("[bold red]no[/] \x1b[2J\x1b]0;title\x07 = \u202etxt, \"quoted\", 'ä'\n" + "z" * 600)
    return objective(x)


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


# --------------------------------------------------------------------------------------------------------- show


def test_show(folder):
    result = minimize(folder / "run.db", hostile, cost_per_evaluation=0.01)
    out, err = run(folder, "show", "run.db", "--generations", "3")
    assert err == ""
    for text in (
        f"ended: {result.message}",
        "the last 3 of 10 generations",
        "objective",
        "test_cli_runs:hostile",
        "cost_per_evaluation",
        "0.61",
        r"RuntimeError: [bold red]no[/] \x1b[2J\x1b]0;title\x07 = \u202etxt, ",
        f"{result.fun[0]:.4g}",
    ):
        assert text in out, text
    assert not set(out) & set("\x1b\x07\u202e")
    totals = dict(re.findall(r"^ +(generations|evaluations|failed|cost) +([\d,.]+)", out, re.MULTILINE))
    assert totals == {"generations": "10", "evaluations": "61", "failed": str(result.n_failed), "cost": "0.61"}
    ends = [match.end() for match in re.finditer(r"^  (?:generations|evaluations|  failed|cost) +[\d,.]+", out, re.M)]
    starts = [out.rindex("\n", 0, end) for end in ends]
    assert len({end - begin for begin, end in zip(starts, ends, strict=True)}) == 1  # figures end in one column


def test_show_json(folder):
    minimize(folder / "run.db", hostile)

    def refuse(text):
        raise AssertionError(f"not strict JSON: {text}")

    stored = json.loads(run(folder, "show", "run.db", "--json")[0], parse_constant=refuse)
    expected = read_run(folder / "run.db", n_generations=10)
    assert stored == {**expected, "path": "run.db"}
    assert len(json.loads(run(folder, "show", "run.db", "--json", "--generations", "2")[0])["generations"]) == 2


def test_show_while_it_is_written_and_after_a_kill(folder):
    path = folder / "run.db"
    process = in_another_process(path, 0.01, 100_000)
    try:
        wait_for(lambda: n_generations(path) > 0, process)
        out, _ = run(folder, "show", "run.db")
        assert f"running: process {process.pid} on " in out
        first = json.loads(run(folder, "show", "run.db", "--json")[0])
        second = json.loads(run(folder, "show", "run.db", "--json")[0])
        assert first["progress"]["evaluations"] < second["progress"]["evaluations"]
        assert process.poll() is None
    finally:
        process.kill()
        process.wait(60)
    out, _ = run(folder, "show", "run.db")
    assert f"stopped: no process works on it (process {process.pid} on " in out


@pytest.mark.parametrize("arguments", [["show"], ["show", "--json"], ["export", "--csv", "-"]], ids=" ".join)
def test_a_reader_that_goes_away(folder, arguments):
    minimize(folder / "run.db", max_evaluations=5000)  # more than a pipe holds
    process = start(
        folder, *arguments[:1], "run.db", *arguments[1:], *(["--generations", "900"] * ("show" in arguments))
    )
    process.stdout.read(1)
    process.stdout.close()
    err = process.stderr.read()
    assert (process.wait(60), err) == (141, "")
    process.stderr.close()


# ------------------------------------------------------------------------------------------------------- export


def test_export_evaluations(folder):
    minimize(folder / "run.db", hostile)
    out, err = run(folder, "export", "run.db", "--csv", "-")
    assert err == ""
    assert out.startswith("generation,candidate,status,f1,f2,seconds,attempts,cost,error\n")
    with RunReader(folder / "run.db") as reader:
        expected = list(reader.evaluations())
    rows = rows_of(out)
    assert len(rows) == len(expected) == 61
    for row, there in zip(rows, expected, strict=True):
        assert [row[name] for name in ("status", "error")] == [there["status"], there["error"]]
        for name in ("generation", "candidate", "seconds", "attempts", "cost"):
            assert row[name] == ("" if there[name] is None else str(there[name]))
        values = None if there["f"] is None else [float(row["f1"]), float(row["f2"])]
        assert values == there["f"]  # to the last bit
        assert there["f"] is not None or row["f1"] == row["f2"] == ""
    assert {row["status"] for row in rows} == {"ok", "failed"}
    assert [row["candidate"] for row in rows][-1] == "-1"  # the final mean
    assert run(folder, "export", "run.db", "--csv", "table.csv") == ("", "")
    assert (folder / "table.csv").read_text() == out


def test_export_generations(folder):
    minimize(folder / "run.db")
    out, _ = run(folder, "export", "run.db", "--csv", "-", "--what", "generations")
    expected = read_run(folder / "run.db")["generations"]
    names = "generation,n_evaluations,n_failed,mean1,mean2,best1,best2,weight1,weight2,max_std,stationarity,finished"
    assert out.split("\n")[0] == names
    found = [[float(value) for value in row.values()] for row in rows_of(out)]
    assert found == [
        [
            *(row[name] for name in ("generation", "n_evaluations", "n_failed")),
            *(value for name in ("mean", "best", "weights") for value in row[name]),
            *(row[name] for name in ("max_std", "stationarity", "finished")),
        ]
        for row in expected
    ]


def test_export_of_a_killed_run(folder):
    killed_after(folder / "run.db", 2)
    rows = rows_of(run(folder, "export", "run.db", "--csv", "-")[0])
    assert len(rows) >= 12
    assert [(int(row["generation"]), int(row["candidate"])) for row in rows] == [divmod(i, 6) for i in range(len(rows))]


def test_export_where_it_must_not_go(folder, here):
    minimize(folder / "run.db")
    (folder / "link.csv").symlink_to(folder / "run.db")
    (folder / "hard.csv").hardlink_to(folder / "run.db")
    before = (folder / "run.db").read_bytes()
    for target, words in (
        ("run.db", "--csv must be another file than the run store"),
        ("link.csv", "--csv must be another file than the run store"),
        ("hard.csv", "--csv must be another file than the run store"),
        ("run.db-wal", "--csv must be another file than the run store"),
        ("run.db-lock", "--csv must be another file than the run store"),
        ("missing/table.csv", "--csv must be a file in a folder that exists"),
        (".", "--csv must be a file in a folder that exists"),
        ("", "--csv must be a file in a folder that exists"),
    ):
        assert words in here("export", "run.db", "--csv", target, status=2)
        assert (folder / "run.db").read_bytes() == before
    (folder / "hard.csv").unlink()
    assert run(folder, "export", "run.db", "--csv", "/dev/null") == ("", "")
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize("target", ["-", "table.csv"])
def test_export_to_a_full_disk(folder, target):
    """A limit on the size of files stands for it."""
    minimize(folder / "run.db")
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *command(), "export", "run.db", "--csv", target]
    with (folder / "out.csv").open("w") as out:
        process = subprocess.run(
            limited, cwd=folder, env=environment(), stdout=out, stderr=subprocess.PIPE, text=True, check=False
        )
    assert process.returncode == 1
    assert process.stderr == f"pyasmg: error: {target!r} could not be written: [Errno 27] File too large.\n"
    assert not (folder / "table.csv").exists()


def test_a_damaged_store_does_not_replace_an_earlier_table(folder):
    minimize(folder / "run.db")
    run(folder, "export", "run.db", "--csv", "table.csv")
    before = (folder / "table.csv").read_bytes()
    with sqlite3.connect(folder / "run.db") as connection:
        connection.execute("UPDATE evaluations SET checksum = checksum + 1 WHERE generation = 7")
    connection.close()
    _, err = run(folder, "export", "run.db", "--csv", "table.csv", status=1)
    assert "the values of generation 7, candidate 0 do not match their checksum" in err
    assert (folder / "table.csv").read_bytes() == before


# -------------------------------------------------------------------------------------------------------- watch


def test_watch_follows_a_run_to_its_end(folder):
    watcher = start(folder, "watch", "run.db", "--interval", "0.05")
    assert watcher.stderr.readline() == "waiting: there is no run in 'run.db' yet\n"
    process = in_another_process(folder / "run.db", 0.01, 241)
    assert process.wait(60) == 0
    out, err = watcher.communicate(timeout=60)
    assert (watcher.returncode, err) == (0, "")
    lines = out.splitlines()
    numbers = [int(LINE.match(line)[1]) for line in lines[:-2]]
    assert numbers == list(range(numbers[0], 40))
    assert numbers[0] < 39  # while it went on
    assert lines[-2] == "ended: the budget of evaluations is spent"
    assert lines[-1].startswith("40 generations  241 evaluations  0 failed  0 retries  cost 0  ")
    assert [file.name for file in folder.iterdir()] == ["run.db"]  # it did not keep the writer from tidying up


def test_watch_a_run_that_has_ended(folder):
    minimize(folder / "run.db")
    out, err = run(folder, "watch", "run.db")
    assert err == ""
    assert LINE.match(out)[1] == "9"
    assert "ended: the budget of evaluations is spent" in out


def test_watch_says_that_a_run_was_killed_and_waits_for_it_to_go_on(folder):
    path = folder / "run.db"
    killed_after(path, 2)
    n_told = read_run(path)["progress"]["generations"]
    watcher = start(folder, "watch", "run.db", "--interval", "0.05")
    assert LINE.match(watcher.stdout.readline())[1] == str(n_told - 1)
    assert re.match(
        r"stopped: no process works on it \(process .*the last entry is \d+ s old\n", watcher.stderr.readline()
    )
    time.sleep(0.5)
    assert watcher.poll() is None
    assert in_another_process(path, 0.02, 6 * n_told + 61).wait(60) == 0
    out, err = watcher.communicate(timeout=60)
    assert (watcher.returncode, err) == (0, "")
    assert [int(LINE.match(line)[1]) for line in out.splitlines()[:-2]] == list(range(n_told, n_told + 10))


def test_watch_once(folder):
    assert run(folder, "watch", "run.db", "--once", status=1)[1] == "pyasmg: error: there is no run store 'run.db'.\n"
    killed_after(folder / "run.db", 2)
    out, err = run(folder, "watch", "run.db", "--once")
    assert LINE.match(out)
    assert out.count("\n") == 1
    assert err.startswith("stopped: no process works on it")


def test_watch_goes_on_when_another_run_takes_the_place(folder):
    path = folder / "run.db"
    killed_after(path, 5)
    watcher = start(folder, "watch", "run.db", "--interval", "0.05")
    watcher.stdout.readline()
    for file in folder.iterdir():
        file.unlink()
    assert in_another_process(path, 0.02, 61).wait(60) == 0
    out, _ = watcher.communicate(timeout=60)
    assert watcher.returncode == 0
    assert "ended: the budget of evaluations is spent" in out


def test_watch_and_ctrl_c(folder):
    for words in ("waiting: there is no run", "stopped: no process"):
        watcher = start(folder, "watch", "run.db")
        assert words in watcher.stderr.readline()
        os.killpg(watcher.pid, signal.SIGINT)
        _, err = watcher.communicate(timeout=60)
        assert (watcher.returncode, err) == (130, "")
        killed_after(folder / "run.db", 1)


def test_watch_on_a_terminal(folder):
    """The picture changes in place, says all of it, and leaves the terminal as it was."""
    killed_after(folder / "run.db", 3)
    main_end, terminal = pty.openpty()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [*command(), "watch", "run.db", "--interval", "0.05"],
        cwd=folder,
        env={**environment(), "TERM": "xterm", "LINES": "60"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    os.close(terminal)
    shown = b""

    def show():
        nonlocal shown
        while select.select([main_end], [], [], 0.05)[0]:
            try:
                shown += os.read(main_end, 65536)
            except OSError:  # the terminal is closed
                return True
        return False

    def stands(text):
        show()
        return text in shown

    try:
        wait_for(lambda: stands(b"stopped: no process works on it"), process)
        assert b"\x1b[?25l" in shown
        assert b"largest std" in shown
        process.send_signal(signal.SIGINT)
        wait_for(show)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait(60)
        os.close(main_end)
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is back
    assert b"Traceback" not in shown


# ------------------------------------------------------------------------------------------------------- errors


def test_files_that_are_no_good_store(folder, here):
    for name, words in broken_files(folder):
        before = (folder / name).read_bytes() if (folder / name).is_file() else None
        assert words in here("show", name, status=1)
        assert words in here("watch", name, "--once", status=1)
        if name not in ("settings.db", "tables.db"):  # a table that is good can be saved
            assert words in here("export", name, "--csv", "out.csv", "--what", "generations", status=1)
        assert not (folder / "out.csv").exists()
        assert before is None or before == (folder / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show"], "Missing argument 'RUN.db'"),
        (["show", "run.db", "--generations", "-1"], "--generations must be an integer >= 0; got -1."),
        (["show", "run.db", "--generations", "many"], "--generations must be an integer; got 'many'."),
        (["export", "run.db"], "Missing option '--csv'"),
        (["export", "run.db", "--csv", "-", "--what", "all"], "--what must be evaluations or generations; got 'all'."),
        (["watch", "run.db", "--interval", "0"], "--interval must be a finite number > 0; got 0."),
        (["watch", "run.db", "--interval", "nan"], "--interval must be a finite number > 0; got nan."),
        (["watch", "run.db", "--interval", "soon"], "--interval must be a number; got 'soon'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_options(here, arguments, expected):
    assert expected in here(*arguments, status=2)
