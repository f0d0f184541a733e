"""Clusters, objectives and calls: for the tests of the Dask source."""

import contextlib
import os
import subprocess
import sys
import time
import uuid

import numpy as np
import pytest

import pyasmg
from pyasmg.evaluation import Job, Points

distributed = pytest.importorskip("distributed")
PATIENCE = 60.0  # seconds after which a test gives up: only reached by what hangs


def make_cluster(n_workers):
    return distributed.LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0")


def values_of(x):
    return [float(np.sum(x * x)), float(np.sum((x - 1.0) * (x - 1.0)))]


def points_of(opt):
    return Points(
        generation=opt.n_iterations,
        get=opt.ask_one,
        dimension=opt.dimension,
        dtype=opt.dtype,
        search=opt._search,
        center=opt._options.center,
    )


def make_optimizer(d=20, **options):
    return pyasmg.ASMG(np.linspace(-1, 1, d), 0.5, **{"seed": 3, "popsize": 8, **options})


def collect(source, points, candidates, after_start=lambda: None):
    """Evaluate; every job must come back exactly once."""
    waiting, outcomes, end = [Job(i) for i in candidates], {}, time.monotonic() + PATIENCE
    n = len(waiting)
    while len(outcomes) < n:
        n_running = n - len(waiting) - len(outcomes)
        for _ in range(min(len(waiting), source.n_slots - n_running)):
            source.start(points, [waiting.pop(0)])
        after_start()
        for outcome in source.poll(1.0):
            assert outcome.job not in outcomes
            outcomes[outcome.job] = outcome
        assert time.monotonic() < end, "it hangs"
    assert source.poll(0.0) == []
    return [outcomes[Job(i)] for i in candidates]


def good(outcomes):
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    return np.array([outcome.values for outcome in outcomes])


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.02)


def pids(client):
    return sorted(client.run(os.getpid).values())


@contextlib.contextmanager
def extra_worker(client):
    """Start a worker process of its own, under a nanny of its own; yields the nanny's process."""
    command = [sys.executable, "-m", "distributed.cli.dask_worker", client.scheduler.address]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    options = ["--nthreads=1", "--no-dashboard", "--nanny", "--name", uuid.uuid4().hex]
    process = subprocess.Popen([*command, *options], env=environment, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def sleep(x):
    time.sleep(x[0])
    return x


class Gate:
    """An objective that says that it has begun, then waits until it is let through."""

    def __init__(self, folder):
        self.folder = folder
        self.open = folder / "open"

    def __call__(self, x):
        (self.folder / f"begun-{os.getpid()}-{uuid.uuid4().hex}").touch()
        end = time.monotonic() + PATIENCE
        while not self.open.exists() and time.monotonic() < end:
            time.sleep(0.01)
        return values_of(x)

    def begun(self):
        return {int(path.name.split("-")[1]) for path in self.folder.glob("begun-*")}
