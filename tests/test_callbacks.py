"""Logs of real runs, read back; logs that cannot be written; logs of runs that are killed."""

import json
import os
import shutil
import struct
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from tensorboardX import SummaryWriter
from tensorboardX.crc32c import crc32c
from tensorboardX.proto.event_pb2 import Event

import pyasmg
from pyasmg.callbacks import JsonLines, TensorBoard, combine

from .test_report import environment, minimize, objective, wait_for


def run(callback, max_evaluations=61, fun=objective, **options):
    settings = {"popsize": 6, "seed": 5, "max_evaluations": max_evaluations, **options}
    return pyasmg.minimize(fun, np.full(4, 3.0), 1.0, callback=callback, **settings)


def lines_of(path):
    def refuse(text):
        raise AssertionError(f"not strict JSON: {text}")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def masked(content):
    crc = crc32c(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def events_of(folder):
    """Read every event file of a folder with another program's protocol buffers and checksum."""
    events = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = content[at + 12 : at + 12 + length]
            assert struct.unpack_from("<I", content, at + 8) == (masked(content[at : at + 8]),)
            assert struct.unpack_from("<I", content, at + 12 + length) == (masked(event),)
            events.append(Event.FromString(event))
            at += 16 + length
    return events


def scalars_of(folder):
    """Return (step, value) by tag."""
    scalars = {}
    for event in events_of(folder):
        for value in event.summary.value:
            scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
    return scalars


def same_scalars(scalars, history):
    n = history["n_evaluations"]
    for i in range(2):
        assert scalars[f"weights/{i + 1}"] == list(zip(n, np.float32(history["weights"][:, i]), strict=True))
        medians = np.array([value for _, value in scalars[f"objectives/{i + 1}"]])
        assert (medians >= np.float32(history["best"][:, i])).all()
    for name in ("max_std", "stationarity"):
        assert scalars[f"search/{name}"] == list(zip(n, np.float32(history[name]), strict=True))
    assert scalars["search/generation"] == list(zip(n, range(len(n)), strict=True))
    assert [value for _, value in scalars["evaluations/failed"]] == [0] * len(n)


# --------------------------------------------------------------------------------------------------- JSON lines


def test_json_lines(tmp_path):
    log = tmp_path / "log.jsonl"
    result = run(JsonLines(log))
    rows = lines_of(log)
    assert [row["generation"] for row in rows] == list(range(10))
    assert list(rows[0]) == [
        "time", "generation", "n_evaluations", "n_failed", "median", "weights", "max_std", "stationarity",
    ]  # fmt: skip
    for name in ("n_evaluations", "weights", "max_std", "stationarity"):
        assert [row[name] for row in rows] == result.history[name].tolist()  # to the last bit
    medians, best = np.array([row["median"] for row in rows]), result.history["best"]
    assert medians.shape == (10, 2)
    assert (medians >= best).all()
    assert (medians > best).any()


def test_json_lines_of_failures_and_of_what_is_not_a_number(tmp_path):
    def shaky(x):
        if x[0] > 3.5:
            raise RuntimeError("a reason")
        return objective(x)

    result = run(JsonLines(tmp_path / "log.jsonl"), fun=shaky, stagnation=0)
    rows = lines_of(tmp_path / "log.jsonl")
    assert rows[-1]["n_failed"] == result.n_failed > 0

    class NotANumber:
        n_iterations, n_evaluations, n_failed = 3, 12, 0
        weights, stds, stationarity = np.array([0.5, np.nan]), np.array([np.inf]), np.nan
        median = None

    JsonLines(tmp_path / "log.jsonl")(NotANumber())
    last = lines_of(tmp_path / "log.jsonl")[-1]
    assert (last["weights"], last["max_std"], last["stationarity"], last["median"]) == ([0.5, None], None, None, None)
    TensorBoard(tmp_path / "board")(NotANumber())
    assert set(scalars_of(tmp_path / "board")) == {"search/generation", "evaluations/failed", "weights/1"}


def test_json_lines_go_on_behind_a_torn_line(tmp_path):
    log = tmp_path / "log.jsonl"
    run(JsonLines(log), 13)
    with log.open("a") as file:
        file.write('{"generation": 2, "n_eva')
    run(JsonLines(log), 13)
    lines = log.read_text().split("\n")
    assert lines[2] == '{"generation": 2, "n_eva'
    assert [json.loads(line)["generation"] for line in lines if line.endswith("}")] == [0, 1, 0, 1]
    assert lines[-1] == ""


def test_json_lines_of_a_run_that_is_killed_and_resumed(tmp_path):
    program = textwrap.dedent(
        """
        import os, sys, time
        from tests.test_report import minimize, objective
        from pyasmg.callbacks import JsonLines

        def slow(x):
            time.sleep(float(sys.argv[1]))
            return objective(x)

        minimize("run.db", slow, 241, callback=JsonLines("log.jsonl"))
        """
    )
    log = tmp_path / "log.jsonl"
    for generations in (5, 12):
        process = subprocess.Popen([sys.executable, "-c", program, "0.01"], cwd=tmp_path, env=environment())
        try:
            wait_for(lambda n=generations: log.exists() and log.read_bytes().count(b"\n") > n, process)
        finally:
            process.kill()
            process.wait(60)
    subprocess.run([sys.executable, "-c", program, "0"], cwd=tmp_path, env=environment(), check=True, timeout=60)
    numbers = [row["generation"] for row in lines_of(log)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= 40 - 2  # one may be missing where it was killed
    minimize(tmp_path / "whole.db", objective, 241, callback=JsonLines(tmp_path / "whole.jsonl"))
    whole = {row.pop("generation"): row for row in lines_of(tmp_path / "whole.jsonl")}
    for row in lines_of(log):
        assert {**row, "time": 0} == {"generation": row["generation"], **whole[row["generation"]], "time": 0}


def test_a_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    log = combine(JsonLines("log.jsonl"), TensorBoard("board"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    run(log, 13)
    assert len(lines_of(tmp_path / "log.jsonl")) == 2
    assert len(events_of(tmp_path / "board")) == 3
    assert not list((tmp_path / "elsewhere").iterdir())


# -------------------------------------------------------------------------------------------------- TensorBoard


def test_tensorboard(tmp_path):
    result = run(TensorBoard(tmp_path / "made" / "board"))
    events = events_of(tmp_path / "made" / "board")
    assert events[0].file_version == "brain.Event:2"
    assert all(abs(event.wall_time - os.stat(tmp_path).st_mtime) < 60 for event in events)
    same_scalars(scalars_of(tmp_path / "made" / "board"), result.history)


def test_tensorboard_again_in_the_same_folder(tmp_path):
    first, second = TensorBoard(tmp_path), TensorBoard(tmp_path)
    run(first, 13)
    run(second, 19)
    assert len(list(tmp_path.iterdir())) == 2
    assert [step for step, _ in scalars_of(tmp_path)["search/max_std"]] == [6, 12, 6, 12, 18]


def test_numbers_that_32_bits_do_not_hold(tmp_path):
    run(TensorBoard(tmp_path), fun=lambda x: [1e200 * value for value in objective(x)])
    assert {value for _, value in scalars_of(tmp_path)["objectives/1"]} == {3.4028234663852886e38}


def test_a_summary_writer_is_handed_the_same(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        with SummaryWriter(str(tmp_path)) as writer:
            result = run(TensorBoard(writer))
    same_scalars(scalars_of(tmp_path), result.history)


# -------------------------------------------------------------------------------------- what cannot be written


def test_a_log_that_can_never_be_written_is_an_error_at_once(tmp_path):
    (tmp_path / "file").touch()
    for make in (JsonLines, TensorBoard):
        with pytest.raises(OSError, match="Not a directory"):
            make(tmp_path / "file" / "log")
    with pytest.raises(FileNotFoundError):
        JsonLines(tmp_path / "missing" / "log.jsonl")
    with pytest.raises(IsADirectoryError):
        JsonLines(tmp_path)
    with pytest.raises(TypeError, match="`folder` must be a path or have `add_scalar`; got int"):
        TensorBoard(3)
    with pytest.raises(TypeError):
        JsonLines(None)


def test_a_log_that_is_gone_does_not_end_the_run(tmp_path):
    lines, board = JsonLines(tmp_path / "log.jsonl"), TensorBoard(tmp_path / "board")
    shutil.rmtree(tmp_path / "board")
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").mkdir()
    with pytest.warns(RuntimeWarning) as caught:
        result = run(combine(lines, board))
    words = sorted(str(warning.message) for warning in caught)
    assert len(words) == 2  # each said once
    assert words[0].startswith(f"JsonLines: '{tmp_path / 'log.jsonl'}' could not be written ([Errno 21] Is a directory")
    assert words[1].startswith(f"TensorBoard: '{tmp_path / 'board'}' could not be written ([Errno 2] No such file")
    assert all(text.endswith("; the run goes on without it.") for text in words)
    assert result.x.tolist() == run(None).x.tolist()


def test_logs_go_on_when_there_is_room_again(tmp_path):
    """A file size limit stands for the full disk: records are cut off in the middle."""
    program = textwrap.dedent(
        """
        import resource, signal
        from tests.test_callbacks import run
        from pyasmg.callbacks import JsonLines, TensorBoard, combine

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        def fill(opt):
            _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
            limit = 1000 if 3 <= opt.n_iterations < 7 else most
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))

        print(run(combine(fill, JsonLines("log.jsonl"), TensorBoard("board"))).n_iterations)
        """
    )
    command = [sys.executable, "-W", "default", "-c", program]
    process = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert process.stdout == "10\n", process.stderr
    assert process.stderr.count("RuntimeWarning") == 2
    assert process.stderr.count("the run goes on without it") == 2
    rows = []
    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        try:
            rows.append(json.loads(line)["generation"])
        except ValueError:
            assert len(line) < 400  # the one that was cut off
    assert rows[:2] == [0, 1]
    assert rows[-4:] == [6, 7, 8, 9]
    assert 6 <= len(rows) < 10
    assert len(list((tmp_path / "board").iterdir())) == 1
    steps = [step for step, _ in scalars_of(tmp_path / "board")["search/max_std"]]
    assert steps[:2] == [6, 12]
    assert steps[-4:] == [42, 48, 54, 60]
    assert 6 <= len(steps) < 10


# ------------------------------------------------------------------------------------------------------ combine


def test_combine():
    calls = []

    def callback(name, answer=None, after=0):
        def call(opt):
            calls.append((name, opt.n_iterations))
            return answer if opt.n_iterations > after else None

        return call

    assert run(combine(callback("a"), callback("b", "words"), callback("c", 1))).n_iterations == 10
    assert calls == [(name, n) for n in range(1, 11) for name in "abc"]
    calls.clear()
    result = run(combine(callback("a", np.True_, 2), callback("b")))
    assert result.stop == {"callback": True}
    assert calls == [(name, n) for n in (1, 2, 3) for name in "ab"]  # the others hear of the last one as well
    assert run(combine()).n_iterations == 10
    with pytest.raises(TypeError, match="`callbacks` must be callable; got int"):
        combine(callback("a"), 3)
