"""The tuner: methods, budgets, validation, choice and test, here and through a server."""

import json

import numpy as np
import pytest
from safetensors import safe_open

from pyasmg import EvaluationError
from pyasmg.clip import Projection
from pyasmg.clip._tune import tune
from pyasmg.clip._tune_methods import METHODS
from pyasmg.clip._tune_plan import make_plan, n_queries
from pyasmg.clip.client import RemoteTask
from pyasmg.clip.server import create_app
from pyasmg.evaluation import Retry
from tests.clip.toy import Logged, Toy, serving

SMALL = {"d": 8, "popsize": 8, "max_queries": 300, "validate_every": 10, "seed": 1, "progress": False}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_tunes_and_counts(method):
    toy = Logged()
    result = tune(toy, method=method, **SMALL)
    assert len(toy.asked) == result.queries["total"] <= 300
    assert [about for about, _ in toy.asked].count("test") == result.queries["test"] == 2
    assert toy.asked[-1][0] == toy.asked[-2][0] == "test"
    assert [about for about, _ in toy.asked].count("validation") == result.queries["validation"]
    assert [about for about, _ in toy.asked].count(-1) == result.queries["final"] == 1
    batches = [about for about, _ in toy.asked if isinstance(about, int) and about >= 0]
    assert batches == sorted(batches)
    assert all(batches.count(b) == 8 for b in range(result.run.n_iterations))
    assert result.run.success
    assert result.tuned.losses.mean() < result.start.losses.mean() - 0.3
    np.testing.assert_array_equal(result.start.losses, Toy().evaluate(toy.start[None])[0][0].astype(np.float32))
    tuned = Toy().evaluate(result.prompt[None])
    np.testing.assert_array_equal(result.tuned.losses, tuned[0][0].astype(np.float32))
    np.testing.assert_array_equal(result.tuned.accuracies, tuned[1][0].astype(np.float32))


@pytest.mark.parametrize("method", METHODS)
def test_a_server_gives_the_same_bits(method):
    here = tune(Toy(), method=method, **SMALL)
    with serving(create_app(Toy())) as url, RemoteTask(url, concurrency=3, batch_size=2) as remote:
        there = tune(remote, method=method, **SMALL)
    np.testing.assert_array_equal(there.v, here.v)
    np.testing.assert_array_equal(there.tuned.losses, here.tuned.losses)
    np.testing.assert_array_equal(there.run.fun, here.run.fun)
    np.testing.assert_array_equal(there.offset + Toy().start, here.prompt)
    assert there.prompt is None
    assert there.queries == here.queries
    assert there.run.counters["evaluations"] == there.queries["total"]


def test_sending_v_gives_the_same_bits():
    projection = Projection(8, 2, 8, Toy.token_embedding_std, 5)
    here = tune(Toy(), projection_seed=5, **SMALL)
    with serving(create_app(Toy(), projection=projection)) as url, RemoteTask(url) as remote:
        there = tune(remote, send_v=True, **SMALL)
        with pytest.raises(ValueError, match=r"`d` must be that of the server's projection, 8; got 9"):
            tune(remote, send_v=True, **{**SMALL, "d": 9})
    np.testing.assert_array_equal(there.v, here.v)
    with pytest.raises(ValueError, match="projection of its own"):
        tune(Toy(), send_v=True, **SMALL)


# ------------------------------------------------------------------------------------------- budgets


def test_plans_spend_what_there_is():
    for n, every in [(20, 20), (7, 3), (4, 0), (10, 1)]:
        for budget in range(n + 5, 40 * n, 13):
            plan = make_plan(n_candidates=n, max_queries=budget, max_cost=None, price=None, validate_every=every)
            assert n_queries(plan.n_generations, n, every) <= budget < n_queries(plan.n_generations + 1, n, every)
            due = sum(plan.is_due(g) for g in range(plan.n_generations)) + (every > 0)
            assert plan.n_validations == due


def test_the_start_may_be_needed_without_validations():
    plan = make_plan(n_candidates=10, max_queries=64, max_cost=None, price=None, validate_every=0, needs_start=True)
    assert (plan.n_generations, plan.n_validations) == (6, 1)
    assert [plan.is_due(g) for g in range(4)] == [True, False, False, False]
    plan = make_plan(n_candidates=10, max_queries=63, max_cost=None, price=None, validate_every=0)
    assert (plan.n_generations, plan.n_validations) == (6, 0)


