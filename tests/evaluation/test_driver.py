"""Asking: retries, budgets, stragglers, lost generations, whatever the source is."""

import functools
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import pyasmg
from pyasmg.evaluation import Budget, CallableSource, Driver, Outcome, Retry, Source
from pyasmg.evaluation._driver import evaluate_rows


def pair(x):
    return [float(np.sum((x - 1) ** 2)), float(np.sum((x + 1) ** 2))]


START = np.full(4, 3.0)
OPTIONS = {"popsize": 8, "seed": 3, "max_evaluations": 400}


def same(a, b):
    return a.x.tobytes() == b.x.tobytes() and a.fun.tobytes() == b.fun.tobytes()


class Script(Source):
    """Answers each job as a script says, and remembers what was asked when."""

    def __init__(self, answer, n_slots=1, batch=1):
        super().__init__()
        self.answer, self._n_slots, self._batch = answer, n_slots, batch
        self.calls, self.times, self.waiting, self.n_cancelled = [], [], [], 0

    name = "script"

    @property
    def n_slots(self):
        return self._n_slots

    def batch_size(self, n_jobs):
        return self._batch

    def start(self, points, jobs):
        assert len(self.waiting) < self._n_slots
        self.calls.append([tuple(job) for job in jobs])
        self.times.append(time.monotonic())
        self.waiting.append([self.answer(job, points.get(job.candidate)) for job in jobs])

    def poll(self, timeout):
        ready = [outcome for call in self.waiting for outcome in call if outcome is not None]
        self.waiting = [[outcome for outcome in call if outcome is None] for call in self.waiting]
        self.waiting = [call for call in self.waiting if call]
        if not ready and timeout is not None:
            time.sleep(timeout)
        return ready[::-1]  # any order will do

    def cancel(self):
        self.n_cancelled += 1
        self.waiting.clear()


def good(job, x):
    return Outcome(job, np.array([x.sum(), job.candidate]))


# ------------------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("n_slots", [1, 3])
@pytest.mark.parametrize("batch", [1, 4])
def test_what_fails_is_asked_again(n_slots, batch):
    def answer(job, x):
        return good(job, x) if job.attempt > job.candidate % 3 else Outcome(job, error="not yet")

    source = Script(answer, n_slots, batch)
    X = np.arange(20.0).reshape(10, 2)
    F = evaluate_rows(source, X, Driver(source, retry=Retry(attempts=3, backoff=0.001)))
    np.testing.assert_array_equal(F, np.column_stack((X.sum(axis=1), np.arange(10))))
    assert source.counters.retries == sum(i % 3 for i in range(10))
    jobs = [job for call in source.calls for job in call]
    assert sorted(jobs) == [(i, k) for i in range(10) for k in range(1, i % 3 + 2)]
    assert source.failures == []


def test_attempts_come_to_an_end():
    source = Script(lambda job, x: Outcome(job, error=f"attempt {job.attempt}", retry=job.candidate != 2))
    F = evaluate_rows(source, np.zeros((3, 2)), Driver(source, retry=Retry(attempts=3, backoff=0.0)))
    assert np.isnan(F).all()
    assert [failure.reason for failure in source.failures] == ["attempt 3", "attempt 3", "attempt 1"]


def test_waits_grow_and_honour_retry_after():
    source = Script(lambda job, x: Outcome(job, error="busy", retry_after=0.3 if job.attempt == 1 else 0.0))
    evaluate_rows(source, np.zeros((1, 1)), Driver(source, retry=Retry(attempts=4, backoff=0.02)))
    waits = np.diff(source.times)
    assert waits[0] >= 0.3
    assert 0.02 <= waits[1] < 0.3
    assert 0.04 <= waits[2] < 0.3
    delays = [Retry(backoff=1.0, longest=5.0).delay(attempt, 0.0) for attempt in (1, 2, 3, 4, 100)]
    assert all(low <= delay <= 2 * low for low, delay in zip((0.5, 1.0, 2.0, 2.5, 2.5), delays, strict=True))


def test_what_may_have_spoilt_a_batch_is_asked_alone():
    def answer(job, x):
        return good(job, x) if job.attempt > 1 else Outcome(job, error="bad batch", alone=True)

    source = Script(answer, batch=5)
    evaluate_rows(source, np.zeros((5, 2)), Driver(source, retry=Retry(attempts=2, backoff=0.0)))
    assert [len(call) for call in source.calls] == [5, 1, 1, 1, 1, 1]


