"""The run store: resuming, refusing, and what is in it."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest

import pyasmg
from pyasmg import StoreError
from pyasmg._store_schema import state_from_bytes, state_to_bytes
from pyasmg.evaluation import Counters, Record
from pyasmg.store import RunReader, RunStore
from tests.store_runs import OPTIONS, START, Objective, minimize, same


@pytest.fixture(scope="module")
def whole():
    return minimize(Objective())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.db"


# ------------------------------------------------------------------------------------------------------- resuming


def test_a_store_changes_nothing(whole, path):
    same(minimize(Objective(), path), whole)
    assert sorted(file.name for file in path.parent.iterdir()) == ["run.db"]  # one file, nothing beside it


@pytest.mark.parametrize("stop_at", [0, 1, 9, 10, 11, 57, 100, 280, 290])
@pytest.mark.parametrize("memory", ["store", "regenerate"])
def test_an_interrupted_run_goes_on_where_it_was(whole, path, stop_at, memory):
    first = Objective(stop_at)
    result = minimize(first, path, memory=memory)
    assert result.stop == {"interrupted": True} or stop_at == 290
    second = Objective()
    same(minimize(second, path), whole)
    assert len(first.asked) + len(second.asked) == whole.n_evaluations
    assert not set(first.asked) & set(second.asked)


def test_interrupted_at_every_turn(whole, path):
    asked = []
    for _ in range(100):
        fun = Objective(stop_at=7)
        result = minimize(fun, path)
        assert not set(fun.asked) & set(asked)
        asked += fun.asked
        if result.success:
            break
    same(result, whole)
    assert len(asked) == whole.n_evaluations
    with RunReader(path) as reader:
        assert len(reader.sessions()) == -(-291 // 7)
        assert reader.sessions()[0]["ended"] == "interrupted by the user"


def test_a_finished_run_is_not_asked_again(whole, path):
    minimize(Objective(), path)
    again = Objective()
    same(minimize(again, path), whole)
    assert again.asked == []


def test_a_larger_budget_goes_on(path):
    minimize(Objective(), path, max_evaluations=100)
    fun = Objective()
    result = minimize(fun, path, max_evaluations=301)
    longer = minimize(Objective(), max_evaluations=300)
    assert len(fun.asked) == 200 + 1  # one mean more than in one go
    assert result.x.tobytes() == longer.x.tobytes()
    assert (result.n_evaluations, result.n_iterations) == (longer.n_evaluations, longer.n_iterations)
    assert minimize(Objective(), path, max_evaluations=50).n_iterations == 29  # a smaller one: it is over


def test_a_smaller_budget_counts_the_mean_that_was_paid_for(path):
    minimize(Objective(), path, max_evaluations=100)
    assert minimize(Objective(), path, max_evaluations=101).n_iterations == 9  # 91 + 10 + 1 would be too many
    assert minimize(Objective(), path, max_evaluations=102).n_iterations == 10
    with RunReader(path) as reader:
        assert reader.totals()["evaluations"] == 102


def test_the_seed_of_the_store_is_used(path):
    options = {**OPTIONS, "seed": None}
    first = pyasmg.minimize(Objective(stop_at=40), START, 1.0, store=path, **options)
    second = pyasmg.minimize(Objective(), START, 1.0, store=path, **options)
    assert first.seed == second.seed
    same(second, pyasmg.minimize(Objective(), START, 1.0, **{**OPTIONS, "seed": first.seed}))


@pytest.mark.parametrize(
    "options",
    [
        {"weighting": "level", "bounds": (-1.0, [5.0] * 5 + [np.inf])},
        {"weighting": "chebyshev", "dtype": "float32", "mirrored": False},
        {"weighting": [1.0, 2.0], "target": [0.1, 0.1]},
        {"weighting": lambda generation: [1.0 + generation.number, 2.0]},
        {"baseline": "center", "step_size": 0.1, "std_step_size": 0.1, "scale_objectives": False},
    ],
)
def test_every_kind_of_search(path, options):
    result = minimize(Objective(stop_at=123), path, **options)
    assert "interrupted" in result.stop
    same(minimize(Objective(), path, **options), minimize(Objective(), **options))


def test_failures_are_answers(path):
    def fun(x):
        number = zlib.crc32(x.tobytes())
        if number % 6 == 0:
            raise RuntimeError(f"odd {number % 7}")
        return [float(x @ x), float(np.sum((x - 1) ** 2))]

    def stops(x, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) == 77:
            raise KeyboardInterrupt
        return fun(x)

    stops.__qualname__ = fun.__qualname__
    options = {"max_evaluations": 300, "popsize": 10, "seed": 1}
    whole = pyasmg.minimize(fun, START, 1.0, **options)
    assert whole.n_failed > 30
    pyasmg.minimize(stops, START, 1.0, store=path, **options)
    again = pyasmg.minimize(fun, START, 1.0, store=path, **options)
    same(again, whole)
    assert [f.traceback.splitlines()[-1] for f in again.failures] == [
        f.traceback.splitlines()[-1] for f in whole.failures
    ]


def test_what_failed_in_a_lost_generation_is_asked_again(whole, path):
    fun = Objective(stop_at=53, error=OSError("licence expired"))
    with pytest.raises(pyasmg.EvaluationError, match=r"6 of 10 .* generation 5"):
        minimize(fun, path, cost_per_evaluation=1.0)
    mended = Objective()
    result = minimize(mended, path, cost_per_evaluation=1.0)
    same(result, whole)
    assert len(mended.asked) == whole.n_evaluations - 53
    assert result.cost == whole.n_evaluations + 6  # what failed was paid for as well
    with RunReader(path) as reader:
        assert reader.totals()["cost"] == result.cost
        assert reader.failures_by_reason() == [{"reason": "OSError: licence expired", "count": 6, "final": 0}]


def test_an_error_of_the_callback_loses_nothing(whole, path):
    def callback(opt):
        if opt.n_iterations == 7:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        minimize(Objective(), path, callback=callback)
    second = Objective()
    same(minimize(second, path), whole)
    assert len(second.asked) == whole.n_evaluations - 70


def test_retries_go_on_counting(path):
    class Flaky:
        def __init__(self, stop_at):
            self.calls, self.stop_at = 0, stop_at

        def __call__(self, x):
            self.calls += 1
            if self.calls == self.stop_at:
                raise KeyboardInterrupt
            raise ValueError("never")

    retry = pyasmg.Retry(attempts=3, backoff=0.0)
    minimize(Flaky(9), path, retry=retry, cost_per_evaluation=0.5)
    with RunReader(path) as reader:
        totals = reader.totals()
    assert (totals["attempts"], totals["cost"], totals["failed"], totals["open"]) == (8, 4.0, 2, 1)
    with pytest.raises(pyasmg.EvaluationError) as caught:
        minimize(Flaky(None), path, retry=retry, cost_per_evaluation=0.5)
    assert caught.value.result.cost == 0.5 * 3 * 6
    with RunReader(path) as reader:
        assert [row["attempts"] for row in reader.evaluations()] == [3] * 6


@pytest.mark.parametrize("generation", [0, 3, 11])
def test_an_unreadable_snapshot_costs_time_only(whole, path, generation):
    minimize(Objective(stop_at=115), path)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE snapshots SET state = zeroblob(500) WHERE generation >= ?", (max(generation, 1),))
    file.close()
    same(minimize(Objective(), path), whole)


def test_another_weighting_function_is_noticed(path):
    minimize(Objective(stop_at=115), path, weighting=lambda generation: [1.0, 2.0])
    with sqlite3.connect(path) as file:
        file.execute("DELETE FROM snapshots WHERE generation > 0")
    file.close()
    with pytest.raises(StoreError, match="weighting function has changed"):
        minimize(Objective(), path, weighting=lambda generation: [2.0, 1.0])


# ------------------------------------------------------------------------------------------------------- refusing


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 5}, "seed is 4 in the store, 5 now"),
        ({"popsize": 12}, "popsize is 10 in the store, 12 now"),
        ({"weighting": "equal"}, "weighting is 'pareto' in the store, 'equal' now"),
        ({"bounds": (0, 9)}, "lower bounds is None in the store"),
        ({"dtype": "float32"}, "dtype"),
        ({"tolx": 0.1}, "tolx is None in the store, 0.1 now"),
    ],
)
def test_other_settings_are_refused_by_name(path, options, words):
    minimize(Objective(stop_at=33), path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=words):
        minimize(Objective(), path, **options)
    assert path.read_bytes() == before


def test_another_start_or_objective_is_refused(path):
    minimize(Objective(stop_at=33), path)
    with pytest.raises(StoreError, match=r"x0 is \(3.0, 3.0, 3.0, 3.0, \.\.\.; 6 numbers .* in the store, \(3.0"):
        pyasmg.minimize(Objective(), [3.0] * 5 + [3.1], 1.0, store=path, **OPTIONS)
    with pytest.raises(StoreError, match=r"sigma0 is \(1.0"):
        pyasmg.minimize(Objective(), START, 2.0, store=path, **OPTIONS)
    with pytest.raises(StoreError, match=r"n_parameters is 6 in the store, 5 now"):
        pyasmg.minimize(Objective(), START[:5], 1.0, store=path, **OPTIONS)
    with pytest.raises(StoreError, match=r"objective is 'tests.store_runs:Objective' in the store, '.*lambda"):
        pyasmg.minimize(lambda x: [1.0, 2.0], START, 1.0, store=path, **OPTIONS)


def test_never_resume(path):
    minimize(Objective(stop_at=33), path, resume="never")
    with pytest.raises(StoreError, match="holds a run already"):
        minimize(Objective(), path, resume="never")
    with pytest.raises(ValueError, match=r"`resume` must be 'auto' or 'never'; got 'yes'"):
        minimize(Objective(), path, resume="yes")


def test_foreign_files_are_left_alone(path):
    path.write_bytes(b"what I wrote for my thesis\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="damaged or no run store"):
        minimize(Objective(), path)
    assert path.read_bytes() == before
    path.unlink()
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE photographs (name TEXT)")
    file.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="of another program"):
        minimize(Objective(), path)
    assert path.read_bytes() == before
    with pytest.raises(StoreError, match="folder that exists"):
        minimize(Objective(), path.parent / "no" / "such" / "run.db")


def test_another_version_is_refused(path):
    minimize(Objective(stop_at=33), path)
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version = 99")
    file.close()
    with pytest.raises(StoreError, match="version 99; this pyasmg reads version 1"):
        minimize(Objective(), path)


def test_two_names_of_a_store_are_one(path):
    link = path.with_name("link.db")
    link.symlink_to(path)
    with RunStore(path), pytest.raises(StoreError, match="in use by another run of this process"):
        RunStore(link)
    with RunStore(path), pytest.raises(StoreError, match="in use by process"):
        _in_another_process(link)


def test_two_runs_cannot_share_a_store(path):
    def nested(x):
        with pytest.raises(StoreError, match="in use by another run of this process"):
            minimize(Objective(), path)
        with pytest.raises(StoreError, match=f"in use by process {os.getpid()} on "):
            _in_another_process(path)
        raise KeyboardInterrupt

    minimize(nested, path)
    assert not path.with_name("run.db-lock").exists()


def _in_another_process(path):
    program = f"""
    from pyasmg.store import RunStore, StoreError
    try:
        RunStore({str(path)!r})
    except StoreError as error:
        print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    raise StoreError(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_read_only_file_is_told_before_anything_is_asked(path):
    minimize(Objective(stop_at=33), path)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    program = f"""
    import os
    import pyasmg, pyasmg.store
    pyasmg.minimize(lambda x: [1.0, 2.0], [3.0] * 6, 1.0, max_evaluations=300)  # imports the rest
    if os.getuid() == 0:  # for whom nothing is read-only
        os.setgid(65534)
        os.setuid(65534)
    try:
        pyasmg.minimize(lambda x: print("asked"), [3.0] * 6, 1.0, store={str(path)!r}, max_evaluations=300)
    except pyasmg.StoreError as error:
        print(error)
    """
    folders = [folder for folder in path.parents if folder.stat().st_uid == os.getuid() and folder.name]
    modes = {folder: folder.stat().st_mode for folder in folders[1:]}
    for folder, mode in modes.items():
        folder.chmod(mode | 0o055)
    try:
        command = [sys.executable, "-c", textwrap.dedent(program)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        path.parent.chmod(0o755)
        for folder, mode in modes.items():
            folder.chmod(mode)
    assert "cannot be written" in answer
    assert "asked" not in answer


# ------------------------------------------------------------------------------------------------------- contents


def test_what_the_reader_sees(path):
    counts = Counters(requests=5, evaluations=4, retries=2, unknown=1)
    opt = pyasmg.ASMG(START, 1.0, seed=1, popsize=4)
    with RunStore(path) as store:
        assert not store.has_run
        store.begin({"objective": "x:y", "popsize": 4}, opt.state_dict())
        store.begin_session({})
        good = Record(0, np.array([1.0, 2.0]), "", "", 0.5, 1, 0.25, False)
        bad = Record(1, None, "bad \udcff\0", "trace", np.nan, 3, 0.75, False)
        again = Record(2, None, "bad again", "", 0.1, 1, 0.25, True)
        assert store.record(0, [good, bad]) == store.record(0, [again]) == ""
        store.end_session("enough", counts)
        read = store.records(0)
        assert read[1].error == "bad ?\\0"
        assert np.isnan(read[1].seconds)
        assert read[2].open
        assert read[0].values.tolist() == [1.0, 2.0]
    with RunReader(path) as reader:
        assert reader.settings() == {"objective": "x:y", "popsize": 4}
        assert [row["status"] for row in reader.evaluations()] == ["ok", "failed", "open"]
        assert reader.totals()["cost"] == 1.25
        assert reader.totals()["attempts"] == 5
        assert {row["reason"]: row["count"] for row in reader.failures_by_reason()} == {"bad ?\\0": 1, "bad again": 1}
        session = reader.sessions()[0]
        assert session["ended"] == "enough"
        assert session["counters"] == {"requests": 5, "evaluations": 4, "retries": 2, "unknown": 1}
        assert reader.final() is None


def test_a_state_as_bytes(path):
    opt = pyasmg.ASMG(START, 1.0, seed=1, bounds=(0, 5), weighting="level")
    for _ in range(3):
        opt.tell([[float(x @ x), float(abs(x).sum())] for x in opt.ask()])
    blob = state_to_bytes(opt.state_dict())
    again = pyasmg.ASMG.from_state_dict(state_from_bytes(blob))
    assert again.ask().tobytes() == opt.ask().tobytes()
    with pytest.raises(ValueError, match="damaged"):
        state_from_bytes(blob[:-30])
    with pytest.raises(ValueError, match="damaged"):
        state_from_bytes(b"")


def test_reading_while_it_is_written(path):
    seen = []

    def callback(opt):
        with RunReader(path) as reader:
            seen.append(len(reader.generations()))

    minimize(Objective(), path, callback=callback)
    assert seen == list(range(1, 30))


def test_a_copy_of_a_killed_store_can_be_read(path, tmp_path):
    minimize(Objective(), path, callback=lambda opt: opt.n_iterations == 3 and _copy(path, tmp_path / "copy"))
    with RunReader(tmp_path / "copy" / "run.db") as reader:
        assert reader.totals()["evaluations"] == 30
        assert json.dumps(reader.settings())


def _copy(path, folder):
    folder.mkdir()
    for file in path.parent.glob("run.db*"):
        shutil.copy(file, folder)
