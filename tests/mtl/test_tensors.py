"""What the core reads from tensors and writes to them is what PyTorch says; what is not usual it leaves to PyTorch."""

from __future__ import annotations

import gc
import importlib
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pyasmg.mtl as mtl
from pyasmg import _core
from pyasmg.mtl._tensors import usual
from tests.mtl._problems import Network, batches

USERS = ("_losses", "_task_gradients", "_parameters", "_combination", "_gram", "graddrop")


class WithoutInterface:
    """As the tensors of an older PyTorch."""


class Marked(Tensor):
    """A class of its own may have rules of its own."""


BLIND = _core.Tensors(WithoutInterface, nn.Parameter, torch.empty_like)
DTYPES = [torch.float32, torch.float64]


def unusual_tensors(like: Tensor) -> dict[str, object]:
    """Return tensors of the same numbers as a usual one, which are something else."""
    other = torch.float64 if like.dtype is torch.float32 else torch.float32
    complexes = torch.complex(torch.zeros_like(like), -like)
    return {
        "another type": like.to(other),
        "half precision": like.to(torch.bfloat16),
        "integers": like.to(torch.int64),
        "a subclass": like.clone().as_subclass(Marked),
        "no memory": torch.empty_like(like, device="meta"),
        "sparse": like.to_sparse() if like.ndim else None,
        "strided": torch.stack([like, like], dim=-1)[..., 0] if like.ndim else None,
        "expanded": like.reshape(-1)[:1].expand(like.shape) if like.numel() > 1 else None,
        "with a sign to come": complexes.conj().imag,
        "None": None,
        "a number": 1.0,
        "an array": like.numpy(),
    }


def test_this_pytorch_has_the_interface() -> None:
    """Or all that follows would compare nothing."""
    assert usual.scalars([torch.ones((), requires_grad=True)], 1) is not None


@pytest.mark.parametrize("dtype", DTYPES)
def test_scalars(dtype: torch.dtype) -> None:
    values = torch.tensor([0.1, -2.5, 1e30], dtype=dtype)
    losses = [value.clone().requires_grad_() for value in values]
    for given in (losses, tuple(losses)):
        found = usual.scalars(given, 3)
        np.testing.assert_array_equal(found, values.double().numpy())
        assert found.dtype == np.float64
    mixed = [losses[0], torch.ones((), dtype=torch.float64, requires_grad=True)]
    np.testing.assert_array_equal(usual.scalars(mixed, 2), [losses[0].item(), 1.0])
    assert usual.scalars([], 0).shape == (0,)
    for name, loss in unusual_tensors(values[0].clone()).items():
        if name != "another type":
            assert usual.scalars([losses[0], loss], 2) is None, name
    for loss in (torch.ones(()), torch.ones(1, requires_grad=True), torch.full((), torch.nan, requires_grad=True)):
        assert usual.scalars([losses[0], loss], 2) is None
    for other in (iter(losses), torch.stack(losses), None, losses[:2], [*losses, losses[0]]):
        assert usual.scalars(other, 3) is None
    assert BLIND.scalars(losses, 3) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_starts(dtype: torch.dtype) -> None:
    losses = [torch.ones((), dtype=dtype, requires_grad=True) * i for i in range(3)]
    starts = usual.starts(losses, 0.3)
    assert [root[0] for root, _ in starts] == losses
    for _, (start,) in starts:
        assert start is starts[0][1][0]
        assert (start.dtype, start.shape, start.requires_grad) == (dtype, (), False)
        assert start.item() == torch.tensor(0.3, dtype=dtype).item()
    for name, loss in unusual_tensors(losses[1].detach()).items():
        assert usual.starts([losses[0], loss], 1.0) is None, name
    for other in ([], None, [torch.ones(1)], iter(losses)):
        assert usual.starts(other, 1.0) is None
    assert BLIND.starts(losses, 1.0) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows(dtype: torch.dtype) -> None:
    matrix = torch.zeros(3, 10, dtype=dtype)
    parts = torch.arange(6.0, dtype=dtype).reshape(2, 3), torch.zeros(0, 4, dtype=dtype), -torch.ones(4, dtype=dtype)
    more = torch.ones(7)
    assert usual.fill_row(matrix, 1, (*parts, more), 3)
    np.testing.assert_array_equal(matrix, [[0] * 10, [0, 1, 2, 3, 4, 5, -1, -1, -1, -1], [0] * 10])
    before = matrix.clone()
    for row, found, count in (
        (3, parts, 3),
        (-1, parts, 3),
        (0, parts, 4),
        (0, parts, -1),
        (0, iter(parts), 3),
    ):
        assert not usual.fill_row(matrix, row, found, count)
    assert torch.equal(matrix, before)
    assert not usual.fill_row(matrix, 0, parts, 2)  # too few numbers
    assert not usual.fill_row(matrix, 0, (*parts, parts[0]), 4)  # too many
    for name, part in unusual_tensors(parts[0]).items():
        assert not usual.fill_row(matrix, 0, (part, *parts[1:]), 3), name
    assert torch.equal(matrix[1:], before[1:])
    for other in (matrix.T, matrix[:, ::2], matrix[0], None):
        assert not usual.fill_row(other, 0, parts, 3)
    assert not BLIND.fill_row(matrix, 0, parts, 3)


