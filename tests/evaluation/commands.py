"""What the tests of commands share: the hostile child, and a look at processes and descriptors."""

import os
import time
from pathlib import Path

import numpy as np

from bench import hostile_child
from bench.processes import HOSTILE, descriptors, hostile, new_token, pids
from pyasmg.evaluation._base import Job, Points

ROOT = Path(__file__).parents[2]

__all__ = [
    "HOSTILE",
    "ROOT",
    "ask",
    "assert_gone",
    "assert_reaped",
    "descriptors",
    "hostile",
    "new_token",
    "pids",
    "right",
    "rows",
    "wait_until",
]


def right(x):
    """The answer of a hostile child that is not in the mood."""
    return hostile_child.right(x.tolist())


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
