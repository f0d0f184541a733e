"""Evaluation on a real Dask cluster: the bits of a serial evaluation, little traffic, nothing lost with a worker."""

import asyncio
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import uuid

import numpy as np
import pytest

import pyasmg
from pyasmg.evaluation import Driver, Job, Points, _dask_shipment, _dask_worker
from pyasmg.evaluation import dask as module
from pyasmg.evaluation._base import FINAL
from pyasmg.evaluation.dask import DaskSource

distributed = pytest.importorskip("distributed")
PATIENCE = 60.0  # seconds after which a test gives up: only reached by what hangs


def make_cluster(n_workers):
    return distributed.LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0")


@pytest.fixture(scope="module")
def cluster():
    with make_cluster(2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster):
    with distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def empty_client():
    with make_cluster(0) as cluster, distributed.Client(cluster) as client:
        yield client


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


# ------------------------------------------------------------------------------------------------------- same values


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": "float32", "bounds": (-1.0, 1.0)},
        {"baseline": "center", "bounds": (None, 1.0), "d": 1001},
        {"mirrored": False, "popsize": 5, "memory": "regenerate"},
    ],
)
def test_bits_of_a_serial_run(client, options):
    serial, opt = make_optimizer(**options), make_optimizer(**options)
    with DaskSource(values_of, client) as source:
        for _ in range(3):
            serial.tell([values_of(x) for x in serial.ask()])
            opt.ask()
            opt.tell(good(collect(source, points_of(opt), range(opt.n_candidates))))
        assert opt.mean.tobytes() == serial.mean.tobytes()
        assert opt.stds.tobytes() == serial.stds.tobytes()
        n = 3 * opt.n_candidates
        assert (source.counters.requests, source.counters.evaluations, source.counters.unknown) == (n, n, 0)


def test_vectorized(client):
    opt = make_optimizer(popsize=9, mirrored=False)
    expected = np.array([values_of(x) for x in opt.ask()])
    with DaskSource(lambda X: [values_of(x) for x in X], client, vectorized=True) as source:
        assert source.batch_size(9) == 5
        work = Driver(source).evaluate(points_of(opt), {}, range(9))
        assert source.counters.requests == 2
    assert np.array([work.records[i].values for i in range(9)]).tobytes() == expected.tobytes()


def test_rows_of_an_array(client):
    X = np.random.default_rng(0).normal(size=(7, 5))
    with DaskSource(values_of, client) as source:
        assert source(X).tobytes() == np.array([values_of(x) for x in X]).tobytes()
    with DaskSource(lambda X: X.sum(1), client, vectorized=True) as source:
        assert (source(X) == X.sum(1, keepdims=True)).all()


def test_final_mean(client):
    opt = make_optimizer()
    points = points_of(opt)
    points.get = lambda index: opt.mean if index == FINAL else opt.ask_one(index)
    with DaskSource(values_of, client) as source:
        assert good(collect(source, points, [FINAL]))[0].tolist() == values_of(opt.mean)


def test_seconds_are_the_functions_own(client):
    with DaskSource(lambda x: time.sleep(0.2) or 1.0, client) as source:
        (outcome,) = collect(source, points_of(make_optimizer()), [0])
    assert 0.2 <= outcome.seconds < PATIENCE


def test_two_searches_one_after_the_other(client):
    """Same generation number, other mean and bounds."""
    with DaskSource(values_of, client) as source:
        for options in ({"seed": 1}, {"seed": 1, "bounds": (-1.0, 1.0)}, {"seed": 1, "d": 7}, {"seed": 2}):
            opt = make_optimizer(**options)
            F = good(collect(source, points_of(opt), range(8)))
            assert F.tobytes() == np.array([values_of(x) for x in opt.ask()]).tobytes()


# ----------------------------------------------------------------------------------------------------------- traffic


@pytest.mark.parametrize("bounds", [None, (-1.0, 1.0)])
def test_traffic(client, bounds):
    """Mean and stds reach each worker once per generation, bounds once per run; nothing else of size d travels."""
    from bench import wire

    d, popsize, margin = 200_000, 16, 2**18
    opt = make_optimizer(d, bounds=bounds, popsize=popsize)
    opt.ask()
    wire.install_everywhere(client)
    client.amm.stop()  # its clock would make the figures depend on time
    with DaskSource(values_of, client) as source:
        for generation in range(4):
            before = wire.read_everywhere(client)
            F = good(collect(source, points_of(opt), range(popsize)))
            traffic = wire.read_everywhere(client) - before
            vectors = 2 * (1 + (generation == 0 and bounds is not None))
            lowest = vectors * d * 8  # one of the workers may have got no task, though not four times over
            assert lowest <= traffic.received <= 2 * vectors * d * 8 + margin
            assert abs(traffic.sent - traffic.received) < 2**16
            opt.tell(F)
            opt.ask()
            client.amm.run_once()  # drops what no task waits for from all workers but one
    client.amm.start()
    assert margin < d * 8  # so that one more vector would be seen


