"""Evaluation on a Dask cluster whose workers come and go, and what is left when the source is closed."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import pyasmg
from pyasmg.evaluation import Job, Points, _dask_worker
from pyasmg.evaluation.dask import DaskSource
from tests.evaluation.dask_calls import (
    PATIENCE,
    Gate,
    collect,
    distributed,
    extra_worker,
    good,
    make_cluster,
    make_optimizer,
    pids,
    points_of,
    sleep,
    values_of,
    wait_until,
)

# ------------------------------------------------------------------------------------------------- workers come and go


@pytest.mark.parametrize("n_killed", [1, 2])
def test_killed_workers(client, tmp_path, n_killed):
    """Two: all that was sent is lost with them, and sent again."""
    client.wait_for_workers(2, timeout=PATIENCE)
    gate, opt = Gate(tmp_path), make_optimizer(bounds=(-1.0, 1.0))
    killed = []

    def kill():
        victims = [pid for pid in pids(client) if pid in gate.begun()] if not killed else []
        if len(victims) == 2:
            for pid in victims[:n_killed]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            gate.open.touch()

    with DaskSource(gate, client) as source:
        F = good(collect(source, points_of(opt), range(8), kill))
        assert len(killed) == n_killed
        assert F.tobytes() == np.array([values_of(x) for x in opt.ask()]).tobytes()
        client.wait_for_workers(2, timeout=PATIENCE)
        opt.tell(F)
        F = good(collect(source, points_of(opt), range(8)))
        assert F.tobytes() == np.array([values_of(x) for x in opt.ask()]).tobytes()


def test_workers_that_join_and_die(empty_client, tmp_path):
    """The cluster is empty; a worker joins, then another; the first one's nanny is killed, and with it all data."""
    client, gate, opt = empty_client, Gate(tmp_path), make_optimizer()
    with DaskSource(gate, client) as source:
        assert source.n_slots == 1
        source.start(points_of(opt), [Job(0)])
        assert source.poll(0.5) == []
        with extra_worker(client) as first, contextlib.ExitStack() as stack:
            wait_until(lambda: source.n_slots == 2, "the first worker's joining")
            source.start(points_of(opt), [Job(1)])
            wait_until(gate.begun, "the first evaluation's begin")
            old = gate.begun()
            stack.enter_context(extra_worker(client))
            while source.n_slots < 4:
                assert source.poll(PATIENCE) == []  # comes back early when there are more slots
            first.kill()  # a nanny's child ends itself when its parent is gone
            source.start(points_of(opt), [Job(2)])
            wait_until(lambda: gate.begun() > old, "the evaluation elsewhere")
            gate.open.touch()
            outcomes = {}
            while len(outcomes) < 3:
                batch = source.poll(PATIENCE)
                outcomes.update({outcome.job.candidate: outcome for outcome in batch})
            F = good([outcomes[i] for i in range(3)])
    assert F.tobytes() == np.array([values_of(x) for x in opt.ask()[:3]]).tobytes()


def test_adaptive_cluster(empty_client):
    """It starts workers only when there are tasks, and the data can be sent only when there are workers."""
    opt = make_optimizer()
    with DaskSource(values_of, empty_client) as source:
        empty_client.cluster.adapt(minimum=0, maximum=1, interval="100 ms")
        F = good(collect(source, points_of(opt), range(8)))
    assert F.tobytes() == np.array([values_of(x) for x in opt.ask()]).tobytes()


def test_cancel_without_workers(empty_client):
    opt = make_optimizer()
    with DaskSource(values_of, empty_client) as source:
        for _ in range(3):
            source.start(points_of(opt), [Job(0)])
            source.cancel()
        source.start(points_of(opt), [Job(1)])
        assert source.poll(0.2) == []
        empty_client.cluster.scale(1)
        (outcome,) = source.poll(PATIENCE) or source.poll(PATIENCE)
        assert good([outcome])[0].tolist() == values_of(opt.ask_one(1))


def test_cluster_that_shrinks(empty_client, tmp_path):
    client, gate, opt = empty_client, Gate(tmp_path), make_optimizer()
    client.cluster.scale(2)
    client.wait_for_workers(2, timeout=PATIENCE)
    retired = []

    def retire():
        if not retired and len(gate.begun()) == 2:
            client.cluster.scale(1)
            retired.append(True)
            gate.open.touch()

    with DaskSource(gate, client) as source:
        F = good(collect(source, points_of(opt), range(8), retire))
        wait_until(lambda: source.n_slots == 2, "shrinking")
    assert F.tobytes() == np.array([values_of(x) for x in opt.ask()]).tobytes()


