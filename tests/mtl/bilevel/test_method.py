"""What all methods share: structures, exact resume, bad input, and a lower level that diverges."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch

from pyasmg.mtl import EW
from pyasmg.mtl.bilevel import (
    METHODS,
    Batches,
    BilevelMethod,
    BilevelProblem,
    DivergenceError,
    Simplex,
)
from tests.mtl.bilevel._problems import Classifier, Quadratic, method_of

NAMES = list(METHODS)
BOTH = [*((name, {}) for name in NAMES), ("MOML", {"hypergradient": "implicit"}), ("FORUM", {"lower_start": "initial"})]


def bits(method: BilevelMethod) -> list[np.ndarray]:
    """Everything that a step changes."""
    tensors = [tensor for found in method._tensors().values() for tensor in found]
    return [tensor.detach().numpy().copy() for tensor in tensors]


def flat(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [entry for key, value in state.items() for entry in (key, *flat(value))]
    if isinstance(state, (list, tuple)):
        return [entry for value in state for entry in flat(value)]
    return [state.tolist() if isinstance(state, torch.Tensor) else state]


@pytest.mark.parametrize(("name", "options"), BOTH)
def test_resume_is_exact(name: str, options: dict[str, Any]) -> None:
    """Stopped, saved, made anew from other values, loaded: the same bits as without the stop."""
    problem = Classifier()
    batches = problem.batches()
    method = method_of(name, problem, problem.alpha, problem.network, **options)
    for _ in range(4):
        method.step(batches)
    file = io.BytesIO()
    torch.save({"method": method.state_dict(), "batches": batches.state_dict()}, file)
    diagnostics = [method.step(batches) for _ in range(3)]

    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = Classifier(seed=1)
    again, others = method_of(name, other, other.alpha, other.network, **options), other.batches()
    again.step(others)  # what was there before is gone
    again.load_state_dict(saved["method"])
    others.load_state_dict(saved["batches"])
    for expected in diagnostics:
        found = again.step(others)
        assert flat([list(value) if isinstance(value, np.ndarray) else value for value in found]) == flat(
            [list(value) if isinstance(value, np.ndarray) else value for value in expected]
        )
    assert again.iteration == method.iteration == 7
    for found, expected in zip(bits(again), bits(method), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert flat(again.state_dict()) == flat(method.state_dict())


def test_a_fresh_method_loads_a_state() -> None:
    problem, other = Quadratic(), Quadratic(seed=1)
    for name in ("MOML", "MoCo", "FORUM"):
        method = method_of(name, problem, problem.alpha0.clone(), problem.omega0.clone())
        method.step()
        again = method_of(name, problem, other.alpha0.clone(), other.omega0.clone())
        again.load_state_dict(method.state_dict())
        method.step()
        again.step()
        for found, expected in zip(bits(again), bits(method), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_state_that_does_not_fit_is_refused() -> None:
    problem, wide = Quadratic(), Quadratic(n=6)
    state = method_of("FORUM", problem, problem.alpha0, problem.omega0).state_dict()
    with pytest.raises(ValueError, match=r"must be of \(version, method\) = \(1, 'BOME'\); got \(1, 'FORUM'\)"):
        method_of("BOME", problem, problem.alpha0, problem.omega0).load_state_dict(state)
    with pytest.raises(ValueError, match=r"must hold `alpha` of shapes \[\(6,\)\]; got \[\(4,\)\]"):
        method_of("FORUM", wide, wide.alpha0, wide.omega0).load_state_dict(state)


@pytest.mark.parametrize("name", NAMES)
def test_structures_agree(name: str) -> None:
    """Tensors, and the same in dictionaries."""
    problem = Quadratic(m=2)
    first = method_of(name, problem, problem.alpha0.clone(), problem.omega0.clone())
    split = BilevelProblem(
        lambda a, w, batch: problem.upper(torch.cat([a["x"], a["y"]]), torch.cat([w["u"], w["v"]]), batch),
        lambda a, w, batch: problem.lower(torch.cat([a["x"], a["y"]]), torch.cat([w["u"], w["v"]]), batch),
    )
    alpha = {"x": problem.alpha0[:1].clone(), "y": problem.alpha0[1:].clone()}
    omega = {"u": problem.omega0[:3].clone(), "v": problem.omega0[3:].clone()}
    second = method_of(name, split, alpha, omega)
    for _ in range(4):
        expected, found = first.step(), second.step()
        np.testing.assert_allclose(found.upper, expected.upper, rtol=1e-10)
        assert found.direction_norm == pytest.approx(expected.direction_norm, rel=1e-9)
    for whole, parts in ((first.alpha, second.alpha), (first.omega, second.omega)):
        torch.testing.assert_close(torch.cat(parts.tensors), whole.tensors[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_users_gradients_and_flags_are_left_alone(name: str) -> None:
    problem = Classifier()
    problem.alpha.requires_grad_()
    problem.alpha.grad = torch.full_like(problem.alpha, 7.0)
    method = method_of(name, problem, problem.alpha, problem.network)
    method.step(problem.batches())
    assert bool((problem.alpha.grad == 7.0).all())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in problem.network.parameters())


def test_constraints_hold_after_each_step() -> None:
    problem = Quadratic(m=2)
    for name in NAMES:
        alpha = torch.full((4,), 0.25, dtype=torch.float64)
        method = method_of(name, problem, alpha, problem.omega0.clone(), constraint=Simplex())
        for _ in range(5):
            method.step()
            assert float(alpha.min()) >= 0.0
            assert float(alpha.sum()) == pytest.approx(1.0, abs=1e-12)


class Explosive(Classifier):
    """A lower level whose loss grows from a given call on: to infinity, or far."""

    factor = 1.0

    def lower(self, alpha: Any, omega: Any, batch: Any) -> torch.Tensor:
        self.calls += 1
        found = super().lower(alpha, omega, batch)
        return found * self.factor if self.calls > self.limit else found

    calls, limit = 0, 10**9


@pytest.mark.parametrize("name", [name for name in NAMES if name != "SingleLevel"])
@pytest.mark.parametrize("factor", [math.inf, math.nan, 1e12])
def test_a_diverging_lower_level(name: str, factor: float) -> None:
    """The step and the loss are told; variables, buffers, optimizers and the method stay, and go on exactly."""
    problem, twin = Explosive(), Explosive()
    method = method_of(name, problem, problem.alpha, problem.network)
    other = method_of(name, twin, twin.alpha, twin.network)
    batches, others = problem.batches(), twin.batches()
    for _ in range(2):
        method.step(batches)
        other.step(others)
    state, drawn = flat(method.state_dict()), batches.state_dict()
    problem.factor, problem.limit, problem.calls = factor, 2, 0  # after two lower steps
    with pytest.raises(DivergenceError, match=r"in iteration 2: its loss is .* after 2 lower steps") as caught:
        method.step(batches)
    assert (caught.value.iteration, caught.value.lower_step) == (2, 2)
    assert not math.isfinite(factor) or caught.value.loss > 1e8
    assert flat(method.state_dict()) == state
    problem.limit = 10**9
    batches.load_state_dict(drawn)
    method.step(batches)
    other.step(others)
    for found, expected in zip(bits(method), bits(other), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_step_in_omega_that_diverges() -> None:
    """Also where it comes after all else: the running averages of MoCo stay."""
    problem = Explosive()
    optimizer = torch.optim.SGD(problem.network.parameters(), 0.1)
    method = method_of("MoCo", problem, problem.alpha, problem.network, omega_optimizer=optimizer)
    batches = problem.batches()
    method.step(batches)
    state = flat(method.state_dict())
    problem.factor, problem.limit, problem.calls = math.nan, 3, 0
    with pytest.raises(DivergenceError, match="its loss is nan after 0 lower steps"):
        method.step(batches)
    assert flat(method.state_dict()) == state


def test_a_rate_that_is_too_large() -> None:
    """A real divergence, by the step size."""
    problem = Quadratic()
    alpha, omega = problem.alpha0.clone(), problem.omega0.clone()
    method = method_of("FORUM", problem, alpha, omega, lower_steps=200, lower_learning_rate=5.0)
    with pytest.raises(DivergenceError, match=r"`lower_learning_rate` 5\. Nothing was changed") as caught:
        method.step()
    assert 0 < caught.value.lower_step < 200
    assert caught.value.loss > 1e8
    assert torch.equal(alpha, problem.alpha0)
    assert torch.equal(omega, problem.omega0)


def broken(problem: Quadratic, **functions: Any) -> BilevelProblem:
    return BilevelProblem(functions.get("upper", problem.upper), functions.get("lower", problem.lower))


@pytest.mark.parametrize("name", NAMES)
def test_values_that_are_no_objectives(name: str) -> None:
    problem = Quadratic(m=2)
    alpha, omega = problem.alpha0.clone(), problem.omega0.clone()
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (
            {"upper": lambda a, w, b: w.sum()},
            ValueError,
            r"`upper` must return a tensor of shape \(m,\); got shape \(\)",
        ),
        ({"upper": lambda a, w, b: 1.0}, TypeError, r"`upper` must return a tensor of shape \(m,\); got 1.0"),
        ({"upper": lambda a, w, b: w[:2] / 0.0}, ValueError, "objectives of `upper` must be finite; number 0 is"),
        ({"lower": lambda a, w, b: w}, ValueError, r"`lower` must return a scalar tensor; got shape \(5,\)"),
        ({"lower": lambda a, w, b: 3.0}, TypeError, "`lower` must return a scalar tensor; got 3.0"),
    ]
    for functions, kind, message in cases:
        method = method_of(name, broken(problem, **functions), alpha, omega)
        with pytest.raises(kind, match=message):
            method.step()
        assert method.iteration == 0
        assert torch.equal(alpha, problem.alpha0)
        assert torch.equal(omega, problem.omega0)
    count = [2]
    method = method_of(name, broken(problem, upper=lambda a, w, b: w[: count[0]]), alpha, omega)
    method.step()
    count[0] = 3
    with pytest.raises(ValueError, match=r"`upper` must return a tensor of shape \(2,\); got shape \(3,\)"):
        method.step()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "SingleLevel"])
def test_a_gradient_that_is_not_finite(name: str) -> None:
    problem = Quadratic(m=2)
    alpha, omega = problem.alpha0.clone(), problem.omega0.clone()

    def upper(a: torch.Tensor, w: torch.Tensor, b: None) -> torch.Tensor:
        return torch.stack([w.square().sum(), (w.square().sum() * 0.0).sqrt()])  # finite, with a NaN as its gradient

    method = method_of(name, broken(problem, upper=upper), alpha, omega)
    with pytest.raises(ValueError, match="must be finite"):
        method.step()
    assert torch.equal(alpha, problem.alpha0)
    assert torch.equal(omega, problem.omega0)


def test_bad_arguments() -> None:
    problem = Quadratic(m=2)
    alpha, omega = problem.alpha0.clone(), problem.omega0.clone()
    good = torch.optim.SGD([alpha], 0.1)

    def make(**changes: Any) -> None:
        values = {"problem": problem, "alpha": alpha, "omega": omega, **changes}
        method_of("FORUM", values.pop("problem"), values.pop("alpha"), values.pop("omega"), **values)

    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"problem": object()}, TypeError, "`problem` must be a BilevelProblem; got"),
        ({"alpha": [alpha], "alpha_optimizer": good}, TypeError, "`alpha` must be a tensor, a dictionary"),
        ({"alpha": {}, "alpha_optimizer": good}, ValueError, "`alpha` must hold at least one tensor"),
        (
            {"alpha": torch.zeros(2, dtype=torch.int64)},
            TypeError,
            "`alpha` must be a floating-point tensor; got torch.int64",
        ),
        ({"alpha": torch.full((2,), math.nan)}, ValueError, "`alpha` must be finite"),
        (
            {"alpha": {"x": torch.ones(2), "y": 3.0}, "alpha_optimizer": good},
            TypeError,
            r"`alpha\['y'\]` must be a tensor",
        ),
        (
            {"omega": omega * torch.ones(1, requires_grad=True), "omega_optimizer": good},
            ValueError,
            "`omega` must be a leaf tensor; it is computed from others",
        ),
        ({"alpha": omega}, ValueError, "must have no tensor in common"),
        ({"alpha_optimizer": None}, TypeError, "`alpha_optimizer` must be a torch.optim.Optimizer; got None"),
        ({"omega_optimizer": good}, ValueError, "`omega_optimizer` must hold all tensors of `omega`; it lacks omega"),
        (
            {"omega_optimizer": torch.optim.SGD([alpha, omega], 0.1)},
            ValueError,
            "`omega_optimizer` must hold the tensors of `omega` only; it holds 1 more",
        ),
        ({"lower_steps": 0}, ValueError, "`lower_steps` must be an integer >= 1; got 0"),
        ({"lower_steps": 1.5}, TypeError, "`lower_steps` must be an integer >= 1; got 1.5"),
        ({"lower_learning_rate": -1.0}, ValueError, "`lower_learning_rate` must be a finite number > 0; got -1"),
        ({"lower_start": "end"}, ValueError, "`lower_start` must be 'current' or 'initial'; got 'end'"),
        ({"constraint": "simplex"}, TypeError, "`constraint` must be a Constraint, or a dictionary"),
        ({"constraint": Simplex()}, ValueError, "`alpha` must lie on the simplex at the start"),
    ]
    for changes, kind, message in cases:
        with pytest.raises(kind, match=message):
            make(**changes)
    with pytest.raises(TypeError, match="`batches` must be Batches or None; got 3"):
        method_of("FORUM", problem, alpha, omega).step(3)
    with pytest.raises(TypeError, match="`lower` must be a callable"):
        BilevelProblem(problem.upper)
    with pytest.raises(TypeError, match=r"`upper` must be a callable .*; got 3"):
        BilevelProblem(3, problem.lower)


def test_frozen_parameters_are_not_variables() -> None:
    problem = Classifier()
    problem.network[0].weight.requires_grad_(False)
    kept = problem.network[0].weight.clone()
    method = method_of("SingleLevel", problem, problem.alpha, problem.network, balancer=EW(2))
    assert "0.weight" not in method.omega.names
    method.step(problem.batches())
    assert torch.equal(problem.network[0].weight, kept)


def test_look_ahead_leaves_running_means_alone() -> None:
    """The number of forward passes that they see does not depend on T."""
    counts = []
    for n_steps in (1, 5):
        problem = Classifier()
        method = method_of("FORUM", problem, problem.alpha, problem.network, lower_steps=n_steps)
        method.step(problem.batches())
        counts.append(int(problem.network[1].num_batches_tracked))
    assert counts[0] == counts[1] == 3  # both objectives, and f


def test_batches_are_drawn_by_every_level() -> None:
    problem = Classifier()
    expected = {"FORUM": (1, 4), "BOME": (1, 4), "MOML": (1, 3), "MoCo": (1, 3), "BVFIM": (1, 4), "SingleLevel": (1, 1)}
    for name in NAMES:
        batches = problem.batches()
        method_of(name, problem, problem.alpha, problem.network).step(batches)
        assert tuple(batches.state_dict().values()) == expected[name]


def test_a_number_of_batches_that_runs_out() -> None:
    batches = Batches(upper=iter([1, 2]), lower=[3])
    assert [batches.next_upper(), batches.next_upper(), batches.next_lower(), batches.next_lower()] == [1, 2, 3, 3]
    with pytest.raises(ValueError, match="`upper` has no more batches; it gave 2"):
        batches.next_upper()
