"""Tuning runs that are interrupted anywhere and go on: the same bits, and nothing asked twice."""

import numpy as np
import pytest

from pyasmg import StoreError
from pyasmg.clip._tune import tune
from pyasmg.clip._tune_methods import METHODS
from pyasmg.evaluation import Retry
from pyasmg.store import RunReader
from tests.clip.toy import Logged

SMALL = {"d": 5, "popsize": 6, "max_queries": 60, "validate_every": 2, "seed": 3, "progress": False}
# Two prompts per call: an interrupt leaves some of a generation recorded and the rest not.
PARTS = {"max_batch": 2}


class Interrupted(Logged):
    """Ctrl-C comes in call number ``at``."""

    def __init__(self, at):
        super().__init__(**PARTS)
        self._left = at

    def _count(self):
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1

    def losses(self, prompts, batch_id=-1):
        self._count()
        return super().losses(prompts, batch_id)

    def evaluate(self, prompts, split="test"):
        self._count()
        return super().evaluate(prompts, split)


def whole(**options):
    toy = Logged(**PARTS)
    return tune(toy, **{**SMALL, **options}), toy.asked


def check_same(result, expected):
    np.testing.assert_array_equal(result.v, expected.v)
    np.testing.assert_array_equal(result.run.x, expected.run.x)
    np.testing.assert_array_equal(result.run.stds, expected.run.stds)
    np.testing.assert_array_equal(result.run.fun, expected.run.fun)
    np.testing.assert_array_equal(result.tuned.losses, expected.tuned.losses)
    assert result.generation == expected.generation
    assert result.queries == expected.queries
    assert list(result.validations) == list(expected.validations)
    for generation, scores in expected.validations.items():
        np.testing.assert_array_equal(result.validations[generation].losses, scores.losses)
    for name, column in expected.run.history.items():
        np.testing.assert_array_equal(result.run.history[name], column)


# In which call: a validation, the middle of a generation, the final mean, the test.
@pytest.mark.parametrize(
    ("method", "at"),
    [
        *[("asmg", at) for at in (0, 1, 3, 7, 9, -3, -2, -1)],
        *[(m, at) for m in METHODS if m != "asmg" for at in (1, 9, -2)],
    ],
)
def test_interrupted_anywhere(tmp_path, method, at):
    expected, everything = whole(method=method)
    n_calls = sum(about == "test" for about, _ in everything) // 2 + expected.queries["validation"] + 1
    n_calls += 3 * expected.run.n_iterations
    first = Interrupted(at % n_calls)
    options = {**SMALL, "method": method, "store": tmp_path / "run.db"}
    result = tune(first, **options)
    assert "interrupted" in result.run.stop
    assert "interrupted by the user" in result.run.message
    assert result.tuned is None
    second = Logged(**PARTS)
    check_same(tune(second, **options), expected)
    assert first.asked + second.asked == everything
    third = Logged(**PARTS)
    check_same(tune(third, **options), expected)  # it is over: nothing is left to ask
    assert third.asked == []


def test_interrupted_again_and_again(tmp_path):
    expected, everything = whole()
    asked, options = [], {**SMALL, "store": tmp_path / "run.db"}
    while True:
        toy = Interrupted(2)
        result = tune(toy, **options)
        asked += toy.asked
        if result.tuned is not None:
            break
    check_same(result, expected)
    assert asked == everything


def test_the_cost_of_all_sessions(tmp_path):
    options = {**SMALL, "store": tmp_path / "run.db", "price_per_query": 0.25}
    tune(Interrupted(9), **options)
    result = tune(Logged(**PARTS), **options)
    assert result.run.cost == 0.25 * result.queries["total"]
    with RunReader(tmp_path / "run.db") as reader:
        totals = reader.totals()
    assert totals["evaluations"] == totals["ok"] == result.queries["total"]
    assert totals["cost"] == result.run.cost


def test_a_larger_budget_goes_on(tmp_path):
    expected, _ = whole(max_queries=100, test=False)
    options = {**SMALL, "test": False, "store": tmp_path / "run.db"}
    first, second = Logged(**PARTS), Logged(**PARTS)
    small = tune(first, **options)
    large = tune(second, **{**options, "max_queries": 100})
    assert large.run.n_iterations > small.run.n_iterations
    np.testing.assert_array_equal(large.run.x, expected.run.x)
    np.testing.assert_array_equal(large.run.fun, expected.run.fun)
    assert not set(first.asked) & set(second.asked)


def test_the_test_split_is_touched_once(tmp_path):
    options = {**SMALL, "store": tmp_path / "run.db"}
    tune(Logged(**PARTS), **options)
    toy = Logged(**PARTS)
    with pytest.raises(StoreError, match="a second time"):
        tune(toy, **{**options, "max_queries": 100})
    assert toy.asked == []


def test_a_run_that_money_has_ended_stays_ended(tmp_path):
    class Flaky(Logged):
        def losses(self, prompts, batch_id=-1):
            losses = super().losses(prompts, batch_id)
            if len(self.asked) % 4 == 0:
                losses[0] = np.nan
            return losses

    options = {**SMALL, "store": tmp_path / "run.db", "price_per_query": 1.0, "max_cost": 50.0, "max_queries": None}
    options["retry"] = Retry(20, backoff=0.0)
    first = tune(Flaky(**PARTS), **options)
    assert "max_cost" in first.run.stop
    assert first.tuned is not None
    toy = Logged(**PARTS)
    check_same(tune(toy, **options), first)
    assert toy.asked == []
    with pytest.raises(StoreError, match="a second time"):
        tune(toy, **{**options, "max_cost": 100.0})


@pytest.mark.parametrize(
    "changes",
    [{"seed": 4}, {"d": 6}, {"method": "es"}, {"validate_every": 3}, {"projection_seed": 9}, {"select": "last"}],
)
def test_another_run_in_the_store(tmp_path, changes):
    options = {**SMALL, "store": tmp_path / "run.db"}
    tune(Interrupted(5), **options)
    with pytest.raises(StoreError, match="other settings"):
        tune(Logged(**PARTS), **{**options, **changes})
    with pytest.raises(StoreError, match="holds a run already"):
        tune(Logged(**PARTS), resume="never", **options)