def test_memory_is_freed(client, cluster):
    def kept(dask_worker):
        return sum(len(entries) for kinds in _dask_worker._kept.values() for entries in kinds.values())

    opt = make_optimizer(d=1000, bounds=(-1.0, 1.0))
    with DaskSource(values_of, client) as source:
        for _ in range(5):
            opt.ask()
            opt.tell(good(collect(source, points_of(opt), range(8))))
        names = {key[0] for key in cluster.scheduler.tasks}
        assert len(names) <= 4, names  # function, bounds, and at most two generations
        assert max(client.run(kept).values()) == 4
    wait_until(lambda: not cluster.scheduler.tasks, "the scheduler forgetting all keys")
    assert set(client.run(kept).values()) == {0}
    wait_until(lambda: not any(client.has_what().values()), "the workers freeing all keys")
    assert not client.futures


def test_worker_that_has_forgotten_is_told_again(client):
    opt = make_optimizer(bounds=(-1.0, 1.0))
    with DaskSource(values_of, client) as source:
        first = good(collect(source, points_of(opt), range(8)))
        client.run(_dask_worker.forget, source._run)
        assert good(collect(source, points_of(opt), range(8))).tobytes() == first.tobytes()


def test_many_workers_get_copies_from_several(cluster, client, monkeypatch):
    client.wait_for_workers(2, timeout=PATIENCE)
    monkeypatch.setattr(_dask_shipment, "_MANY_WORKERS", 2)
    monkeypatch.setattr(_dask_shipment, "_MANY_BYTES", 0)
    opt = make_optimizer(bounds=(-1.0, 1.0))
    client.amm.stop()
    with DaskSource(values_of, client) as source:
        source.start(points_of(opt), [Job(0)])
        first = good(source.poll(PATIENCE))
        # The task ran on one worker; what it needed is on both.
        assert {len(task.who_has) for task in cluster.scheduler.tasks.values() if "data" in task.key[0]} == {2}
        F = good(collect(source, points_of(opt), range(8)))
    client.amm.start()
    assert F.tobytes() == np.array([values_of(x) for x in opt.ask()]).tobytes()
    assert (F[0] == first[0]).all()


@pytest.mark.parametrize("direct", [True, False])
def test_with_and_without_a_way_to_the_workers(cluster, direct):
    opt = make_optimizer()
    with distributed.Client(cluster, direct_to_workers=direct) as client, DaskSource(values_of, client) as source:
        F = good(collect(source, points_of(opt), range(8)))
    assert F.tobytes() == np.array([values_of(x) for x in opt.ask()]).tobytes()


# ---------------------------------------------------------------------------------------------------------- failures


class StubbornError(Exception):
    """Can be neither shown nor pickled."""

    def __str__(self):
        raise RuntimeError

    def __reduce__(self):
        raise RuntimeError


def troublesome(x):
    kind = round(float(x[0]))
    if kind == 0:
        raise ValueError("the mesh is\nbroken " + 100_000 * "x")
    if kind == 1:
        sys.exit(3)
    if kind == 2:
        raise StubbornError
    return {
        3: "text",
        4: np.zeros((2, 2)),
        5: [],
        6: np.zeros(10**6),
        7: [1j],
        8: object(),
        9: [[1.0], [2.0, 3.0]],
        10: [np.nan, np.inf],
    }.get(kind, [x[0], 1])


def test_failures_cost_their_own_row(client):
    points = Points.of_array(np.arange(12.0)[:, None])
    with DaskSource(troublesome, client) as source:
        outcomes = collect(source, points, range(12))
        assert source.counters.evaluations == 12
    errors = [outcome.error for outcome in outcomes]
    assert errors[0].startswith("ValueError: the mesh is broken xxx")
    assert "in troublesome" in outcomes[0].traceback
    assert errors[1] == "SystemExit: 3"
    assert errors[2].startswith("StubbornError")
    assert errors[3].startswith("`fun` must return real numbers; got str")
    assert errors[4] == "`fun` must return m numbers; got shape (2, 2)."
    assert errors[5] == "`fun` must return m numbers; got shape (0,)."
    assert errors[6] == "`fun` must return at most 65536 numbers; got 1000000."
    assert errors[7].startswith("`fun` must return real numbers; got list of dtype complex128")
    assert errors[8].startswith("`fun` must return real numbers; got object")
    assert "ValueError" in errors[9]
    np.testing.assert_array_equal(outcomes[10].values, [np.nan, np.inf])
    assert outcomes[11].values.tolist() == [11.0, 1.0]
    for outcome in outcomes[:10]:
        assert outcome.values is None
        assert outcome.retry
        assert 0 < len(outcome.error) <= 310
        assert outcome.error.isprintable()
        assert len(outcome.traceback) <= 10_000