def test_function_that_kills_its_worker(client, cluster, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    client.wait_for_workers(2, timeout=PATIENCE)
    with DaskSource(lambda x: os.kill(os.getpid(), signal.SIGKILL), client) as source:
        (outcome,) = collect(source, points_of(make_optimizer()), [0])
        assert source.counters.unknown == 1
    assert outcome.error == "its worker died, 1 times of 1 (distributed.scheduler.allowed-failures: 0)"
    assert outcome.retry
    assert outcome.billed
    client.wait_for_workers(2, timeout=PATIENCE)


def test_lost_scheduler():
    """What is open comes back as failed when the client gives the cluster up."""
    with make_cluster(1) as cluster:
        with (
            distributed.Client(cluster, timeout=2) as client,
            DaskSource(sleep, client) as source,
        ):
            source.start(Points.of_array(np.full((1, 1), PATIENCE)), [Job(0)])
            assert source.poll(0.5) == []
            client.close()
            (outcome,) = source.poll(PATIENCE)
            assert outcome.error == "the Dask client was closed, or has lost its scheduler"
            assert outcome.fatal
            source.start(Points.of_array(np.zeros((1, 1))), [Job(0)])
            (outcome,) = source.poll(PATIENCE)
            assert "closed" in outcome.error
        with (
            distributed.Client(cluster, timeout=2) as client,
            DaskSource(sleep, client) as source,
        ):
            source.start(Points.of_array(np.full((1, 1), PATIENCE)), [Job(0)])
            assert source.poll(0.5) == []
            cluster.close()
            end = time.monotonic() + PATIENCE
            while not (outcomes := source.poll(1.0)):
                assert time.monotonic() < end, "it hangs"
            assert outcomes[0].error == "the Dask client was closed, or has lost its scheduler"


# ---------------------------------------------------------------------------------------------------- cancel and close


def test_cancel(client, cluster, tmp_path):
    gate, opt = Gate(tmp_path), make_optimizer()
    with DaskSource(gate, client) as source:
        for i in range(4):
            source.start(points_of(opt), [Job(i)])
        wait_until(lambda: len(gate.begun()) == 2, "both evaluations' begin")
        source.cancel()
        assert source.poll(0.3) == []
        assert source.poll(None) == []  # nothing is running: nothing to wait for
        wait_until(lambda: not any(key[0].startswith("pyasmg-") for key in cluster.scheduler.tasks), "cancelling")
        gate.open.touch()
        F = good(collect(source, points_of(opt), range(8)))
        assert F.tobytes() == np.array([values_of(x) for x in opt.ask()]).tobytes()
    source.close()
    assert client.status == "running"


def test_ctrl_c_while_waiting(client, tmp_path):
    gate = Gate(tmp_path)
    with DaskSource(gate, client) as source:
        source.start(points_of(make_optimizer()), [Job(0)])
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            source.poll(None)
        timer.join()
        gate.open.touch()
        assert good(source.poll(PATIENCE)).shape == (1, 2)


def minimize(fun, **options):
    return pyasmg.minimize(fun, np.zeros(50), 0.5, seed=5, popsize=8, max_evaluations=100, progress=False, **options)


def test_minimize(client):
    expected = minimize(values_of)
    result = minimize(values_of, executor=client)
    assert result.x.tobytes() == expected.x.tobytes()
    assert result.fun.tobytes() == expected.fun.tobytes()
    assert result.n_evaluations == expected.n_evaluations


def test_minimize_with_a_store_and_a_lost_client(cluster, client, tmp_path):
    """What was answered before the client went is in the store; another client ends the run."""
    other = distributed.Client(cluster)
    with other:
        end = iter(range(100))
        close = lambda opt: other.close() if next(end) == 3 else None  # noqa: E731
        with pytest.raises(pyasmg.EvaluationError, match="the Dask client was closed"):
            minimize(values_of, executor=other, store=tmp_path / "run.db", callback=close)
    result = minimize(values_of, executor=client, store=tmp_path / "run.db")
    expected = minimize(values_of)
    assert result.x.tobytes() == expected.x.tobytes()
    assert result.n_evaluations == expected.n_evaluations


def test_name(client):
    with DaskSource(values_of, client) as source:
        assert source.name == "tests.evaluation.dask_calls:values_of"


def test_import_of_pyasmg_does_not_import_dask():
    code = "import sys, pyasmg, pyasmg.evaluation.dask; sys.exit('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_answers_are_small():
    answer = _dask_worker.Answer(np.zeros((1, 3)), 0.1, process=_dask_worker._PROCESS)
    assert len(pickle.dumps(answer, protocol=5)) < 500
