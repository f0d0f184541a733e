"""The processes of a command: when they start, that they end, and that nothing of them is left."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from pyasmg.evaluation._base import Job, Points
from pyasmg.evaluation._driver import Driver, evaluate_rows
from pyasmg.evaluation._retry import Retry
from pyasmg.evaluation.command import Command

from .commands import (
    HOSTILE,
    ROOT,
    ask,
    assert_gone,
    assert_reaped,
    descriptors,
    hostile,
    new_token,
    pids,
    right,
    rows,
    wait_until,
)

ANSWER = 'print(json.dumps({"id": request["id"], "f": 1}))\n'


@pytest.fixture
def token():
    name = new_token()
    yield name
    left = pids(name)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes outlived the test"


def python(token, each_request, *arguments, before="", at_end=""):
    """A child that does this with each ``request``, and that before and at its end."""
    body = textwrap.indent(textwrap.dedent(each_request), "    ")
    program = f"import json, os, signal, sys, time\n{before}\nfor line in sys.stdin:\n    request = json.loads(line)\n"
    return [sys.executable, "-c", f"{program}{body}\n{at_end}\n", *map(str, arguments), token]


def start(source, *first):
    """Begin one request for each number; return what to ask again with."""
    points = Points.of_array(rows(*first))
    for i in range(len(first)):
        source.start(points, [Job(i)])
    return points


# ---- start ----


def test_children_start_when_needed(token):
    with Command(hostile("right", token), workers=3) as source:
        assert source(np.empty((0, 2))).shape[0] == 0
        assert source.poll(0) == []
        assert source.poll(None) == []  # nothing is running: nothing to wait for
        assert pids(token) == []
        ask(source, rows(1, 1)[:1])
        assert len(pids(token)) == 1
        ask(source, rows(1, 1, 1))
        assert len(pids(token)) == 3


def test_children_stay(token):
    with Command(hostile("right", token), workers=2) as source:
        ask(source, rows(1, 1))
        before = set(pids(token))
        ask(source, rows(*[1] * 50))
        assert set(pids(token)) == before


def test_workers_run_at_the_same_time(token, tmp_path):
    """Each waits for the other two."""
    each = """
    open(f"{sys.argv[1]}/{os.getpid()}", "w")
    while len(os.listdir(sys.argv[1])) < 3:
        time.sleep(0.01)
    """
    with Command(python(token, each + ANSWER.strip(), tmp_path), workers=3, timeout=60) as source:
        assert source(rows(1, 1, 1)).tolist() == [[1.0], [1.0], [1.0]]


def test_poll_waits_as_long_as_it_is_told(token):
    with Command(hostile("hang", token)) as source:
        start(source, -1)
        begin = time.monotonic()
        assert source.poll(0) == []
        assert source.poll(0.2) == []
        assert 0.2 <= time.monotonic() - begin < 20


# ---- failures ----


def test_killed_from_outside(token):
    """In the middle of an evaluation; another child takes the place, and a retry gets the value."""
    with Command(hostile("hang", token), workers=2) as source:
        points = start(source, -1, 1)
        (good,) = source.poll(None)
        assert good.job == Job(1)
        busy = [worker.child.pid for worker in source._workers if worker.call is not None]
        os.kill(busy[0], signal.SIGKILL)
        (bad,) = source.poll(None)
        assert bad.error == "the command was killed by SIGKILL before it answered"
        assert (bad.retry, bad.billed, source.counters.unknown) == (True, True, 1)
        source.start(points, [Job(1, attempt=2)])
        assert source.poll(None)[0].values is not None
        assert_reaped(busy[0])


def test_idle_child_killed_from_outside(token):
    """That costs nothing: it is noticed before the next request is sent."""
    with Command(hostile("right", token)) as source:
        ask(source, rows(1))
        for pid in pids(token):
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it loses its name a moment before it has ended
        outcome = ask(source, rows(2))[0]
        assert outcome.values is not None
        assert source.counters.unknown == 0


@pytest.mark.parametrize("behaviour", ["hang_together", "leave_grandchild"])
def test_grandchildren_are_killed(token, behaviour):
    """Whether the child is late, or leaves them behind holding its pipes."""
    with Command(hostile(behaviour, token), timeout=2) as source:
        start(source, -1)
        assert source.poll(None)[0].error
        assert_gone(token)


def test_a_shell_and_what_it_runs_are_killed(token, tmp_path):
    script = tmp_path / "slow.sh"
    script.write_text(f"#!/bin/sh\nread -r request\n'{sys.executable}' -c 'import time; time.sleep(600)' \"$1\"\n")
    script.chmod(0o755)
    with Command([script, token], timeout=1) as source:
        start(source, 1)
        wait_until(lambda: len(pids(token)) == 2)
        assert source.poll(None)[0].error.startswith("no answer within 1 s")
        assert_gone(token)


def test_an_answer_in_time_counts_although_nobody_looked(token):
    """The clock does not run while nobody reads."""
    with Command(hostile("stderr_flood", token), timeout=0.5) as source:
        ask(source, rows(1))
        start(source, -1)
        time.sleep(1.5)
        assert source.poll(None)[0].values is not None


def test_quick_deaths_are_slowed_down(token):
    """Restarts are not a fork bomb, and end."""
    begin = time.monotonic()
    with Command([sys.executable, "-S", "-c", "raise SystemExit(2)", token]) as source:
        outcomes = ask(source, rows(*[1] * 8))
    assert all(outcome.error.startswith("the command exited with status 2") for outcome in outcomes.values())
    assert 0.02 * (1 + 2 + 4 + 8 + 16) < time.monotonic() - begin < 60


def test_retries_past_failing_children(token):
    X = rows(*range(1, 31))
    command = hostile("fuzz", 3, token)
    with Command(command, workers=4, timeout=1) as source:
        driver = Driver(source, retry=Retry(attempts=40, backoff=0.001, longest=0.01), n_objectives=2)
        driver.check = lambda values: "" if values.size == 2 and np.isfinite(values).all() else "not the right ones"
        F = evaluate_rows(source, X, driver)
        for x, f, failed in zip(X, F, np.isnan(F).any(axis=1), strict=True):
            assert failed or f.tolist() == right(x)
        # What is said to be final is not asked again.
        assert {failure.reason for failure in source.failures} <= {"outside the domain"}
        counters = source.counters
        assert counters.requests == counters.evaluations + counters.unknown
        assert counters.unknown > 0


def test_standard_error_can_be_followed(token, caplog):
    with caplog.at_level(logging.DEBUG, "pyasmg.evaluation"), Command(hostile("exit", token)) as source:
        ask(source, rows(-1))
    assert "says: starting\nout of cheese" in caplog.text


# ---- end ----


def test_cancel_kills_the_busy_and_keeps_the_idle(token):
    with Command(hostile("hang", token), workers=2) as source:
        points = start(source, 1, -1)
        (outcome,) = source.poll(None)
        assert outcome.job == Job(0)
        busy = next(worker.child.pid for worker in source._workers if worker.call is not None)
        (idle,) = set(pids(token)) - {busy}
        source.cancel()
        assert pids(token) == [idle]
        assert_reaped(busy)
        assert source.poll(0) == []
        source.start(points, [Job(0)])
        assert len(source.poll(None)) == 1
        assert pids(token) == [idle]


def test_cancel_forgets_answers(token):
    with Command(hostile("right", token)) as source:
        points = start(source, 1)
        wait_until(lambda: (source._exchange(0.01), source._outcomes)[1])
        source.cancel()
        assert source.poll(0) == []
        source.start(points, [Job(0, attempt=2)])
        assert [outcome.job.attempt for outcome in source.poll(None)] == [2]


def test_cancel_while_a_restart_is_due(token):
    with Command([sys.executable, "-S", "-c", "raise SystemExit(2)", token]) as source:
        ask(source, rows(*[1] * 6))
        start(source, 1)
        source.cancel()
        assert source.poll(0.7) == []
        assert pids(token) == []


def test_close_lets_children_end_by_themselves(token, tmp_path):
    mark = tmp_path / "mark"
    at_end = f"sys.stderr.write('bye ' * 10**5)\nopen({str(mark)!r}, 'w')"
    source = Command(python(token, ANSWER, at_end=at_end))
    ask(source, rows(1))
    source.close()
    assert mark.exists()
    assert pids(token) == []
    source.close()


def test_close_kills_who_does_not_end(token):
    source = Command(python(token, ANSWER, at_end="time.sleep(600)"), workers=2)
    ask(source, rows(1, 1))
    children = [worker.child.pid for worker in source._workers]
    begin = time.monotonic()
    source.close()
    assert time.monotonic() - begin < 20
    assert_gone(token)
    for pid in children:
        assert_reaped(pid)


def test_usable_after_close(token):
    source = Command(hostile("right", token))
    ask(source, rows(1))
    source.close()
    assert ask(source, rows(1))[0].values is not None
    source.close()


def test_collected_without_close(token):
    source = Command(hostile("hang", token), workers=2)
    start(source, -1, 1)
    assert pids(token)
    del source
    assert_gone(token)


@pytest.mark.parametrize("behaviour", ["exit", "hang", "noise", "leave_grandchild", "right", "stopped", "close_stdout"])
def test_nothing_leaks(token, behaviour):
    with Command(hostile("right", token)) as source:  # what Python itself opens once is open
        ask(source, rows(1))
    before = descriptors()
    seen = set()
    for _ in range(3):
        with Command(hostile(behaviour, token), workers=2, timeout=0.5) as source:
            ask(source, rows(-1, 1, -1, 1))
            seen |= {worker.child.pid for worker in source._workers if worker.child is not None}
            start(source, -1, -1)
    assert descriptors() == before
    assert_gone(token)
    for pid in seen:
        assert_reaped(pid)


# ---- the end of the process that asks ----

ASKER = """
import os, signal, subprocess, sys, time
import numpy as np
from pyasmg.evaluation._base import Job, Points
from pyasmg.evaluation.command import Command

