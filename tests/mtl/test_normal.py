"""The flow of NORMAL: its formulas, its gradients, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pyasmg.mtl as mtl

pytest.importorskip("torchdiffeq")

WIDTH = 5


class Smooth(nn.Module):
    """g(z, t) without kinks, so that solvers and differences have their full order."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        return self.inner(z) * (1.0 + torch.sin(2.0 * t))


FINE = {"method": "rk4", "n_steps": 40}
EXACT = {"method": "dopri5", "rtol": 1e-11, "atol": 1e-12}


def block(n_tasks: int = 1, *, seed: int = 0, **options) -> mtl.NormalBlock:
    """A block in float64 whose networks are large enough to bend the flow."""
    torch.manual_seed(seed)
    made = mtl.NormalBlock(n_tasks, WIDTH, **options).double()
    with torch.no_grad():
        for parameter in made.flow.function.parameters():
            parameter.mul_(2.0)
    return made


def batch(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss_of(z: Tensor) -> Tensor:
    """A loss that is no linear function of z."""
    return (torch.sin(z) * torch.linspace(0.5, 2.0, z.numel(), dtype=z.dtype).view(z.shape)).sum()


def flow_at(made: mtl.NormalBlock, z: Tensor, position: Tensor) -> Tensor:
    return made.at(z, position)[0]


# ---- the formulas ----


@pytest.mark.parametrize("position", [0.7, -0.4, 1.0, 2.5])
def test_linear_flow_against_its_closed_form(position: float) -> None:
    """g = A z + b: (z, q) obeys a linear system, whose solution is a matrix exponential."""
    rng = np.random.default_rng(0)
    function = nn.Linear(WIDTH, WIDTH).double()
    matrix, shift = rng.standard_normal((WIDTH, WIDTH)), rng.standard_normal(WIDTH)
    with torch.no_grad():
        function.weight.copy_(torch.from_numpy(matrix))
        function.bias.copy_(torch.from_numpy(shift))

    class Force(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = function

        def forward(self, z: Tensor, t: Tensor) -> Tensor:
            return self.inner(z)

    velocity = nn.Linear(WIDTH, WIDTH).double()
    gamma, xi = 0.3, 0.7
    made = mtl.NormalBlock(1, WIDTH, gamma=gamma, xi=xi, function=Force(), velocity=velocity, **EXACT).double()
    assert float(torch.sigmoid(made.flow.omega.detach())) == pytest.approx(gamma, rel=1e-6)
    gamma = float(torch.sigmoid(made.flow.omega.detach()))
    z0 = batch(3, WIDTH)
    z, q = made.at(z0, position)
    n = WIDTH
    system = np.zeros((2 * n + 1, 2 * n + 1))
    system[:n, n : 2 * n] = -np.eye(n)
    system[n : 2 * n, :n] = matrix + xi * np.eye(n)
    system[n : 2 * n, n : 2 * n] = -gamma * np.eye(n)
    system[n : 2 * n, 2 * n] = shift
    start = np.hstack([z0.numpy(), velocity(z0).detach().numpy(), np.ones((3, 1))])
    expected = start @ torch.linalg.matrix_exp(torch.from_numpy(system * position)).numpy().T
    np.testing.assert_allclose(
        z.detach().numpy(), expected[:, :n], rtol=2e-7, atol=2e-7
    )  # gamma was rounded to float32
    np.testing.assert_allclose(q.detach().numpy(), expected[:, n : 2 * n], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("position", [1.25, -0.5])
@pytest.mark.parametrize("time_input", [False, True])
def test_euler_steps_by_hand(position: float, time_input: bool) -> None:
    """Eqs. 5.5-5.9 with four steps, written out."""
    made = block(n_steps=4, xi=0.4, gamma=0.2, time_input=time_input)
    z = z0 = batch(3, WIDTH)
    q = made.velocity(z)
    gamma = torch.sigmoid(made.flow.omega)
    h = position / 4
    for k in range(4):
        seen = torch.cat((z, torch.full((3, 1), k * h, dtype=z.dtype)), dim=1) if time_input else z
        force = made.flow.function.network(seen)
        z, q = z - h * q, q + h * (-gamma * q + force + 0.4 * z)
    found = made.at(z0, position)
    torch.testing.assert_close(found[0], z, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found[1], q, rtol=1e-13, atol=1e-13)


def test_first_order_by_hand() -> None:
    made = block(order=1, n_steps=3)
    z = z0 = batch(3, WIDTH)
    for _ in range(3):
        z = z + 0.9 / 3 * made.flow.function.network(z)
    found, q = made.at(z0, 0.9)
    torch.testing.assert_close(found, z, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(q, -made.flow.function.network(z), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_order_of_the_solvers(method: str, order: int) -> None:
    """Twice as many steps: the error falls by 2 to the order (g is smooth here)."""
    torch.manual_seed(0)
    z0, errors, parts = batch(3, WIDTH), [], {"function": Smooth(), "velocity": nn.Linear(WIDTH, WIDTH)}
    for options in ({"method": method, "n_steps": 8}, {"method": method, "n_steps": 16}):
        made, true = (
            mtl.NormalBlock(1, WIDTH, **parts, **chosen).double()
            for chosen in (options, {"method": "dopri8", "rtol": 1e-12, "atol": 1e-13})
        )
        errors.append(float((made.at(z0, 1.2)[0] - true.at(z0, 1.2)[0]).detach().abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2.0**order, rel=0.2)


@pytest.mark.parametrize("order", [1, 2])
def test_convolutions_are_the_same_flow_at_each_pixel(order: int) -> None:
    torch.manual_seed(0)
    maps = mtl.NormalBlock(2, WIDTH, layer="conv1x1", positions=[0.5, -1.0], order=order).double()
    vectors = mtl.NormalBlock(2, WIDTH, positions=[0.5, -1.0], order=order).double()
    state = {
        name: value.reshape(value.shape[:2]) if value.ndim == 4 else value for name, value in maps.state_dict().items()
    }
    vectors.load_state_dict(state)
    z = batch(2, WIDTH, 3, 4)
    pixels = z.movedim(1, -1).reshape(-1, WIDTH)
    for found, expected in zip(maps(z), vectors(pixels), strict=True):
        torch.testing.assert_close(found.movedim(1, -1).reshape(-1, WIDTH), expected, rtol=1e-12, atol=1e-12)


def test_each_task_is_at_its_position() -> None:
    made = block(3, positions=[0.5, 1.0, -0.25])
    z = batch(4, WIDTH)
    for task, found in enumerate(made(z)):
        assert torch.equal(found, flow_at(made, z, made.position(task)))
    own = [z, None, z[:2]]
    found = made(own)
    assert found[1] is None
    assert torch.equal(found[2], flow_at(made, z[:2], made.position(2)))


def test_exponential_form() -> None:
    made = block(2, positions=[0.5, 2.0], form="exp")
    np.testing.assert_allclose(made.positions, [0.5, 2.0], rtol=1e-7)
    np.testing.assert_allclose([float(c.detach()) for c in made.coordinates], np.log([0.5, 2.0]), rtol=1e-7)
    made(batch(3, WIDTH))[0].sum().backward()
    free = block(2, positions=[0.5, 2.0])
    free.load_state_dict({**made.state_dict(), "coordinates.0": torch.tensor(0.5), "coordinates.1": torch.tensor(2.0)})
    free(batch(3, WIDTH))[0].sum().backward()
    assert float(made.coordinates[0].grad) == pytest.approx(0.5 * float(free.coordinates[0].grad), rel=1e-6)


# ---- gradients of positions ----


@pytest.mark.parametrize("order", [2, 1])
@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("options", [FINE, EXACT], ids=["rk4", "dopri5"])
@pytest.mark.parametrize("position", [0.8, -0.6])
def test_gradient_of_a_position(order: int, adjoint: bool, options: dict, position: float) -> None:
    """Autograd, Eq. (5.11) and central differences agree."""
    made = block(order=order, adjoint=adjoint, function=Smooth(), positions=position, **options)
    z0 = batch(3, WIDTH)
    loss_of(made(z0)[0]).backward()
    found = float(made.coordinates[0].grad)
    with torch.no_grad():
        z, q = made.at(z0, made.position(0))
        step = 1e-4
        moved = [float(loss_of(flow_at(made, z0, made.position(0) + side * step))) for side in (-2, -1, 1, 2)]
    leaf = z.clone().requires_grad_()
    loss_of(leaf).backward()
    printed = -float((leaf.grad * q).sum())  # (5.11)
    differences = (moved[0] - 8.0 * moved[1] + 8.0 * moved[2] - moved[3]) / (12.0 * step)
    assert found == pytest.approx(printed, rel=1e-6)
    assert found == pytest.approx(differences, rel=1e-6)
    if adjoint:
        assert found == pytest.approx(printed, rel=1e-12)


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
@pytest.mark.parametrize("n_steps", [1, 4])
@pytest.mark.parametrize("position", [0.8, -0.6])
def test_gradient_of_the_steps_is_exact(method: str, n_steps: int, position: float) -> None:
    """Whatever the step, the direct gradient is that of the loss as computed: positions, networks, omega and z(0)."""
    made = block(method=method, n_steps=n_steps, positions=position, time_input=True, xi=0.5)
    z0 = batch(3, WIDTH).requires_grad_()
    names, parameters = zip(*made.named_parameters(), strict=True)

    def loss(*values: Tensor) -> Tensor:
        *given, z = values
        return loss_of(torch.func.functional_call(made, dict(zip(names, given, strict=True)), (z,))[0])

    assert torch.autograd.gradcheck(loss, (*parameters, z0), eps=1e-6, atol=1e-7, rtol=1e-6)


def test_adjoint_and_steps_agree_as_the_steps_shrink() -> None:
    gaps = []
    for n_steps in (8, 16, 32):
        found = []
        for adjoint in (False, True):
            made = block(n_steps=n_steps, adjoint=adjoint, positions=0.7)
            z0 = batch(3, WIDTH).requires_grad_()
            loss_of(made(z0)[0]).backward()
            found.append(torch.cat([*(p.grad.reshape(-1) for p in made.parameters()), z0.grad.reshape(-1)]))
        gaps.append(float((found[0] - found[1]).norm() / found[0].norm()))
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=0.35)
    assert gaps[1] / gaps[2] == pytest.approx(2.0, rel=0.35)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("adjoint", [False, True])
def test_a_position_of_zero_is_z0_and_can_leave(order: int, adjoint: bool) -> None:
    """There the gradient is -<dL/dz, q(0)>, and the limit of those beside it."""
    made, near = (block(order=order, adjoint=adjoint, positions=position, **FINE) for position in (0.0, 1e-7))
    z0 = batch(3, WIDTH)
    found = made(z0)[0]
    assert torch.equal(found, z0)
    loss_of(found).backward()
    loss_of(near(z0)[0]).backward()
    gradient = float(made.coordinates[0].grad)
    assert abs(gradient) > 1e-3
    assert gradient == pytest.approx(float(near.coordinates[0].grad), rel=1e-5)


def test_the_loss_of_one_task_moves_its_position_only() -> None:
    made = block(3, positions=[0.5, 1.0, 1.5])
    loss_of(made(batch(3, WIDTH))[1]).backward()
    assert [c.grad is None for c in made.coordinates] == [True, False, True]


def test_fixed_positions_stay() -> None:
    made = block(2, learn_positions=False, positions=[1.0, 1.25])
    loss_of(made(batch(3, WIDTH))[0]).backward()
    assert all(c.grad is None and not c.requires_grad for c in made.coordinates)
    assert all(p.grad is not None for p in made.flow.parameters())


def test_state_dict_is_exact() -> None:
    made, other = block(2, positions=[0.3, 0.9], seed=0), block(2, seed=1)
    other.load_state_dict(made.state_dict())
    for a, b in zip(made(batch(3, WIDTH)), other(batch(3, WIDTH)), strict=True):
        assert torch.equal(a, b)


def test_half_precision_in_comes_out_in_that_of_the_block() -> None:
    torch.manual_seed(0)
    made = mtl.NormalBlock(1, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = made(batch(3, WIDTH).bfloat16())
    found.sum().backward()
    assert found.dtype == torch.float32
    assert float(made.coordinates[0].grad) != 0.0


# ---- bad input ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "conv"}, r"`layer` must be one of 'linear', 'conv1x1'; got 'conv'\."),
        ({"form": "log"}, r"`form` must be one of 'free', 'exp'; got 'log'\."),
        ({"order": 3}, r"`order` must be one of 1, 2; got 3\."),
        ({"order": True}, r"`order` must be one of 1, 2; got True\."),
        ({"method": "heun"}, r"`method` must be one of 'euler', .*; got 'heun'\."),
        ({"n_steps": 0}, r"`n_steps` must be an integer >= 1; got 0\."),
        ({"hidden": 0}, r"`hidden` must be an integer >= 1; got 0\."),
        ({"gamma": 1.0}, r"`gamma` must be in \(0, 1\); got 1\."),
        ({"gamma": 0.0}, r"`gamma` must be a finite number > 0; got 0\."),
        ({"xi": np.nan}, r"`xi` must be a finite number"),
        ({"rtol": 0.0}, r"`rtol` must be a finite number > 0; got 0\."),
        ({"positions": [1.0]}, r"`positions` must be a scalar or of shape \(2,\); got shape \(1,\)\."),
        ({"positions": [1.0, np.inf]}, r"`positions` must be finite; got inf at index 1\."),
        ({"positions": [1.0, 0.0], "form": "exp"}, r"`positions` must be positive with form='exp'; got 0\."),
        ({"order": 1, "velocity": nn.Identity()}, r"`velocity` belongs to order=2"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.NormalBlock(2, WIDTH, **options)


def test_a_function_that_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"`function` must be a torch.nn.Module; got <function"):
        mtl.NormalBlock(2, WIDTH, function=lambda z, t: z)


def test_bad_representations() -> None:
    made = block(2)
    with pytest.raises(ValueError, match=r"`representation` must have shape \(batch, 5\); got \(3, 4\)\."):
        made(batch(3, 4))
    with pytest.raises(ValueError, match=r"must have shape \(batch, 5\); got \(3, 5, 2, 2\)\."):
        made(batch(3, 5, 2, 2))
    with pytest.raises(ValueError, match=r"must be a tensor or have n_tasks = 2 entries; got 3\."):
        made([batch(3, 5)] * 3)
    with pytest.raises(TypeError, match=r"must be a tensor of shape \(batch, 5\); got 'z'\."):
        made([batch(3, 5), "z"])
    with pytest.raises(TypeError, match=r"of a real floating-point type; got dtype torch.int64\."):
        made(torch.ones(3, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"must have shape \(batch, 5, height, width\); got \(3, 5\)\."):
        mtl.NormalBlock(1, WIDTH, layer="conv1x1")(batch(3, 5))


def test_a_position_that_has_diverged() -> None:
    made = block(2)
    with torch.no_grad():
        made.coordinates[1].fill_(torch.nan)
    with pytest.raises(ValueError, match=r"the position of task 1 must be a finite number; got nan\."):
        made(batch(3, WIDTH))


def test_without_torchdiffeq() -> None:
    code = """
import sys
sys.modules["torchdiffeq"] = None
import pyasmg.mtl
try:
    pyasmg.mtl.NormalBlock(2, 3)
except ImportError as error:
    assert 'pip install "pyasmg[normal]"' in str(error), error
else:
    raise AssertionError
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
