"""Calls of an HTTP source, and what must hold after them: for its tests."""

import threading
import time

import numpy as np
import pytest

from pyasmg.evaluation import Driver, Job, Points, Retry
from pyasmg.evaluation._driver import evaluate_rows
from tests.evaluation.http_server import KINDS

SECRET = "sesame-4f1c9e"
LATE = ("stall", "reset", "cut", "malformed", "shape", "500")  # evaluated, but the answer is lost
ROWS = ("nan", "status")  # faults of single rows
EARLY = ("503", "503-after", "429", "429-date")  # refused


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(autouse=True)
def _nothing_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def candidates(n, d=5, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def evaluate(source, X, *, attempts=5, backoff=0.01):
    return evaluate_rows(source, X, Driver(source, retry=Retry(attempts=attempts, backoff=backoff)))


def one_call(source, X, *, attempt=1, patience=30.0):
    """Start one call and return its outcomes in the order of the rows."""
    jobs = [Job(i, attempt) for i in range(len(X))]
    source.start(Points.of_array(X), jobs)
    outcomes = []
    end = time.monotonic() + patience
    while len(outcomes) < len(X):
        assert time.monotonic() < end, f"{len(outcomes)} of {len(X)} outcomes came within {patience} s"
        outcomes += source.poll(1.0)
    assert source.poll(0.0) == []
    outcomes.sort(key=lambda outcome: outcome.job)
    assert [outcome.job for outcome in outcomes] == jobs
    for outcome in outcomes:
        assert (outcome.values is None) == bool(outcome.error)
        assert len(outcome.error) < 600
        assert outcome.error.isprintable()
    return outcomes


def check_books(source, log):
    """The counters agree with what the server saw."""
    counters = source.counters
    assert counters.requests == len(log)
    rows = {kind: sum(entry["rows"] for entry in log if entry["kind"] == kind) for kind in [*KINDS, "ok", "413", "401"]}
    assert counters.evaluations == sum(rows[kind] for kind in ("ok", *ROWS))
    assert counters.unknown == sum(rows[kind] for kind in LATE)
    assert source.refused == sum(rows[kind] for kind in (*EARLY, "413", "401"))