def test_vectorized_failure_costs_its_call(client):
    opt = make_optimizer()
    with DaskSource(lambda X: X[:1], client, vectorized=True) as source:
        source.start(points_of(opt), [Job(0), Job(1)])
        outcomes = source.poll(PATIENCE)
    assert [outcome.job.candidate for outcome in outcomes] == [0, 1]
    assert all(outcome.error == "`fun` must return shape (2, m); got shape (1, 20)." for outcome in outcomes)
    assert all(outcome.alone for outcome in outcomes)


class Locked:
    """Cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, x):
        return 1.0


def fail_to_load():
    raise ModuleNotFoundError("No module named 'mesher'")


class MissingThere:
    """Can be pickled, but not unpickled."""

    def __call__(self, x):
        return 1.0

    def __reduce__(self):
        return fail_to_load, ()


def test_function_that_cannot_travel(client):
    with pytest.raises(TypeError, match=r"`fun` must be picklable to run on a Dask cluster; .*Locked: TypeError: "):
        DaskSource(Locked(), client)
    with pytest.raises(TypeError, match="`fun` must be callable; got int"):
        DaskSource(3, client)
    with DaskSource(MissingThere(), client) as source:
        (outcome,) = collect(source, points_of(make_optimizer()), [0])
    assert outcome.error == (
        "the objective cannot be loaded on a worker: ModuleNotFoundError: No module named 'mesher'"
    )
    assert not outcome.billed


def test_other_version_on_the_worker(client, monkeypatch):
    monkeypatch.setattr(module, "__version__", "0.0.1")
    with DaskSource(values_of, client) as source:
        (outcome,) = collect(source, points_of(make_optimizer()), [0])
    assert outcome.error.endswith("and 0.0.1 where the search runs; they must be the same")
    assert not outcome.billed


class UnpicklableAnswerError:
    def __reduce__(self):
        return fail_to_load, ()


def test_task_that_dask_cannot_run(client, monkeypatch):
    """As when pyasmg is not installed on the workers: the task itself cannot be unpickled."""
    monkeypatch.setattr(module, "__version__", UnpicklableAnswerError())
    with DaskSource(values_of, client) as source:
        (outcome,) = collect(source, points_of(make_optimizer()), [0])
        assert source.counters.unknown == 1
    assert outcome.error.startswith("it could not run on a Dask worker: ")
    assert "mesher" in outcome.error or "deserializ" in outcome.error


def test_clients_that_do_not_do(client, cluster):
    with pytest.raises(TypeError, match=r"must be a distributed\.Client; got str"):
        DaskSource(values_of, "tcp://127.0.0.1:8786")
    with distributed.Client(cluster) as other:
        pass
    with pytest.raises(ConnectionError, match="its status is 'closed'"):
        DaskSource(values_of, other)

    async def use_asynchronous():
        async with distributed.Client(cluster.scheduler_address, asynchronous=True) as other:
            with pytest.raises(TypeError, match="must be synchronous"):
                DaskSource(values_of, other)

    asyncio.run(use_asynchronous())
    with pytest.raises(ValueError, match="timeout"):
        DaskSource(values_of, client, timeout=0.0)


def test_timeout(client, tmp_path):
    """More evaluations hang than there are workers; the others are evaluated all the same."""
    gate = Gate(tmp_path)

    def fun(x):
        if x[0] < 3:
            gate(x)
        distributed.get_worker()  # works in the thread that is watched, too
        return x[0]

    with DaskSource(fun, client, timeout=1.0) as source:
        outcomes = collect(source, Points.of_array(np.arange(6.0)[:, None]), range(6))
        assert [outcome.error for outcome in outcomes[:3]] == 3 * ["no answer within 1 s"]
        assert good(outcomes[3:]).ravel().tolist() == [3.0, 4.0, 5.0]
        assert (source.counters.unknown, source.counters.evaluations) == (3, 3)
        gate.open.touch()
        assert source.poll(0.3) == []  # late answers are ignored


def test_runaways_are_bounded(monkeypatch):
    monkeypatch.setattr(_dask_worker, "_MOST_RUNAWAYS", 2)
    end = threading.Event()
    answers = [_dask_worker._within(0.05, lambda: end.wait(PATIENCE)) for _ in range(3)]
    end.set()
    assert [answer.started for answer in answers] == [True, True, False]
    assert answers[2].error.startswith("not started: ")
    wait_until(lambda: _dask_worker._room(0.0), "the runaways' end")


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
        assert source.name == f"{__name__}:values_of"


def test_import_of_pyasmg_does_not_import_dask():
    code = "import sys, pyasmg, pyasmg.evaluation.dask; sys.exit('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_answers_are_small():
    answer = _dask_worker.Answer(np.zeros((1, 3)), 0.1, process=_dask_worker._PROCESS)
    assert len(pickle.dumps(answer, protocol=5)) < 500
