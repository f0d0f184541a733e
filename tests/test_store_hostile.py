"""The run store under hostile storage, and killed."""

import resource
import shlex
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from pyasmg import StoreError
from pyasmg.evaluation import Record
from pyasmg.store import RunReader, RunStore
from tests.store_runs import Objective, minimize, same


@pytest.fixture(scope="module")
def whole():
    return minimize(Objective())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.db"


# ------------------------------------------------------------------------------------------------- hostile storage


def test_a_changed_bit_is_noticed(path):
    minimize(Objective(stop_at=115), path)
    with sqlite3.connect(path) as file:
        f = bytearray(file.execute("SELECT f FROM evaluations WHERE generation = 11 AND candidate = 3").fetchone()[0])
        f[3] ^= 1
        file.execute("UPDATE evaluations SET f = ? WHERE generation = 11 AND candidate = 3", (bytes(f),))
    file.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="generation 11, candidate 3 do not match their checksum"):
        minimize(Objective(), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("page", range(1, 24))
def test_a_corrupt_page_is_never_believed(whole, path, page):
    """Each page in turn is overwritten with noise: the run is refused in words, or ends as if nothing had happened."""
    minimize(Objective(stop_at=200), path)
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    n_pages = len(content) // size
    assert n_pages >= 20
    at = size * (page % n_pages)
    content[at : at + size] = np.random.default_rng(page).bytes(size)
    path.write_bytes(content)
    result, error = None, ""
    try:
        result = minimize(Objective(), path)
    except StoreError as refusal:
        error = str(refusal)
    if result is None:
        assert "damaged" in error
        assert path.read_bytes() == bytes(content)
    else:
        same(result, whole)


def test_a_full_database_stops_the_run_with_everything_saved(whole, path, monkeypatch):
    """SQLite's own limit makes the file full; the error that it raises is that of a full disk."""
    fun = Objective()
    stores = []
    begin = RunStore.begin
    monkeypatch.setattr(RunStore, "begin", lambda self, *rest: (stores.append(self), begin(self, *rest)))

    def limit(opt):
        if opt.n_iterations == 5:
            (store,) = stores
            pages = store._open.execute("PRAGMA page_count").fetchone()[0]
            store._open.execute(f"PRAGMA max_page_count = {pages}")

    with pytest.raises(StoreError, match="full") as caught:
        minimize(fun, path, callback=limit)
    unsaved = caught.value.unsaved
    with RunReader(path) as reader:
        saved = reader.totals()["evaluations"]
    assert saved + (len(unsaved[1]) if unsaved else 0) == len(fun.asked)
    assert 50 < len(fun.asked) < 200
    second = Objective()
    same(minimize(second, path), whole)
    assert len(second.asked) == whole.n_evaluations - saved


def _limit_file_size():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_300_000, 1_300_000))


def test_a_file_that_cannot_grow(whole, path, tmp_path):
    """The operating system refuses to let any file grow: whatever was answered is in the store or in the error."""
    program = """
    import sys, numpy as np, pyasmg
    log = open(sys.argv[2], "ab", buffering=0)
    def fun(x):
        log.write(b".")
        return [np.sum((x - 1) ** 2), np.sum((x + 1) ** 2)]
    try:
        pyasmg.minimize(fun, [3.0] * 6, 1.0, store=sys.argv[1], max_evaluations=5000, seed=1, popsize=10)
    except pyasmg.StoreError as error:
        print(len(error.unsaved[1]) if error.unsaved else 0, error)
    """
    log = tmp_path / "log"
    log.touch()
    command = [sys.executable, "-c", textwrap.dedent(program), str(path), str(log)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=_limit_file_size, check=False)
    assert done.returncode == 0, done.stderr
    n_unsaved = int(done.stdout.split()[0])
    with RunReader(path) as reader:
        assert reader.totals()["evaluations"] + n_unsaved == log.stat().st_size > 20
        assert n_unsaved <= 1


def test_a_full_disk(path, tmp_path):
    """A real one: a file system of two megabytes, where the system lets us mount it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    program = """
    import sys, numpy as np, pyasmg
    log = open(sys.argv[2], "ab", buffering=0)
    def fun(x):
        log.write(b".")
        return [np.sum((x - 1) ** 2), np.sum((x + 1) ** 2)]
    try:
        pyasmg.minimize(fun, [3.0] * 6, 1.0, store=sys.argv[1] + "/run.db", max_evaluations=5000, seed=1, popsize=10)
    except pyasmg.StoreError as error:
        print(error)
    """
    log, saved = tmp_path / "log", tmp_path / "saved.db"
    log.touch()
    python = shlex.join([sys.executable, "-c", textwrap.dedent(program), str(disk), str(log)])
    command = (
        f"mount -t tmpfs -o size=2m tmpfs {disk} && {python} && "
        f"cp {disk}/run.db {saved} && {{ [ ! -e {disk}/run.db-wal ] || cp {disk}/run.db-wal {saved}-wal; }}"
    )
    done = subprocess.run(["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        done = subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("this system lets nobody mount a file system")
    assert done.returncode == 0, done.stderr
    assert "the disk is full" in done.stdout
    with RunReader(saved) as reader:
        assert reader.totals()["evaluations"] == log.stat().st_size > 20


def test_a_locked_file_is_waited_for_then_told(path):
    minimize(Objective(stop_at=33), path)
    with RunStore(path, patience=0.2) as store:
        store.begin_session({})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        record = Record(5, np.ones(2), "", "", 0.1, 1, 0.0, False)
        with pytest.raises(StoreError, match="locked") as caught:
            store.record(9, [record])
        assert caught.value.unsaved == (9, (record,))
        other.execute("ROLLBACK")
        other.close()
        assert store.record(9, [record]) == ""
        assert 5 in store.records(9)


# ------------------------------------------------------------------------------------------------------- killing


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_in_the_middle(whole, path, tmp_path, workers):
    log = tmp_path / "log"
    program = f"""
    import concurrent.futures, sys, time, numpy as np, pyasmg
    from pathlib import Path
    class Objective:
        __qualname__ = "Objective"
        def __call__(self, x):
            time.sleep(0.002)
            with open({str(log)!r}, "ab", buffering=0) as file:
                file.write(x.tobytes())
            return [float(np.sum((x - 1) ** 2)), float(np.sum((x + 1) ** 2))]
    Objective.__module__ = "tests.store_runs"
    executor = concurrent.futures.ThreadPoolExecutor({workers}) if {workers} else None
    pyasmg.minimize(Objective(), [3.0] * 6, 1.0, store=sys.argv[1], max_evaluations=300, seed=4, popsize=10,
                    executor=executor)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program), str(path)])
    while not log.exists() or log.stat().st_size < 48 * 60:
        time.sleep(0.005)
        assert process.poll() is None
    process.kill()
    process.wait()
    assert path.with_name("run.db-lock").exists()  # left behind, and no obstacle
    second = Objective()
    same(minimize(second, path), whole)
    answered = len(log.read_bytes()) // 48
    assert whole.n_evaluations - answered <= len(second.asked) <= whole.n_evaluations - answered + max(1, 2 * workers)