def test_the_first_good_answer_fixes_the_number_of_objectives():
    answers = {0: [np.nan], 1: [1.0, 2.0], 2: [1.0], 3: [3.0, np.inf], 4: [], 5: [5.0, 6.0]}
    source = Script(lambda job, x: Outcome(job, np.array(answers[job.candidate])))
    F = evaluate_rows(source, np.zeros((6, 1)))
    np.testing.assert_array_equal(F[[1, 5]], [[1.0, 2.0], [5.0, 6.0]])
    assert np.isnan(F[[0, 2, 3, 4]]).all()
    reasons = {failure.candidate: failure.reason for failure in source.failures}
    assert "finite numbers; got [nan]" in reasons[0]
    assert "2 numbers; got 1" in reasons[2]
    assert "finite numbers; got [3.0, inf]" in reasons[3]
    assert "2 numbers; got 0" in reasons[4]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"attempts": 0}, ValueError, "`attempts` must be an integer >= 1; got 0"),
        ({"attempts": 1.5}, TypeError, "`attempts`"),
        ({"backoff": -1.0}, ValueError, "`backoff`"),
        ({"longest": np.nan}, ValueError, "`longest`"),
    ],
)
def test_bad_retries(options, error, words):
    with pytest.raises(error, match=words):
        Retry(**options)
    with pytest.raises(TypeError, match="`retry` must be a Retry or a number of attempts; got str"):
        pyasmg.minimize(pair, START, 1.0, retry="twice", **OPTIONS)


class Interrupted:
    """A keeper in whose work Ctrl-C falls, before or after everything is saved."""

    def __init__(self, when):
        self.when, self.saved, self.calls = when, {}, 0

    def record(self, generation, records):
        self.calls += 1
        if self.calls == 3 and self.when == "before":
            raise KeyboardInterrupt
        self.saved.update({record.candidate: record for record in records})
        if self.calls == 3:
            raise KeyboardInterrupt
        return ""


@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_while_an_answer_is_saved_does_not_lose_it(when):
    source, keeper = Script(good, n_slots=2), Interrupted(when)
    driver = Driver(source, keeper=keeper, budget=Budget(price=1.0))
    X = np.zeros((8, 1))
    with pytest.raises(KeyboardInterrupt):
        evaluate_rows(source, X, driver)
    asked = {job[0] for call in source.calls for job in call}
    assert set(keeper.saved) == asked
    assert driver.budget.cost == len(asked)
    assert source.n_cancelled == 1


# ------------------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize("n_slots", [1, 5])
def test_money_is_never_overrun(n_slots):
    source = Script(lambda job, x: Outcome(job, np.array(pair(x))), n_slots)
    result = pyasmg.minimize(source, START, 1.0, **OPTIONS, max_cost=1.0, cost_per_evaluation=0.01)
    assert result.stop == {"max_cost": 1.0}
    assert result.fun is not None
    assert result.success
    n = sum(len(call) for call in source.calls)
    assert n == 12 * 8 + 1  # one generation more would be 105 cents
    assert result.cost == pytest.approx(0.01 * n)


def test_reported_costs_count():
    def answer(job, x):
        return Outcome(job, np.array(pair(x)), cost=0.5 if job.candidate == 3 else 0.125)

    source = Script(answer, n_slots=3)
    result = pyasmg.minimize(source, START, 1.0, **OPTIONS, max_cost=10.0)
    assert result.stop == {"max_cost": 10.0}
    assert 4.0 < result.cost <= 10.0
    assert result.cost == sum(0.5 if job[0] == 3 else 0.125 for call in source.calls for job in call)


def test_failed_attempts_cost_what_they_may_have_cost():
    def answer(job, x):
        if job.attempt == 1:
            return Outcome(job, error="refused", billed=False)
        return Outcome(job, error="lost") if job.attempt == 2 else Outcome(job, np.array(pair(x)))

    options = {**OPTIONS, "max_evaluations": 9}
    retry = Retry(attempts=3, backoff=0.0)
    result = pyasmg.minimize(Script(answer), START, 1.0, retry=retry, cost_per_evaluation=1.0, **options)
    assert result.cost == 18.0
    assert result.n_evaluations == 9


def test_retries_cannot_overrun_the_budget():
    source = Script(lambda job, x: Outcome(job, error="lost"), n_slots=4)
    result = pyasmg.minimize(
        source, START, 1.0, retry=Retry(attempts=100, backoff=0.0), cost_per_evaluation=1.0, max_cost=30.0, **OPTIONS
    )
    assert sum(len(call) for call in source.calls) <= 30
    assert result.stop == {"max_cost": 30.0}
    assert result.n_iterations == 0