def test_the_usual_weights_do_not_depend_on_units():
    class Scaled(Toy):
        def losses(self, prompts, batch_id=-1):
            return super().losses(prompts, batch_id) * [1.0, 32.0, 0.25]

        def evaluate(self, prompts, split="test"):
            losses, accuracies = super().evaluate(prompts, split)
            return losses * [1.0, 32.0, 0.25], accuracies

    for every in (10, 0):
        plain, scaled = (tune(task, **{**SMALL, "validate_every": every}) for task in (Toy(), Scaled()))
        np.testing.assert_allclose(scaled.run.x, plain.run.x, rtol=1e-5)
        assert scaled.generation == plain.generation
    raw = [tune(task, weighting="level", **SMALL).run.x for task in (Toy(), Scaled())]
    assert np.abs(raw[0] - raw[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ({}, "must be given"),
        ({"max_cost": 1.0}, "needs `price_per_query`"),
        ({"max_cost": 1.0, "price_per_query": 0.0}, "needs `price_per_query`"),
        ({"max_queries": 12}, "`max_queries` >= 13; got 12"),
        ({"max_queries": 0}, "max_queries"),
        ({"max_cost": 0.12, "price_per_query": 0.01}, ">= 13; got 12"),
        ({"max_queries": 100, "price_per_query": -1.0}, "price_per_query"),
        ({"max_queries": 100, "validate_every": -1}, "validate_every"),
        ({"max_queries": 100, "select": "first"}, "`select`"),
        ({"max_queries": 100, "resume": "perhaps"}, "`resume`"),
        ({"max_queries": 100, "method": "adam"}, "`method`"),
        ({"max_queries": 100, "d": 0}, "`d`"),
    ],
)
def test_budgets_and_options_that_make_no_sense(budget, words):
    with pytest.raises(ValueError, match=words):
        tune(Toy(), **{"d": 4, "popsize": 8, "validate_every": 20, **budget})


@pytest.mark.parametrize("method", ["cma-es", "es", "asmg-ew"])
def test_options_of_other_methods(method):
    with pytest.raises(TypeError, match="`weighting` is for"):
        tune(Toy(), method=method, weighting="pareto", max_queries=100)


def test_money():
    result = tune(Toy(), **{**SMALL, "max_queries": None}, price_per_query=0.01, max_cost=3.0)
    assert result.queries == tune(Toy(), **SMALL).queries
    assert result.run.cost == pytest.approx(0.01 * result.queries["total"], rel=1e-12)


@pytest.mark.parametrize("max_cost", [20, 21, 26, 33, 44])
@pytest.mark.parametrize("period", [3, 4])
def test_no_budget_is_overrun_and_every_run_is_tested(max_cost, period):
    class Flaky(Logged):
        def losses(self, prompts, batch_id=-1):
            losses = super().losses(prompts, batch_id)
            if len(self.asked) % period == 0:
                losses[0] = np.nan
            return losses

    toy = Flaky(max_batch=2)
    options = {**SMALL, "popsize": 4, "validate_every": 2, "max_queries": None}
    result = tune(toy, price_per_query=1.0, max_cost=max_cost, retry=Retry(20, backoff=0.0), **options)
    assert len(toy.asked) == result.run.cost <= max_cost
    assert result.tuned is not None


def test_money_pays_for_repeated_questions_too():
    class Flaky(Logged):
        def losses(self, prompts, batch_id=-1):
            losses = super().losses(prompts, batch_id)
            if len(self.asked) % 5 == 0:
                losses[0] = np.nan
            return losses

    toy = Flaky()
    options = {**SMALL, "max_queries": None}
    result = tune(toy, retry=Retry(20, backoff=0.0), price_per_query=0.01, max_cost=3.0, **options)
    assert result.run.stop.keys() & {"max_cost", "max_iterations"}
    assert result.run.cost == pytest.approx(0.01 * len(toy.asked), rel=1e-9)
    assert result.run.cost <= 3.0 * (1 + 1e-9)
    assert len(toy.asked) > result.queries["total"]
    assert result.tuned is not None  # the money for the test was kept back


# ------------------------------------------------------------------------------------------- validation, choice, test


def test_the_best_mean_on_the_validation_split_is_chosen():
    means = {}
    result = tune(Toy(), callback=lambda opt: means.update({opt.n_iterations: opt.mean}), **SMALL)
    toy, projection = Toy(), Projection(8, 2, 8, Toy.token_embedding_std, 1)
    means[0] = np.zeros(8)
    start = result.validations[0]
    unit = start.losses / np.maximum(1 - start.accuracies, 0.01)
    for generation, scores in result.validations.items():
        prompt = toy.start + projection.apply(means[generation][None].astype(np.float32))
        np.testing.assert_array_equal(scores.losses, toy.evaluate(prompt, "validation")[0][0].astype(np.float32))
    ranks = {generation: (scores.losses / unit).mean() for generation, scores in result.validations.items()}
    assert result.generation == min(ranks, key=ranks.get)
    np.testing.assert_array_equal(result.v, means[result.generation])
    last = tune(Toy(), select="last", **SMALL)
    assert last.generation == last.run.n_iterations
    np.testing.assert_array_equal(last.v, last.run.x)


