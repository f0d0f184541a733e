"""minimize: real executors, failures, interrupts, budgets."""

import _thread
import concurrent.futures
import functools
import os
import signal
import threading
import time
import zlib

import numpy as np
import pytest

import pyasmg


def pair(x):
    return [float(np.sum((x - 1) ** 2)), float(np.sum((x + 1) ** 2))]


def pairs(X):
    return np.column_stack((((X - 1) ** 2).sum(axis=1), ((X + 1) ** 2).sum(axis=1)))


def dies(x):
    os._exit(3)


def fails_sometimes(x, share):
    if zlib.crc32(x.tobytes()) % 1000 < 1000 * share:
        raise RuntimeError("simulator crashed")
    return pair(x)


OPTIONS = {"max_evaluations": 600, "seed": 4, "popsize": 10}


def same(a, b):
    return a.x.tobytes() == b.x.tobytes() and a.fun.tobytes() == b.fun.tobytes()


@pytest.fixture(scope="module")
def serial():
    return pyasmg.minimize(pair, np.full(6, 3.0), 1.0, **OPTIONS)


def test_result(serial):
    assert serial.success
    assert serial.n_evaluations == 10 * 59 + 1 <= 600
    assert serial.n_failed == 0
    assert serial.n_iterations == 59
    assert serial.message == "the budget of evaluations is spent"
    np.testing.assert_allclose(serial.fun, pair(serial.x), rtol=1e-15)
    assert np.ptp(serial.x) < 0.2
    history = serial.history
    assert history["mean"].shape == history["best"].shape == history["weights"].shape == (59, 2)
    assert history["n_evaluations"].tolist() == list(range(10, 600, 10))
    assert (history["best"] <= history["mean"]).all()
    assert history["max_std"][-1] == serial.stds.max()
    np.testing.assert_array_equal(history["weights"][-1], serial.weights)
    assert history["stationarity"][-1] == serial.stationarity


@pytest.mark.parametrize("pool", [concurrent.futures.ThreadPoolExecutor, concurrent.futures.ProcessPoolExecutor])
@pytest.mark.parametrize("memory", ["store", "regenerate"])
def test_executors_give_the_same_bits(serial, pool, memory):
    with pool(2) as executor:
        result = pyasmg.minimize(pair, np.full(6, 3.0), 1.0, executor=executor, memory=memory, **OPTIONS)
    assert same(result, serial)


@pytest.mark.parametrize("memory", ["store", "regenerate"])
@pytest.mark.parametrize("workers", [0, 2])
def test_vectorized(serial, memory, workers):
    executor = concurrent.futures.ThreadPoolExecutor(workers) if workers else None
    result = pyasmg.minimize(pairs, np.full(6, 3.0), 1.0, vectorized=True, memory=memory, executor=executor, **OPTIONS)
    np.testing.assert_allclose(result.x, serial.x, rtol=1e-9)  # sums in another order
    if executor:
        executor.shutdown()


def test_single_objective_may_return_a_number():
    result = pyasmg.minimize(lambda x: float(x @ x), [2.0] * 5, 1.0, max_evaluations=2000, seed=0)
    assert result.fun.shape == (1,)
    assert result.fun[0] < 1e-6
    result = pyasmg.minimize(lambda X: (X**2).sum(axis=1), [2.0] * 5, 1.0, max_evaluations=500, seed=0, vectorized=True)
    assert result.fun.shape == (1,)