@pytest.mark.parametrize("workers", [0, 3])
def test_seconds_are_never_overrun(workers):
    def slow(x):
        time.sleep(0.02)
        return pair(x)

    executor = ThreadPoolExecutor(workers) if workers else None
    begin = time.monotonic()
    result = pyasmg.minimize(
        slow, START, 1.0, max_seconds=1.0, executor=executor, **{**OPTIONS, "max_evaluations": 10**6}
    )
    assert time.monotonic() - begin < 1.5
    assert result.stop == {"max_seconds": 1.0}
    assert "budget of seconds" in result.message
    assert result.fun is not None
    assert result.n_iterations >= 2
    assert 0.5 < result.seconds < 1.5
    if executor:
        executor.shutdown()


def test_a_stored_run_has_one_budget(tmp_path):
    options = {"cost_per_evaluation": 1.0, "store": tmp_path / "run.db", **OPTIONS}
    fun = functools.partial(pair)
    assert pyasmg.minimize(fun, START, 1.0, max_cost=20.0, **options).cost == 17.0  # two generations and the mean
    more = pyasmg.minimize(fun, START, 1.0, max_cost=34.0, **options)
    assert (more.cost, more.n_iterations) == (34.0, 4)
    again = pyasmg.minimize(fun, START, 1.0, max_cost=34.0, **options)
    assert same(again, more)
    assert again.cost == 34.0


def test_a_generation_that_was_cut_short_is_kept(tmp_path):
    """The price turns out to be higher than thought in the middle of a generation."""

    def answer(job, x):
        return Outcome(job, np.array(pair(x)), cost=1.0 if answer.dear else 0.1)

    answer.dear = True
    path = tmp_path / "run.db"
    first = Script(answer)
    result = pyasmg.minimize(first, START, 1.0, store=path, max_cost=6.5, **OPTIONS)
    assert result.n_iterations == 0
    assert result.cost == 6.0  # five of the generation, and the mean
    second = Script(answer)
    result = pyasmg.minimize(second, START, 1.0, store=path, max_cost=1000.0, **{**OPTIONS, "max_evaluations": 18})
    asked = [job[0] for call in second.calls for job in call]
    assert asked[:3] == [5, 6, 7]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_seconds": 0.0}, "`max_seconds` must be a finite number > 0; got 0"),
        ({"max_cost": -1.0}, "`max_cost`"),
        ({"cost_per_evaluation": np.nan}, "`cost_per_evaluation`"),
        ({"min_success": 0.0}, "`min_success`"),
        ({"min_success": 1.1}, "`min_success`"),
        ({"straggler_timeout": 0.0}, "`straggler_timeout`"),
        ({"timeout": -1.0}, "`timeout`"),
        ({"resume": "perhaps"}, "`resume` must be 'auto' or 'never'"),
    ],
)
def test_bad_budgets(options, words):
    with pytest.raises(ValueError, match=words):
        pyasmg.minimize(pair, START, 1.0, **OPTIONS, **options)


def test_a_budget_by_itself():
    budget = Budget(max_cost=1.0, price=0.1)
    assert budget.spent(10) == ""
    assert budget.spent(11) == "max_cost"
    for _ in range(10):
        budget.charge(0.1, 0.0)
    assert budget.spent(0) == ""
    assert budget.spent(1) == "max_cost"


# ------------------------------------------------------------------------------------------ failures and slow ones


@pytest.mark.parametrize("workers", [1, 4])
def test_a_straggler_does_not_hold_the_generation(workers):
    release = threading.Event()
    calls = []

    def fun(x):
        calls.append(1)
        if len(calls) == 11:
            release.wait(20)
        return pair(x)

    begin = time.monotonic()
    with ThreadPoolExecutor(workers + 1) as executor:
        try:
            result = pyasmg.minimize(
                fun, START, 1.0, executor=executor, straggler_timeout=0.3, **{**OPTIONS, "max_evaluations": 41}
            )
        finally:
            release.set()
    assert time.monotonic() - begin < 10
    assert result.n_failed == 1
    assert "straggler_timeout" in result.failures[0].reason
    assert result.counters["unknown"] == 1
    assert result.n_iterations == 5