def test_the_start_is_the_answer_where_nothing_is_better():
    class Done(Toy):
        def evaluate(self, prompts, split="test"):
            moved = (np.asarray(prompts) != self.start).any(axis=(1, 2))
            losses = np.where(moved[:, None], 2.0, 1.0) * [1.0, 20.0, 0.5]
            return losses, 1 / (1 + losses)

    result = tune(Done(), **SMALL)
    assert result.generation == 0
    np.testing.assert_array_equal(result.v, np.zeros(8))
    np.testing.assert_array_equal(result.tuned.losses, result.start.losses)


def test_without_validation_and_test():
    toy = Logged()
    result = tune(toy, test=False, **{**SMALL, "validate_every": 0})
    assert (result.queries["validation"], result.queries["test"]) == (1, 0)  # the start, for the weights' units
    assert result.start is result.tuned is None
    assert result.generation == result.run.n_iterations
    assert {about for about, _ in toy.asked} == {"validation", -1, *range(result.run.n_iterations)}
    assert "-" in [cell for column in result.table().columns for cell in column.cells]


def test_a_validation_that_fails_is_told_and_not_fatal():
    class Blind(Toy):
        def evaluate(self, prompts, split="test"):
            if split == "validation":
                raise RuntimeError("no such split")
            return super().evaluate(prompts, split)

    result = tune(Blind(), **SMALL)
    assert result.validations == {}
    assert result.generation == result.run.n_iterations
    assert "no validation after generation 0: RuntimeError: no such split" in result.problems
    np.testing.assert_array_equal(result.run.x, tune(Toy(), weighting="level", **SMALL).run.x)
    assert result.tuned is not None


def test_a_task_that_fails_ends_the_run_in_words():
    class Broken(Toy):
        def losses(self, prompts, batch_id=-1):
            raise RuntimeError("out of memory")

    with pytest.raises(EvaluationError, match="out of memory") as caught:
        tune(Broken(), **SMALL)
    assert caught.value.tuned.run.n_iterations == 0
    assert caught.value.tuned.tuned is None


# ------------------------------------------------------------------------------------------- what comes back


def test_the_file(tmp_path):
    result = tune(Toy(), price_per_query=0.5, model_name="toy", **SMALL)
    result.save(tmp_path / "prompt.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["prompt.safetensors"]
    with safe_open(tmp_path / "prompt.safetensors", "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    np.testing.assert_array_equal(tensors["v"], result.v)
    np.testing.assert_array_equal(tensors["prompt"], result.prompt)
    np.testing.assert_array_equal(tensors["offset"], result.offset)
    assert metadata["format"] == "pyasmg.clip.prompt"
    read = {
        name: json.loads(metadata[name]) for name in ("settings", "weights", "queries", "tuned", "cost", "counters")
    }
    settings = read["settings"]
    assert (settings["model"], settings["d"], settings["n_ctx"], settings["seed"]) == ("toy", 8, 2, 1)
    assert settings["max_queries"] == 300
    assert list(read["weights"]) == list(Toy.task_names)
    assert read["queries"] == result.queries
    assert read["cost"] == 0.5 * result.queries["total"]
    assert read["tuned"]["accuracies"] == result.tuned.accuracies.tolist()
    # The prompt can be made again from what the file says.
    projection = Projection(8, 2, 8, settings["token_embedding_std"], settings["projection_seed"])
    np.testing.assert_array_equal(projection.apply(tensors["v"][None].astype(np.float32))[0], tensors["offset"])


def test_the_table():
    result = tune(Toy(), **SMALL)
    rows = dict(result.rows())
    assert list(rows) == [*Toy.task_names, "average", "worst"]
    for i, name in enumerate(Toy.task_names):
        before, after, gain, loss_before, loss_after, change = rows[name]
        assert before == 100 * result.start.accuracies[i]
        assert after == 100 * result.tuned.accuracies[i]
        assert gain == after - before
        assert (loss_before, loss_after) == (result.start.losses[i], result.tuned.losses[i])
        assert change == loss_after - loss_before
    assert rows["worst"][1] == 100 * result.tuned.accuracies.min()
    assert rows["average"][4] == pytest.approx(result.tuned.losses.mean(), rel=1e-12)