def test_failures_are_counted_and_kept_with_their_traceback():
    fun = functools.partial(fails_sometimes, share=0.12)
    result = pyasmg.minimize(fun, np.full(6, 3.0), 1.0, max_evaluations=1000, seed=1, popsize=20)
    assert 50 < result.n_failed < 250
    assert len(result.failures) == result.n_failed
    first = result.failures[0]
    assert first.reason == "RuntimeError: simulator crashed"
    assert "fails_sometimes" in first.traceback
    assert 0 <= first.candidate < 20
    assert np.ptp(result.x) < 0.5


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([np.nan, 1.0], "finite numbers"),
        ([1.0, 2.0, 3.0], "2 numbers; got 3"),
        ("text", "real numbers"),
        (None, "real numbers"),
        ([[1.0], [2.0]], "shape"),
        ([1j, 2.0], "real numbers"),
        ([], "shape"),
    ],
)
def test_wrong_values_are_failed_evaluations(bad, reason):
    calls = []

    def fun(x):
        calls.append(1)
        return bad if len(calls) % 5 == 0 else pair(x)

    result = pyasmg.minimize(fun, np.zeros(3), 1.0, max_evaluations=60, popsize=10, seed=0)
    assert result.n_failed >= 8
    assert all(reason in failure.reason for failure in result.failures)


def test_more_than_half_failing_stops_with_the_last_good_state():
    calls = []

    def fun(x):
        calls.append(1)
        if len(calls) > 50:
            raise OSError("licence expired")
        return pair(x)

    with pytest.raises(pyasmg.EvaluationError, match=r"6 of 10 .* generation 5: .*licence expired") as caught:
        pyasmg.minimize(fun, np.zeros(3), 1.0, max_evaluations=1000, popsize=10, seed=0)
    error = caught.value
    assert error.result.n_iterations == 5
    assert error.result.n_evaluations == 50
    assert not error.result.success
    assert len(error.result.failures) == 6
    assert len(calls) == 56  # nothing is asked once the generation is lost
    assert error.result.history["mean"].shape == (5, 2)
    opt = pyasmg.ASMG.from_state_dict(error.state)
    opt.tell(pairs(opt.ask()))
    whole = pyasmg.ASMG(np.zeros(3), 1.0, popsize=10, seed=0, max_evaluations=999)
    for _ in range(6):
        whole.tell([pair(x) for x in whole.ask()])
    np.testing.assert_allclose(opt.mean, whole.mean, rtol=1e-9)


def test_half_failing_goes_on():
    def fun(x, calls=[]):  # noqa: B006
        calls.append(1)
        return pair(x) if len(calls) % 2 else [np.nan, np.nan]

    result = pyasmg.minimize(fun, np.zeros(3), 1.0, max_evaluations=101, popsize=10, seed=0)
    assert result.n_failed >= 50


def test_a_killed_worker_process_is_reported():
    with (
        concurrent.futures.ProcessPoolExecutor(1) as executor,
        pytest.raises(pyasmg.EvaluationError, match="BrokenProcessPool") as caught,
    ):
        pyasmg.minimize(dies, np.zeros(3), 1.0, max_evaluations=100, popsize=6, executor=executor)
    assert caught.value.result.n_iterations == 0
    assert len(caught.value.result.failures) >= 1
    assert caught.value.result.n_failed == 0


def test_the_final_evaluation_may_fail():
    calls = []

    def fun(x):
        calls.append(1)
        if len(calls) == 31:
            raise RuntimeError("last straw")
        return pair(x)

    result = pyasmg.minimize(fun, np.zeros(3), 1.0, max_evaluations=31, popsize=10, seed=0)
    assert not result.success
    assert result.fun is None
    assert "last straw" in result.message
    assert (result.failures[-1].generation, result.n_failed, result.n_evaluations) == (-1, 1, 31)


def test_callback_stops():
    seen = []

    def callback(opt):
        seen.append(opt.n_iterations)
        return opt.n_iterations == 4

    result = pyasmg.minimize(pair, np.zeros(3), 1.0, callback=callback, **OPTIONS)
    assert seen == [1, 2, 3, 4]
    assert result.stop == {"callback": True}
    assert "callback" in result.message
    assert result.success
    kept = pyasmg.minimize(pair, np.zeros(3), 1.0, callback=lambda opt: np.array([1, 2]), **OPTIONS)
    assert kept.n_iterations == 59


