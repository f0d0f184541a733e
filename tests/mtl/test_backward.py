"""What a call of ``backward`` does with the graph and with ``.grad``, for every method."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

import pyasmg.mtl as mtl
from pyasmg.mtl import _parameters
from tests.mtl._cases import CASES, named
from tests.mtl._problems import HEAD_SLOPE, Linear, Network, batches, instance

M = 3


def network_step(name: str, **options: object) -> dict[str, np.ndarray | None]:
    """Return the gradients after one call on a network."""
    network = Network(M)
    _, losses = network(batches(1)[0])
    CASES[name].make(M).backward(losses, shared=network.trunk.parameters(), heads=network.head_lists(), **options)
    return gradients(network)


def gradients(network: nn.Module) -> dict[str, np.ndarray | None]:
    return {
        key: None if parameter.grad is None else parameter.grad.numpy().copy()
        for key, parameter in network.named_parameters()
    }


def assert_same(
    found: dict[str, np.ndarray | None], expected: dict[str, np.ndarray | None], factor: float = 1.0
) -> None:
    assert found.keys() == expected.keys()
    for key, gradient in expected.items():
        if gradient is None:
            assert found[key] is None, key
        else:
            np.testing.assert_allclose(found[key], factor * gradient, rtol=1e-9, atol=1e-14, err_msg=key)


# ---- what is filled ----


def test_equal_weighting_is_the_plain_backward() -> None:
    network = Network(M)
    torch.stack(network(batches(1)[0])[1]).mean().backward()
    assert_same(network_step("EW"), gradients(network))


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_in_a_list_is_a_head_by_default(name: str) -> None:
    network = Network(M)
    _, losses = network(batches(1)[0])
    CASES[name].make(M).backward(losses, shared=network.trunk.parameters())
    assert_same(gradients(network), network_step(name))


@pytest.mark.parametrize("name", named(lambda case: case.features))
def test_features_alone(name: str) -> None:
    """The trunk is then what the representation depends on."""
    network, other = Network(M), Network(M)
    features, losses = network(batches(1)[0])
    CASES[name].make(M).backward(losses, features=features)
    features, losses = other(batches(1)[0])
    CASES[name].make(M).backward(losses, features=features, shared=other.trunk.parameters(), heads=other.head_lists())
    assert_same(gradients(network), gradients(other))


@pytest.mark.parametrize("name", named(lambda case: case.features and case.entrywise))
def test_features_of_a_linear_trunk(name: str) -> None:
    """With the identity as the trunk, gradients on the representation are those on the parameters."""
    rows, values = instance(M, 6, 0)
    expected = Linear(rows, values)
    CASES[name].make(M).backward(expected.losses(), shared=expected.shared, heads=expected.heads)
    trunk = nn.Parameter(torch.zeros(6, dtype=torch.float64))
    first, second = trunk[:2] * 1.0, trunk[2:] * 1.0
    losses = [
        value + row[:2] @ first + row[2:] @ second
        for row, value in zip(torch.from_numpy(rows), torch.from_numpy(values), strict=True)
    ]
    CASES[name].make(M).backward(losses, features=[first, second], shared=[trunk])
    np.testing.assert_allclose(trunk.grad, expected.gradient(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_a_tensor_of_losses(name: str) -> None:
    network = Network(M)
    _, losses = network(batches(1)[0])
    CASES[name].make(M).backward(torch.stack(losses), shared=network.trunk.parameters(), heads=network.head_lists())
    assert_same(gradients(network), network_step(name))


@pytest.mark.parametrize("name", CASES)
def test_losses_of_other_shapes_and_types(name: str) -> None:
    network = Network(M)
    _, losses = network(batches(1)[0])
    losses = [losses[0].reshape(1, 1), losses[1], losses[2].reshape(1)]
    CASES[name].make(M).backward(losses, shared=network.trunk.parameters(), heads=network.head_lists())
    assert_same(gradients(network), network_step(name))
    rows, values = instance(M, 6, 2)
    problem, other = Linear(rows, values), Linear(rows, values)
    CASES[name].make(M).backward(problem.losses(), shared=problem.shared, heads=problem.heads)
    mixed = [loss.float() if task == 1 else loss for task, loss in enumerate(other.losses())]
    CASES[name].make(M).backward(tuple(mixed), shared=other.shared, heads=other.heads)
    np.testing.assert_allclose(other.gradient(), problem.gradient(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_gradients_accumulate(name: str) -> None:
    """Over two micro-batches: the sum of what each of them gives."""
    data, network, balancer = batches(2), Network(M), CASES[name].make(M)
    total: dict[str, np.ndarray] = {}
    for batch in data:
        network.zero_grad()
        balancer.backward(network(batch)[1], shared=network.trunk.parameters(), heads=network.head_lists())
        for key, gradient in gradients(network).items():
            total[key] = total.get(key, 0.0) + gradient
    network.zero_grad()
    balancer = CASES[name].make(M)
    for batch in data:
        balancer.backward(network(batch)[1], shared=network.trunk.parameters(), heads=network.head_lists())
    assert_same(gradients(network), total)


@pytest.mark.parametrize("name", CASES)
def test_frozen_parameters_are_left_out(name: str) -> None:
    network = Network(M)
    network.trunk[0].requires_grad_(False)
    network.heads[1].requires_grad_(False)
    balancer = CASES[name].make(M)
    balancer.backward(network(batches(1)[0])[1], shared=network.trunk.parameters(), heads=network.head_lists())
    found = gradients(network)
    assert found["trunk.0.weight"] is None
    assert found["heads.1.weight"] is None
    assert np.abs(found["trunk.2.weight"]).max() > 0
    assert found["heads.0.weight"] is not None


@pytest.mark.parametrize("name", CASES)
def test_parameters_that_a_task_does_not_use(name: str) -> None:
    """Their gradient counts as zero for this task; one that no task uses does no harm."""
    rows, values = instance(M, 6, 1)
    rows[0, :3] = 0.0
    full, partial = Linear(rows, values), Linear(rows, values)
    CASES[name].make(M).backward(full.losses(), shared=full.shared, heads=full.heads)
    losses = partial.losses()
    losses[0] = values[0] + torch.from_numpy(rows[0, 3:]) @ partial.shared[1] + HEAD_SLOPE * partial.heads[0][0].sum()
    idle = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    CASES[name].make(M).backward(losses, shared=[*partial.shared, idle], heads=partial.heads)
    np.testing.assert_allclose(partial.gradient(), full.gradient(), rtol=1e-12)
    assert idle.grad is None or not idle.grad.any()


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_graph_is_kept_on_demand(name: str, features: bool) -> None:
    if features and not CASES[name].features:
        pytest.skip("does not take features")
    network = Network(M)
    representation, losses = network(batches(1)[0])
    options = {"shared": list(network.trunk.parameters()), "features": representation if features else None}
    CASES[name].make(M).backward(losses, retain_graph=True, **options)
    first = gradients(network)
    network.zero_grad()
    CASES[name].make(M).backward(losses, **options)
    assert_same(gradients(network), first)


@pytest.mark.parametrize("name", CASES)
def test_mixed_types(name: str) -> None:
    rows, values = instance(M, 6, 2)
    problem = Linear(rows, values)
    problem.shared[1] = nn.Parameter(problem.shared[1].detach().to(torch.bfloat16))
    losses = [
        value + row[:3] @ problem.shared[0] + (row[3:] @ problem.shared[1].double())
        for row, value in zip(torch.from_numpy(rows), torch.from_numpy(values), strict=True)
    ]
    CASES[name].make(M).backward(losses, shared=problem.shared)
    assert problem.shared[0].grad.dtype is torch.float64
    assert problem.shared[1].grad.dtype is torch.bfloat16


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_no_aliases(name: str) -> None:
    """What a step adds to one gradient must not show in another: ``x + y`` hands both the same tensor."""
    first, second = (nn.Parameter(torch.zeros(4, dtype=torch.float64)) for _ in range(2))
    heads = [nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2 * M)]
    losses = [((first + second) * (i + 1.0)).sum() + (heads[2 * i] + heads[2 * i + 1]).sum() + 1.0 for i in range(M)]
    lists = [heads[2 * i : 2 * i + 2] for i in range(M)]
    CASES[name].make(M).backward(losses, shared=[first, second], heads=lists)
    for one, other in [(first, second), *(tuple(pair) for pair in lists)]:
        before = other.grad.clone()
        one.grad.add_(1.0)
        torch.testing.assert_close(other.grad, before, rtol=0, atol=0)


class FirstRow(mtl.GradientBalancer):
    """Answers with a view of the matrix."""

    def aggregate(self, matrix, gram, losses):
        return matrix[0], None


def test_the_matrix_is_used_again_and_grad_is_not_a_part_of_it() -> None:
    rows, values = instance(M, 6, 3)
    problem, balancer = Linear(rows, values), FirstRow(M)
    balancer.backward(problem.losses(), shared=problem.shared)
    first = problem.gradient()
    workspace = balancer._workspace
    problem.rows = -rows
    balancer.backward(problem.losses(), shared=problem.shared)
    assert balancer._workspace is workspace
    np.testing.assert_array_equal(first, rows[0])
    np.testing.assert_array_equal(problem.gradient(), 0.0)  # rows - rows, accumulated


@pytest.mark.parametrize("preference", [None, [2.0, 3.0, 4.0]])
def test_losses_that_are_parameters_or_the_same_or_made_of_each_other(preference: list[float] | None) -> None:
    """What a pass starts from may be one tensor for all: no `.grad` is a part of it."""
    first, second = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
    square = first.square()
    for losses in ([first, second, first], [square, square, second], [square, square * second, second]):
        balancer = mtl.EW(3, reduction="sum")
        balancer.preference = preference
        first.grad = second.grad = None
        factors = torch.ones(3) if preference is None else torch.tensor(preference)
        expected = torch.autograd.grad(torch.stack(losses) @ factors, [first, second], retain_graph=True)
        for times in (1, 2):
            balancer.backward(losses, retain_graph=True)
            assert torch.equal(first.grad, times * expected[0])
            assert torch.equal(second.grad, times * expected[1])
        first.grad += 1.0
        assert torch.equal(second.grad, 2 * expected[1])


def test_the_matrix_is_not_saved() -> None:
    problem, balancer = Linear(*instance(M, 6, 3)), mtl.MGDA(M)
    balancer.backward(problem.losses(), shared=problem.shared)
    assert balancer._workspace is not None
    assert copy.deepcopy(balancer)._workspace is None
    assert pickle.loads(pickle.dumps(balancer))._workspace is None


@pytest.mark.parametrize("name", CASES)
def test_leaves_in_no_list(name: str) -> None:
    """Methods that look at losses only reach what ``loss.backward()`` reaches; the others, what they are told."""
    network, balancer = Network(M), CASES[name].make(M)
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    losses = [loss * scale for loss in network(batches(1)[0])[1]]
    told = list(network.trunk.parameters())
    balancer.backward(losses, shared=told[1:], heads=network.head_lists())
    reached = isinstance(balancer, mtl.LossBalancer)
    assert (scale.grad is not None) == (told[0].grad is not None) == reached
    assert all(parameter.grad is not None for parameter in told[1:])


# ---- the scaler ----


class Scaler:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def scale(self, outputs: torch.Tensor) -> torch.Tensor:
        return outputs * self.factor


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_scaled_gradients(name: str, features: bool) -> None:
    """The gradients times the factor, and the weights of the unscaled ones."""
    if features and not CASES[name].features:
        pytest.skip("does not take features")
    results = []
    for scaler in (None, Scaler(1024.0)):
        network, balancer = Network(M), CASES[name].make(M)
        representation, losses = network(batches(1)[0])
        chosen = representation if features else None
        balancer.backward(losses, shared=network.trunk.parameters(), features=chosen, scaler=scaler)
        results.append(gradients(network))
    assert_same(results[1], results[0], 1024.0)


def test_the_scaler_of_torch_skips_an_overflow() -> None:
    for name in ("EW", "MGDA", "PIVRG", "MoCo"):
        network, balancer = Network(M, dtype=torch.float32), CASES[name].make(M)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=3e38)
        before = [parameter.detach().clone() for parameter in network.parameters()]
        _, losses = network(100.0 * batches(1, dtype=torch.float32)[0])
        balancer.backward([1e6 * loss for loss in losses], shared=network.trunk.parameters(), scaler=scaler)
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() < 3e38, name
        for parameter, kept in zip(network.parameters(), before, strict=True):
            torch.testing.assert_close(parameter.detach(), kept, rtol=0, atol=0)


# ---- diagnostics ----


def test_diagnostics() -> None:
    rows = np.array([[3.0, 4.0], [0.0, -2.0], [0.0, 0.0]])
    problem, balancer = Linear(rows, np.ones(3)), mtl.EW(3)
    assert balancer.diagnostics is None
    balancer.backward(problem.losses(), shared=problem.shared)
    assert balancer.diagnostics.gram is None
    assert balancer.diagnostics.cosines is None
    assert balancer.diagnostics.conflict_rate is None
    balancer = mtl.MGDA(3)
    balancer.backward(problem.losses(), shared=problem.shared)
    found = balancer.diagnostics
    np.testing.assert_array_equal(found.losses, np.ones(3))
    np.testing.assert_allclose(found.gradient_norms, [5.0, 2.0, 0.0])
    np.testing.assert_allclose(found.cosines, [[1, -0.8, 0], [-0.8, 1, 0], [0, 0, 0]])
    assert found.conflict_rate == pytest.approx(1 / 3)
    np.testing.assert_array_equal(found.weights, [0.0, 0.0, 1.0])


# ---- errors: named, and nothing is touched ----


def bad_calls() -> dict[str, tuple[dict[str, object], type[Exception], str]]:
    """Arguments that replace those of a good call; ``network`` is filled in."""
    return {
        "count": ({"losses": lambda v: v[:2]}, ValueError, r"`losses` must have n_tasks = 3 entries; got 2\."),
        "shape": (
            {"losses": lambda v: torch.stack(v[:2])},
            ValueError,
            r"`losses` must have shape \(n_tasks,\) = \(3,\); got \(2,\)\.",
        ),
        "no scalar": (
            {"losses": lambda v: [v[0], v[1].expand(2), v[2]]},
            ValueError,
            r"must be a scalar tensor; task 1 has shape \(2,\)\.",
        ),
        "number": ({"losses": lambda v: [v[0], 1.0, v[2]]}, TypeError, r"task 1 has 1\.0\."),
        "no sequence": ({"losses": lambda v: 1.0}, TypeError, r"`losses` must be a tensor of shape \(3,\) or"),
        "nan": (
            {"losses": lambda v: [v[0], v[1], v[2] * np.nan]},
            ValueError,
            r"`losses` must be finite; task 2 has the loss nan\.",
        ),
        "inf": ({"losses": lambda v: [v[0] / 0.0, *v[1:]]}, ValueError, r"finite; task 0 has the loss inf\."),
        "constant": (
            {"losses": lambda v: [v[0], v[1].detach(), v[2]]},
            ValueError,
            r"must require a gradient; the loss of task 1 does not\.",
        ),
        "overlap": (
            {"heads": lambda n: [list(n.trunk[0].parameters()), *n.head_lists()[1:]]},
            ValueError,
            r"`shared` and `heads\[0\]` must have no parameter in common; both hold one of shape \(8, 6\)\.",
        ),
        "two heads": (
            {"heads": lambda n: [n.head_lists()[1], *n.head_lists()[1:]]},
            ValueError,
            r"`heads\[0\]` and `heads\[1\]` must have no parameter in common",
        ),
        "twice": (
            {"shared": lambda n: [*n.trunk.parameters(), n.trunk[0].bias]},
            ValueError,
            r"`shared` must hold each parameter once; one stands there twice\.",
        ),
        "no leaf": (
            {"shared": lambda n: [n.trunk[0].weight * 1.0]},
            ValueError,
            r"`shared` must hold leaf tensors \(parameters\); entry 0 is computed from others\.",
        ),
        "heads": ({"heads": lambda n: n.head_lists()[:2]}, ValueError, r"`heads` must have n_tasks = 3 entries; got 2"),
        "heads type": (
            {"heads": lambda n: 3},
            TypeError,
            r"`heads` must be a sequence of n_tasks = 3 iterables; got 3",
        ),
        "shared type": ({"shared": lambda n: ["a"]}, TypeError, r"`shared` must hold tensors; entry 0 is 'a'\."),
    }


@pytest.mark.parametrize("bad", bad_calls())
@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, bad: str) -> None:
    changes, error, message = bad_calls()[bad]
    refused(name, changes, error, message)


GRADIENT_ERRORS = {
    "no shared": ({"shared": lambda n: None}, r"`shared` or `features` must be given; both are None\."),
    "all frozen": ({"shared": lambda n: []}, r"`shared` must hold at least one parameter that requires a gradient"),
    "independent task": (
        {"losses": lambda v: [v[0], torch.ones((), dtype=torch.float64, requires_grad=True).exp(), v[2]]},
        r"the loss of each task must depend on some shared parameter; that of task 1 does not\.",
    ),
    "gradient": (
        {"losses": lambda v: [v[0], (v[1] - v[1].detach()).sqrt(), v[2]]},
        r"the gradients must be finite; that of task 1 is not\.",
    ),
    "features without graph": (
        {"features": lambda f: f.detach()},
        r"`features` must be computed from shared parameters, and the losses from it; entry 0 has no graph\.",
    ),
    "no features": ({"features": lambda f: []}, r"`features` must hold at least one tensor; got none\."),
    "other features": (
        {"features": lambda f: f * 1.0},
        r"the loss of each task must depend on some entry of `features`; that of task 0 does not\.",
    ),
}


@pytest.mark.parametrize("bad", GRADIENT_ERRORS)
@pytest.mark.parametrize(
    "name", [name for name, case in CASES.items() if isinstance(case.make(2), mtl.GradientBalancer)]
)
def test_bad_input_of_gradient_methods(name: str, bad: str) -> None:
    changes, message = GRADIENT_ERRORS[bad]
    if "features" in changes and not CASES[name].features:
        message = r"needs gradients on parameters; `features` must be None\."
    refused(name, changes, ValueError, message)


def refused(name: str, changes: dict[str, object], error: type[Exception], message: str) -> None:
    """The call raises, and gradients and state are as before.

    But for the running averages of MoCo, whose rows move one by one.
    """
    network, balancer = Network(M), CASES[name].make(M)
    batch = batches(1)[0]
    sum(network(batch)[1]).backward()
    before, state = gradients(network), kept_state(balancer)
    features, losses = network(batch)
    call = {"shared": network.trunk.parameters(), "heads": network.head_lists(), "losses": losses}
    for key, change in changes.items():
        source = {"losses": losses, "features": features}.get(key, network)
        call[key] = change(source)
    with pytest.raises(error, match=message):
        balancer.backward(call.pop("losses"), **call)
    for key, gradient in gradients(network).items():
        np.testing.assert_array_equal(gradient, before[key], err_msg=key)
    assert kept_state(balancer) == state


def kept_state(balancer: mtl.Balancer) -> str:
    state = balancer.state_dict()
    state.get("_extra_state", {}).pop("_tracked", None)
    return repr(state)


@pytest.mark.parametrize("name", mtl.METHODS)
def test_bad_number_of_tasks(name: str) -> None:
    with pytest.raises(ValueError, match=r"`n_tasks` must be an integer >= 1; got 0\."):
        mtl.METHODS[name](0)
    with pytest.raises(TypeError, match=r"`n_tasks` must be an integer >= 1; got 2\.5\."):
        mtl.METHODS[name](2.5)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match=r"`head_weights` must be 'one' or 'weighted'; got 'two'\."):
        mtl.MGDA(2, head_weights="two")
    with pytest.raises(ValueError, match=r"`preference` must be positive; got 0 for task 1\."):
        mtl.MGDA(2).preference = [1.0, 0.0]
    with pytest.raises(ValueError, match=r"`preference` must be a scalar or of shape \(2,\); got shape \(3,\)\."):
        mtl.MGDA(2).preference = [1.0, 2.0, 3.0]


@pytest.mark.parametrize("name", mtl.METHODS)
def test_sparse_gradients_of_embeddings(name: str) -> None:
    """In the trunk and in the heads, twice, so that the second is added: the same as those of dense embeddings."""

    def found(sparse: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        tables = [nn.Embedding(6, 3, sparse=sparse, dtype=torch.float64) for _ in range(3)]
        balancer = mtl.METHODS[name](2)
        for rows in (torch.tensor([0, 2, 2]), torch.tensor([4, 2, 1])):
            trunk = tables[0](rows)
            losses = [(trunk * head(rows) + 1.0).square().mean() for head in tables[1:]]
            balancer.backward(losses, shared=[tables[0].weight], heads=[[head.weight] for head in tables[1:]])
        return [table.weight.grad.to_dense() for table in tables]

    for sparse, dense in zip(found(True), found(False), strict=True):
        np.testing.assert_allclose(sparse, dense, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["MGDA", "PCGrad", "GradDrop"])
def test_no_memory_for_the_heads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may fail comes before the first gradient is written."""
    network = Network(2)
    unusual = [nn.Parameter(torch.zeros(1, dtype=torch.bfloat16)) for _ in range(2)]
    losses = [loss + own.double().sum() for loss, own in zip(network(batches(1)[0])[1], unusual, strict=True)]

    def refuse(gradient: torch.Tensor) -> None:
        raise MemoryError(f"no room for {gradient.shape}")

    monkeypatch.setattr(_parameters, "_owned", refuse)
    with pytest.raises(MemoryError, match="no room"):
        mtl.METHODS[name](2).backward(losses, shared=network.trunk.parameters(), heads=[[own] for own in unusual])
    assert all(parameter.grad is None for parameter in (*network.parameters(), *unusual))
