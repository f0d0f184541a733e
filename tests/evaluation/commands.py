"""What the tests of commands share: the hostile child, and a look at processes and descriptors."""

import gc
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np

from pyasmg.evaluation._base import Job, Points

ROOT = Path(__file__).parents[2]
HOSTILE = str(ROOT / "bench" / "hostile_child.py")


def hostile(behaviour, *arguments):
    return [sys.executable, "-S", HOSTILE, behaviour, *map(str, arguments)]


def right(x):
    """The answer of a hostile child that is not in the mood."""
    from bench.hostile_child import right

    return right(x.tolist())


def new_token():
    return f"token-{uuid.uuid4().hex}"


def pids(token):
    """Processes that have the token among their arguments; zombies have none any more."""
    if os.path.isdir("/proc/self"):
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    arguments = Path("/proc", entry, "cmdline").read_bytes()
                except OSError:  # ended meanwhile
                    continue
                if token.encode() in arguments.split(b"\0"):
                    found.append(int(entry))
        return found
    lines = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    ).stdout
    return [int(line.split()[0]) for line in lines.splitlines() if token in line.split()]


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def assert_gone(token):
    wait_until(lambda: not pids(token))


def assert_reaped(pid):
    """No zombie of ours is left."""
    try:
        found, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
    raise AssertionError(f"process {pid} was {'not reaped' if found else 'still running'}")


def descriptors():
    gc.collect()
    return len(os.listdir("/dev/fd"))


def rows(*first, d=3):
    """Candidates, of which those with a negative first number are treated badly by hostile children."""
    X = np.random.default_rng(5).standard_normal((len(first), d))
    X[:, 0] = first
    return X


def ask(source, X, candidates=None):
    """Start one job per free worker until all are answered; outcomes by candidate."""
    points = Points.of_array(X)
    waiting = list(range(len(X)) if candidates is None else candidates)
    outcomes = {}
    n_running = 0
    while waiting or n_running:
        while waiting and n_running < source.n_slots:
            source.start(points, [Job(waiting.pop(0))])
            n_running += 1
        for outcome in source.poll(None):
            assert outcome.job.candidate not in outcomes
            outcomes[outcome.job.candidate] = outcome
            n_running -= 1
    return outcomes