@pytest.fixture
def interruptible():
    """Take SIGINT as Python does by default: a job in the background of a shell inherits that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_returns_the_result_so_far(workers, interruptible):
    def fun(x):
        time.sleep(0.002)
        return pair(x)

    executor = concurrent.futures.ThreadPoolExecutor(workers) if workers else None
    timer = threading.Timer(0.3, _thread.interrupt_main)
    timer.start()
    result = pyasmg.minimize(fun, np.zeros(3), 1.0, max_evaluations=10**6, popsize=8, executor=executor)
    timer.join()
    if executor:
        executor.shutdown()
    assert "interrupted by the user" in result.message
    assert result.fun is None
    assert not result.success
    assert result.n_iterations > 0
    assert np.isfinite(result.x).all()


def test_memory_in_flight_is_bounded():
    alive, most = [0], [0]

    class Counting(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *args, **kwargs):
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            future = super().submit(*args, **kwargs)
            future.add_done_callback(lambda _: alive.__setitem__(0, alive[0] - 1))
            return future

    with Counting(2) as executor:
        pyasmg.minimize(pair, np.zeros(3), 1.0, max_evaluations=201, popsize=50, executor=executor)
    assert most[0] <= 4


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_evaluations": 10, "popsize": 10}, ValueError, "`max_evaluations`.*>= 11; got 10"),
        ({"max_evaluations": 1.5}, TypeError, "`max_evaluations`"),
        ({"max_evaluations": 100, "callback": 3}, TypeError, "`callback`"),
        ({"max_evaluations": 100, "executor": 3}, TypeError, "`executor` must be a concurrent.*got int"),
        ({"max_evaluations": 100, "store": 3}, TypeError, "`store` must be the path of a file; got 3"),
        ({"max_evaluations": 100, "store": ""}, TypeError, "`store` must be the path of a file; got ''"),
        ({"max_evaluations": 100, "bounds": (1, 0)}, ValueError, "`bounds`"),
        ({"max_evaluations": 100, "no_such_option": 1}, TypeError, "no_such_option"),
    ],
)
def test_bad_options(options, error, words):
    with pytest.raises(error, match=words):
        pyasmg.minimize(pair, np.zeros(3), 1.0, **options)
    with pytest.raises(TypeError, match="`fun`"):
        pyasmg.minimize(3, np.zeros(3), 1.0, max_evaluations=100)


def test_progress_is_shown_only_where_wanted(capfd):
    pyasmg.minimize(pair, np.zeros(3), 1.0, **OPTIONS)
    assert capfd.readouterr().err == ""  # no terminal here
    pyasmg.minimize(pair, np.zeros(3), 1.0, progress=True, **OPTIONS)
    shown = capfd.readouterr().err
    assert "generation" in shown
    assert "evaluati" in shown


@pytest.mark.parametrize("option", ["callback", "weighting"])
def test_an_exception_of_the_users_code_carries_the_state(option):
    calls = []

    def fails(_):
        calls.append(1)
        if len(calls) == 4:
            raise ZeroDivisionError("mine")
        return [1.0, 1.0]

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        pyasmg.minimize(pair, np.zeros(3), 1.0, **OPTIONS, **{option: fails})
    weighting = fails if option == "weighting" else None
    opt = pyasmg.ASMG.from_state_dict(caught.value.pyasmg_state, weighting=weighting)
    assert opt.n_iterations == (4 if option == "callback" else 3)


def test_ctrl_c_in_the_final_evaluation_loses_nothing():
    calls = []

    def fun(x):
        calls.append(1)
        if len(calls) == 31:
            raise KeyboardInterrupt
        return pair(x)

    result = pyasmg.minimize(fun, np.zeros(3), 1.0, max_evaluations=31, popsize=10, seed=0)
    assert "interrupted" in result.message
    assert (result.fun, result.n_evaluations, len(result.history["mean"])) == (None, 30, 3)
