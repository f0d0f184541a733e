"""A run keeps its budget, ends for a reason, and is not run again when it was finished before."""

import json

import numpy as np
import pytest

from bench.harness import OPTIMIZERS, Task, available, grid, make, missing, run, run_all
from bench.harness import optimizers as optimizers_module
from bench.harness.runs import runs_file

SUITE = "tests.bench.harness.toy_suite"
OURS = ["asmg", "asmg-paper", "asmg-ew", "es", "bes", "random"]


def task(optimizer="asmg", problem="sphere", **changes):
    fields = {
        "suite": SUITE,
        "problem": problem,
        "d": 5,
        "optimizer": optimizer,
        "popsize": 10,
        "seed": 1,
        "budget": 3000,
    }
    return Task(**{**fields, **changes})


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_every_optimizer_runs_within_the_budget(optimizer):
    package = OPTIMIZERS[optimizer].package
    if package:
        pytest.importorskip(package)
    for problem in ("sphere", "box"):
        result = run(task(optimizer, problem, budget=600))
        assert result.spent <= 600, problem
        assert len(result.trace) == len(grid(600)), problem
        assert result.trace[-1] == result.value, problem
        assert (result.end == "target") == (result.evaluations == result.spent) == (result.value <= 1e-2), result
        assert result.measures["points"] == 1 or OPTIMIZERS[optimizer].kind == "front", result
        again = run(task(optimizer, problem, budget=600))
        assert (again.trace, again.spent, again.end) == (result.trace, result.spent, result.end), problem


def test_asmg_reaches_the_target_and_says_when():
    result = run(task())
    assert result.end == "target"
    assert result.evaluations % 10 == 0
    short = run(task(budget=result.evaluations - 1))
    assert short.end == "budget"
    assert short.evaluations is None
    assert short.spent == result.evaluations - 10


def test_without_a_target_the_budget_is_spent():
    result = run(task("random", "no target", budget=95))
    assert (result.end, result.spent, result.evaluations) == ("budget", 90, None)


def test_a_peer_that_raises_has_failed_and_ours_may_not(monkeypatch):
    class Raises:
        def __init__(self, *args, **options): ...
        def ask(self):
            raise FloatingPointError("lost")

    import bench.baselines

    monkeypatch.setattr(bench.baselines, "CmaFull", Raises)
    assert run(task("cma-full")).end == "FloatingPointError: lost"
    monkeypatch.setattr(bench.baselines, "ES", Raises)
    with pytest.raises(FloatingPointError):
        run(task("es"))


def test_candidates_are_clipped_for_methods_without_bounds(monkeypatch):
    from tests.bench.harness import toy_suite

    seen = []
    original = toy_suite.make_problem

    def spying(name, d):
        problem = original(name, d)
        inner = problem.evaluate
        object.__setattr__(problem, "evaluate", lambda X: seen.append(X.copy()) or inner(X))
        return problem

    monkeypatch.setattr(toy_suite, "make_problem", spying)
    for optimizer in ("es", "asmg", "random"):
        seen.clear()
        run(task(optimizer, "box", d=6, budget=500))  # another d: not the cached problem
        everything = np.concatenate(seen)
        assert np.abs(everything).max() <= 1.0, optimizer
        assert np.abs(everything).max() > 0.9, optimizer
    from bench.harness.runs import problem_of

    problem_of.cache_clear()


def test_finished_runs_are_kept_until_something_changes(results, monkeypatch, capsys):
    from tests.bench.harness import toy_suite

    tasks = [task(optimizer, seed=seed) for optimizer in ("asmg", "random") for seed in range(2)]
    first = run_all(tasks)
    assert [r.task for r in first] == tasks
    assert not any(r.reused for r in first)
    assert "2 of 2 at the target" in capsys.readouterr().err
    second = run_all([*tasks, task(seed=9)])
    assert [r.reused for r in second] == [True] * 4 + [False]
    assert [(r.spent, r.trace, r.measures) for r in second[:4]] == [(r.spent, r.trace, r.measures) for r in first]
    assert "4 of 5 runs taken from an earlier call" in capsys.readouterr().err

    path = runs_file(SUITE)
    path.write_text(path.read_text() + '{"task": {"suite": "cut sho')  # a kill in the middle of a line
    assert all(r.reused for r in run_all(tasks))
    assert not any(r.reused for r in run_all(tasks, fresh=True))

    monkeypatch.setattr(toy_suite, "RUNS_VERSION", 2)
    from bench.harness.runs import fingerprint

    fingerprint.cache_clear()
    assert not any(r.reused for r in run_all(tasks))
    fingerprint.cache_clear()


def test_processes_give_the_same_runs(results):
    tasks = [task("random", seed=seed, budget=200) for seed in range(3)]
    parallel = run_all(tasks, jobs=2)
    assert [r.trace for r in parallel] == [r.trace for r in run_all(tasks, fresh=True)]
    lines = [json.loads(line) for line in runs_file(SUITE).read_text().splitlines()]
    assert len(lines) == 6


def test_a_missing_package_is_skipped_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr(optimizers_module, "find_spec", lambda name: None)
    assert available(["asmg", "cma-full", "es", "como"]) == ["asmg", "es"]
    out = capsys.readouterr().out
    assert 'pycma full skipped: cma is not installed (pip install "pyasmg[bench]", or pip install cma).' in out
    assert "COMO-CMA-ES skipped: comocma is not installed" in out
    assert "pip install coco-experiment" in missing("cocoex")


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ValueError, match=r"`name` must be one of asmg, .*; got 'sgd'"):
        make("sgd", np.zeros(2), 1.0, None, 0)