def command(behaviour):
    return [sys.executable, "-S", {hostile!r}, behaviour, sys.argv[1]]

def start(source, *first):
    X = np.ones((len(first), 3))
    X[:, 0] = first
    for i in range(len(first)):
        source.start(Points.of_array(X), [Job(i)])

def say(word):
    print(word, flush=True)
"""


def asker(body, token, **options):
    """Another Python that asks; what ``body`` says can be read from it. Its arguments do not show the token."""
    program = ASKER.format(hostile=HOSTILE) + textwrap.dedent(body)
    starter = f"import sys; sys.argv = ['-c', {token!r}]\n{program}"
    # One thread, because Python warns of a fork beside others.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", starter]
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment, **pipe, **options)


def test_normal_exit_leaves_nobody(token):
    """Without `close`, with children idle and busy, and one that does not care about its input."""
    body = """
    idle, busy = Command(command("right")), Command(command("hang_together"), workers=2)
    start(idle, 1); idle.poll(None)
    start(busy, -1, -1); busy.poll(0.5)
    """
    with asker(body, token) as process:
        assert process.communicate(timeout=60) == ("", None)
        assert process.returncode == 0
    assert_gone(token)


def test_an_exception_leaves_nobody(token):
    with asker("busy = Command(command('hang'))\nstart(busy, -1)\nraise SystemExit(5)", token) as process:
        assert process.communicate(timeout=60) == ("", None)
        assert process.returncode == 5
    assert_gone(token)


@pytest.mark.parametrize("with_fork", [False, True])
def test_kill_9_ends_the_children(token, with_fork):
    """They find their input at an end; also if a forked process, that has copies of the pipes, lives on."""
    body = f"""
    source = Command(command("right"), workers=2)
    start(source, 1, 1)
    while sum(len(source.poll(None)) for _ in range(1)) < 1: pass
    source.poll(1.0)
    if {with_fork}:
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        say(pid)
    say("ready")
    time.sleep(60)
    """
    with asker(body, token) as process:
        words = iter(process.stdout.readline, "")
        forked = int(next(words)) if with_fork else None
        assert next(words) == "ready\n"
        assert len(pids(token)) == 2
        process.kill()
        try:
            assert_gone(token)
        finally:
            if forked is not None:
                os.kill(forked, signal.SIGKILL)


def test_forked_process_has_its_own_children(token):
    """The copy neither speaks to the children nor ends them, and can ask by itself."""
    body = """
    source = Command(command("hang"), workers=2)
    start(source, -1, 1)
    (first,) = source.poll(None)
    before = [worker.child.pid for worker in source._workers]
    pid = os.fork()
    if pid == 0:
        empty = source.poll(None)
        start(source, 2)
        (outcome,) = source.poll(None)
        own = [worker.child.pid for worker in source._workers if worker.child is not None]
        good = not empty and outcome.values.tolist() == [4.0, 7.0] and not set(own) & set(before)
        sys.exit(0 if good else 1)  # with all that Python does at exit
    _, status = os.waitpid(pid, 0)
    alive = all(os.kill(child, 0) is None for child in before)
    start(source, 3)
    (again,) = source.poll(None)
    say((os.waitstatus_to_exitcode(status), alive, again.values.tolist()))
    source.close()
    """
    with asker(body, token) as process:
        out, _ = process.communicate(timeout=60)
    assert out == "(0, True, [5.0, 8.0])\n"
    assert_gone(token)


def test_ctrl_c_reaches_us_and_not_the_children(token, tmp_path):
    mark = tmp_path / "interrupted"
    child = f"""
import json, signal, sys
def note(*_):
    open({str(mark)!r}, "w")
signal.signal(signal.SIGINT, note)
for line in sys.stdin:
    request = json.loads(line)
    if request["x"][0] > 0:
        print(json.dumps({{"id": request["id"], "f": 1}}))
"""
    body = f"""
    source = Command([sys.executable, "-c", {child!r}, sys.argv[1]], workers=2)
    start(source, 1, -1)
    assert len(source.poll(None)) == 1
    say("ready")
    try:
        source.poll(None)
    except KeyboardInterrupt:
        say("interrupted")
    start(source, 1)
    say(len(source.poll(None)))
    source.close()
    """
    with asker(body, token, start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)  # until it is in `poll`
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, _ = process.communicate(timeout=60)
    assert out == "interrupted\n1\n"
    assert not mark.exists()
    assert_gone(token)


def test_fuzz():
    """Three seconds of everything at once; 60 by hand."""
    command = [sys.executable, "-m", "bench.fuzz_command", "--seconds=3", "--seed=7"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stderr == ""
    assert "right values" in answer.stdout