def test_hanging_in_every_slot_does_not_hold_the_generation():
    """Two of two slots hang while others wait to be started; a third candidate waits for its second attempt."""

    def answer(job, x):
        if job.candidate in (1, 2) and job.attempt == 1:
            return None
        return good(job, x) if job.candidate != 0 or job.attempt > 1 else Outcome(job, error="not yet")

    source = Script(answer, n_slots=2)
    driver = Driver(source, retry=Retry(attempts=2, backoff=0.4), straggler_timeout=0.2)
    before = time.process_time()
    F = evaluate_rows(source, np.zeros((6, 2)), driver)
    assert time.process_time() - before < 0.3  # waits, does not spin
    assert np.isnan(F[:, 0]).tolist() == [False, True, True, False, False, False]
    assert source.n_cancelled == 1


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor])
def test_a_function_that_hangs_is_given_up(pool):
    release = threading.Event()
    calls = []

    def fun(x):
        calls.append(1)
        if len(calls) % 10 == 5:
            release.wait(20)
        return pair(x)

    executor = None if pool is None else pool(6)
    try:
        result = pyasmg.minimize(fun, START, 1.0, executor=executor, timeout=0.2, **{**OPTIONS, "max_evaluations": 33})
    finally:
        release.set()
        if executor:
            executor.shutdown()
    assert result.n_failed == 3
    assert all("no answer within 0.2 s" in failure.reason for failure in result.failures)


@pytest.mark.parametrize(
    ("min_success", "n_failing", "fails"), [(0.5, 4, False), (0.5, 5, True), (1.0, 1, True), (0.1, 7, False)]
)
def test_a_share_must_succeed(min_success, n_failing, fails):
    def answer(job, x):
        failing = 0 <= job.candidate < n_failing
        return Outcome(job, error="bad") if failing else Outcome(job, np.array(pair(x)))

    options = {**OPTIONS, "max_evaluations": 20, "min_success": min_success}
    source = Script(answer)
    if fails:
        with pytest.raises(pyasmg.EvaluationError, match=r"of 8 evaluations failed in generation 0"):
            pyasmg.minimize(source, START, 1.0, **options)
        assert len(source.calls) <= n_failing  # the rest is not paid for
    else:
        assert pyasmg.minimize(source, START, 1.0, **options).n_failed == 2 * n_failing


def test_a_source_at_its_end_stops_the_run_at_once(tmp_path):
    def answer(job, x):
        return (
            Outcome(job, error="the key was refused", fatal=True) if answer.broken else Outcome(job, np.array(pair(x)))
        )

    answer.broken = True
    source = Script(answer)
    with pytest.raises(pyasmg.EvaluationError, match=r"generation 0 cannot be evaluated any further.*key was refused"):
        pyasmg.minimize(source, START, 1.0, store=tmp_path / "run.db", **OPTIONS)
    assert len(source.calls) == 1
    answer.broken = False
    resumed = pyasmg.minimize(Script(answer), START, 1.0, store=tmp_path / "run.db", **OPTIONS)
    assert same(resumed, pyasmg.minimize(Script(answer), START, 1.0, **OPTIONS))
    assert resumed.n_failed == 0


# ------------------------------------------------------------------------------------------------------ functions


@pytest.mark.parametrize("pool", [None, ThreadPoolExecutor, ProcessPoolExecutor])
def test_called_directly(pool):
    executor = None if pool is None else pool(2)
    with CallableSource(pair, executor=executor) as source:
        X = np.random.default_rng(0).standard_normal((7, 3))
        np.testing.assert_array_equal(source(X), [pair(x) for x in X])
        assert source.counters.requests == source.counters.evaluations == 7
        with pytest.raises(ValueError, match=r"`X` must be of shape \(k, d\); got shape \(3,\)"):
            source(np.ones(3))
    if executor:
        executor.shutdown()


def test_vectorized_rows_go_in_equal_shares():
    sizes = []

    def fun(X):
        sizes.append(len(X))
        return np.column_stack((X.sum(axis=1), X.max(axis=1)))

    with ThreadPoolExecutor(3) as executor:
        source = CallableSource(fun, executor=executor, vectorized=True)
        X = np.random.default_rng(0).standard_normal((10, 3))
        np.testing.assert_array_equal(source(X), np.column_stack((X.sum(axis=1), X.max(axis=1))))
    assert sorted(sizes) == [2, 4, 4]


def test_a_source_does_not_take_the_options_of_functions():
    for option in ({"executor": object()}, {"vectorized": True}, {"timeout": 3.0}):
        with pytest.raises(TypeError, match=f"`{next(iter(option))}` is for Python functions"):
            pyasmg.minimize(Script(good), START, 1.0, **OPTIONS, **option)


@pytest.mark.parametrize(
    ("fun", "name"),
    [
        (pair, "tests.evaluation.test_driver:pair"),
        (functools.partial(functools.partial(pair)), "tests.evaluation.test_driver:pair"),
        (Script(good), "tests.evaluation.test_driver:Script"),
        (np.linalg.norm, "numpy.linalg:norm"),
    ],
)
def test_names(fun, name):
    assert CallableSource(fun).name == name
