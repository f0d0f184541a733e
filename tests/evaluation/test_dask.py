"""Evaluation on a real Dask cluster: the bits of a serial evaluation, little traffic, nothing lost with a worker."""

import asyncio
import sys
import threading
import time

import numpy as np
import pytest

from pyasmg.evaluation import Driver, Job, Points, _dask_shipment, _dask_worker
from pyasmg.evaluation import dask as module
from pyasmg.evaluation._base import FINAL
from pyasmg.evaluation.dask import DaskSource
from tests.evaluation.dask_calls import (
    PATIENCE,
    Gate,
    collect,
    distributed,
    good,
    make_optimizer,
    points_of,
    values_of,
    wait_until,
)

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