def test_a_number_with_a_sign_to_come() -> None:
    """A view of one number is contiguous whatever its stride."""
    number = torch.complex(torch.zeros(1), torch.ones(1)).conj().imag
    assert number.is_contiguous()
    assert number.is_neg()
    assert not usual.fill_row(torch.zeros(1, 1), 0, (number,), 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fits(dtype: torch.dtype) -> None:
    matrix, targets = torch.zeros(3, 10, dtype=dtype), [torch.ones(2, 3, dtype=dtype), torch.ones(4, dtype=dtype)]
    assert usual.fits(matrix, 3, targets)
    assert usual.fits(matrix, 3, [targets[0].T, nn.Parameter(targets[1])])  # of whatever layout
    assert not usual.fits(matrix, 2, targets)
    assert not usual.fits(matrix, 3, targets[:1])
    assert not usual.fits(matrix, 3, iter(targets))
    assert not usual.fits(matrix, 3, [targets[0], targets[1].to(torch.float16)])
    assert not usual.fits(None, 3, targets)
    assert not BLIND.fits(matrix, 3, targets)


@pytest.mark.parametrize("dtype", DTYPES)
def test_places(dtype: torch.dtype) -> None:
    gradients = [torch.randn(shape, dtype=dtype) for shape in ((2, 3), (), (4,))]
    parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
    assert usual.place(parameters, tuple(gradients)) == []
    assert all(parameter.grad is gradient for parameter, gradient in zip(parameters, gradients, strict=True))
    assert usual.place(parameters, gradients) == [0, 1, 2]  # there is one already
    for name, gradient in unusual_tensors(gradients[0]).items():
        parameter = nn.Parameter(torch.zeros(2, 3, dtype=dtype))
        assert usual.place([parameter], [gradient]) == [0], name
        assert parameter.grad is None
    with pytest.raises(RuntimeError, match="size"):
        usual.place([nn.Parameter(torch.zeros(2, dtype=dtype))], [torch.zeros(3, dtype=dtype)])
    with pytest.raises(ValueError, match="as many gradients"):
        usual.place(parameters, gradients[:2])
    with pytest.raises(ValueError, match="a list or a tuple"):
        usual.place(iter(parameters), gradients)
    assert BLIND.place(parameters, gradients) == [0, 1, 2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factors", [None, np.array([2.0, 5.0, -0.3])])
def test_copies(dtype: torch.dtype, factors: np.ndarray | None) -> None:
    gradients = [torch.randn(shape, dtype=dtype) for shape in ((2, 3), (), (4,))]
    made, left = usual.copies([gradients[:2], [], (gradients[2],)], factors)
    assert left == []
    each = [1.0] * 3 if factors is None else factors[[0, 0, 2]].tolist()
    for copy, gradient, factor in zip(made, gradients, each, strict=True):
        assert torch.equal(copy, gradient * factor)
        assert (copy.dtype, copy.requires_grad) == (dtype, False)
        assert copy.data_ptr() != gradient.data_ptr()
    for name, gradient in unusual_tensors(gradients[0]).items():
        if name not in ("another type", "half precision"):
            found, left = usual.copies([[], [gradients[2], gradient], gradients[:1]], factors)
            assert (len(found), left, found[1]) == (3, [1], None), name
    with pytest.raises(ValueError, match="as many factors"):
        usual.copies([gradients], np.ones(2))
    for lists in (gradients, iter([gradients]), [iter(gradients)]):
        with pytest.raises(ValueError, match="a list or a tuple"):
            usual.copies(lists, None)
    assert BLIND.copies([gradients], None) == ([None] * 3, [0, 1, 2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_rows(dtype: torch.dtype) -> None:
    matrix = torch.randn(3, 10, dtype=dtype)
    targets = [torch.empty(2, 3, dtype=dtype), torch.empty((), dtype=dtype), nn.Parameter(torch.empty(3, dtype=dtype))]
    for weights in (np.array([0.5, 0.0, -2.0]), np.array([1e300, -1e300, 1e299]), np.array([1e-200, 0.0, 0.0])):
        pieces = usual.combine(matrix, weights, targets)
        assert [(piece.shape, piece.requires_grad) for piece in pieces] == [(t.shape, False) for t in targets]
        largest = np.abs(weights).max()
        expected = (matrix.double().numpy().T @ (weights / largest)) * largest
        with np.errstate(over="ignore"):
            expected = expected.astype(matrix.numpy().dtype)
        found = torch.cat([piece.reshape(-1) for piece in pieces]).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype is torch.float32 else 1e-13, atol=0)
    one = np.ones(3)
    for other in (targets[0].T, targets[0].to(torch.float16), torch.empty(11, dtype=dtype)):
        assert usual.combine(matrix, one, [other]) is None
    assert usual.combine(matrix, np.ones(2), targets) is None
    assert usual.combine(matrix.T, one, targets) is None
    assert usual.combine(matrix, one, None) is None
    assert BLIND.combine(matrix, one, targets) is None
    assert usual.combine(matrix, 1.0, targets) is None
    assert torch.equal(usual.combine(matrix, [1, 0, 0], targets[:1])[0].reshape(-1), matrix[0, :6])
    with pytest.raises(TypeError):
        usual.combine(matrix, "weights", targets)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gram(dtype: torch.dtype) -> None:
    matrix = torch.randn(3, 50, dtype=dtype)
    for exact_work in (0, 2**20):
        expected = _core.row_products(matrix.numpy(), exact_work > 0 or dtype is torch.float64)
        np.testing.assert_array_equal(usual.gram(matrix, exact_work), expected)
    for other in (matrix[0], matrix[:, ::2], matrix.to(torch.float16), None, matrix[:0]):
        assert usual.gram(other, 0) is None
    assert BLIND.gram(matrix, 0) is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_average(dtype: torch.dtype) -> None:
    matrix, pieces = torch.randn(3, 50, dtype=dtype), [torch.randn(4, 5, dtype=dtype), torch.randn(30, dtype=dtype)]
    vector = torch.cat([piece.reshape(-1) for piece in pieces])
    for goal in ((0.25, 1.0, None), (0.25, 0.3, None), (0.25, 1.0, 2.0)):
        ours, theirs = matrix.clone(), matrix.clone()
        norm = usual.running_average(ours, 1, (*pieces, None), 2, goal)
        assert _core.running_average(vector.numpy(), *goal, theirs[1].numpy()) == pytest.approx(norm, rel=1e-6)
        tolerance = 1e-6 if dtype is torch.float32 else 1e-14  # the norm is of other sums
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance if goal[-1] else 0)
        assert torch.equal(ours[::2], matrix[::2])
    goal, before = (0.25, 1.0, None), ours.clone()
    for name, other in unusual_tensors(pieces[0]).items():
        assert usual.running_average(ours, 1, [other, pieces[1]], 2, goal) is None, name
    for other, count in (([*pieces, pieces[0]], 3), (pieces, 1), (pieces, 3), (pieces, -1), (None, 0), (vector, 1)):
        assert usual.running_average(ours, 1, other, count, goal) is None
    for other in (None, vector, ours[:, ::2], ours.to(torch.float16), ours[:, :4], ours.T):
        assert usual.running_average(other, 1, pieces, 2, goal) is None
    for row in (-1, 3):
        assert usual.running_average(ours, row, pieces, 2, goal) is None
    assert BLIND.running_average(ours, 1, pieces, 2, goal) is None
    assert torch.equal(ours, before)


def test_passes() -> None:
    calls, matrix = [], torch.zeros(3, 2)

    def run(root: str, start: str, inputs: tuple[str, ...], keep: bool) -> tuple[object, ...]:
        calls.append((root, start, inputs, keep))
        first = None if root == "b" else torch.full((2,), float(len(calls)))
        return (first, *(f"gradient of {head}" for head in inputs[1:]))

    def otherwise(given: Tensor, task: int, found: tuple[object, ...]) -> float:
        assert given is matrix
        assert found[0] is None
        return 5.0 + task

    starts = [("a", 1), ("b", 2), ("c", 3)]
    rest, norms = usual.passes(run, starts, ("shared",), (("p",), (), ("q", "r")), matrix, None, False, otherwise)
    assert rest == [("gradient of p",), (), ("gradient of q", "gradient of r")]
    assert norms == []
    assert calls == [
        ("a", 1, ("shared", "p"), True),
        ("b", 2, ("shared",), True),
        ("c", 3, ("shared", "q", "r"), False),
    ]
    np.testing.assert_array_equal(matrix, [[1, 1], [0, 0], [3, 3]])
    calls.clear()
    goals = [(0.5, 1.0, None)] * 3
    rest, norms = usual.passes(run, starts, ("shared",), ((), (), ()), matrix, goals, True, otherwise)
    assert [keep for *_, keep in calls] == [True] * 3
    assert rest == [(), (), ()]
    assert norms == pytest.approx([2**0.5, 6.0, 18**0.5])
    np.testing.assert_array_equal(matrix, [[1, 1], [0, 0], [3, 3]])
    with pytest.raises(ValueError, match="as many heads"):
        usual.passes(run, starts, ("shared",), ((),), matrix, None, False, otherwise)
    with pytest.raises(ValueError, match="as many goals"):
        usual.passes(run, starts, ("shared",), ((), (), ()), matrix, goals[:2], False, otherwise)
    with pytest.raises(ZeroDivisionError):
        usual.passes(lambda *arguments: 1 / 0, starts, ("shared",), ((), (), ()), matrix, None, False, otherwise)


def step(name: str, dtype: torch.dtype, steps: int = 3) -> list[Tensor]:
    """Return all gradients of some steps, from the second on added to those of the step before."""
    network, balancer, found = Network(3, dtype=dtype), mtl.METHODS[name](3), []
    for i, batch in enumerate(batches(steps, dtype=dtype)):
        if i != 2:
            network.zero_grad()
        balancer.backward(network(batch)[1], shared=network.trunk.parameters(), heads=network.head_lists())
        found += [parameter.grad.clone() for parameter in network.parameters()]
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", mtl.METHODS)
def test_steps_are_the_same_without_the_interface(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)  # of the router network of BiLB4MTL
    expected = step(name, dtype)
    for user in USERS:
        monkeypatch.setattr(importlib.import_module(f"pyasmg.mtl.{user}"), "usual", BLIND)
    torch.manual_seed(0)
    for found, theirs in zip(step(name, dtype), expected, strict=True):
        assert torch.equal(found, theirs)


def test_all_users_are_known() -> None:
    """Or the test above would compare the interface with itself."""
    modules = {name: module for name, module in sys.modules.items() if name.startswith("pyasmg.")}
    users = {name for name, module in modules.items() if vars(module).get("usual") is usual}
    assert users == {f"pyasmg.mtl.{user}" for user in (*USERS, "_tensors")}


def test_another_default_device() -> None:
    """What is made on the way lies where the gradients lie: a default device is for what users make."""
    network = Network(3)
    losses = network(batches(1)[0])[1]
    with torch.device("meta"):
        for name in ("MGDA", "GradDrop", "MoCo", "EW"):
            mtl.METHODS[name](3).backward(
                losses, shared=network.trunk.parameters(), heads=network.head_lists(), retain_graph=True
            )
    assert all(parameter.grad.device.type == "cpu" for parameter in network.parameters())


def test_references_are_counted() -> None:
    """No function keeps what it is given, or gives away what it does not own."""
    matrix, weights = torch.randn(2, 3), np.ones(2)
    losses = [torch.ones((), requires_grad=True) for _ in range(2)]
    gradients, parameters = [torch.randn(3)], [nn.Parameter(torch.zeros(3))]
    large = tuple(torch.randn(2**18) for _ in range(3))
    watched = [matrix, *large, *losses, *gradients, *parameters]
    generator = [0, 1, 0, 1, 0, 0]

    def use() -> None:
        usual.scalars(losses, 2)
        usual.scalars([*losses, None], 3)
        usual.starts(losses, 1.0)
        usual.fill_row(matrix, 0, tuple(gradients), 1)
        usual.fits(matrix, 2, parameters)
        usual.gram(matrix, 0)
        usual.copies([gradients, [None]], np.ones(2))
        usual.place(parameters, gradients)
        parameters[0].grad = None
        usual.combine(matrix, weights, parameters)
        usual.running_average(matrix, 0, gradients, 1, (0.5, 1.0, None))
        usual.sign_dropout(matrix, None, generator, parameters)
        usual.passes(
            lambda *given: tuple(gradients), [(1, 2)] * 2, (1,), ((), ()), matrix, None, True, lambda *given: ()
        )
        usual.passes(
            lambda *given: (None,),
            [(1, 2)] * 2,
            (1,),
            ((), ()),
            matrix,
            [(0.5, 1.0, None)] * 2,
            True,
            lambda *given: 1.0,
        )

    use()
    gc.collect()
    before = [sys.getrefcount(entry) for entry in watched]
    for _ in range(100):
        use()
    gc.collect()
    assert [sys.getrefcount(entry) for entry in watched] == before
