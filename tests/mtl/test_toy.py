"""The toy benchmark: its functions against PyTorch, and its loop against ``balancer.backward`` and PyTorch's Adam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).parents[2]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "XLA_FLAGS")
METHODS = (
    "LS",
    "MGDA",
    "CAGrad 0.4",
    "NashMTL",
    "FairGrad 2",
    "FAMO",
    "PIVRG",
    "BiLB4MTL by first losses, tau sigma, 1",
    "BiLB4MTL by bounds, tau one, 1",
)


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    for name in THREADS:
        monkeypatch.setenv(name, "")  # the module sets them on import: put back afterwards
    from bench.mtl import toy

    return toy


def losses(point: Tensor, scale: tuple[float, float], as_printed: bool) -> Tensor:
    """The functions as they are printed, with autograd."""
    x, y = point
    sign = -1.0 if as_printed else 1.0
    f1 = torch.clamp((0.5 * (-x - 7.0) - torch.tanh(-y)).abs(), min=0.000005).log() + 6.0
    f2 = torch.clamp((0.5 * (-x + 3.0) + sign * torch.tanh(-y) + 2.0).abs(), min=0.000005).log() + 6.0
    g1 = ((-x + 7.0) ** 2 + 0.1 * (-y - 8.0) ** 2) / 10.0 - 20.0
    g2 = ((-x - 7.0) ** 2 + 0.1 * (-y - 8.0) ** 2) / 10.0 - 20.0
    c1, c2 = torch.clamp(torch.tanh(0.5 * y), min=0.0), torch.clamp(torch.tanh(-0.5 * y), min=0.0)
    return torch.stack([scale[0] * (c1 * f1 + c2 * g1), scale[1] * (c1 * f2 + c2 * g2)])


@pytest.mark.parametrize("key", ["code", "bilb", "pivrg"])
def test_losses_and_gradients(toy, key: str) -> None:
    problem = toy.PROBLEMS[key]
    points = np.vstack([problem.starts, np.random.default_rng(0).uniform(-10.0, 10.0, (40, 2)), [[-7.0, 1e-9]]])
    values, gradients = problem.losses_and_gradients(points)
    for point, value, gradient in zip(points, values, gradients, strict=True):
        tensor = torch.from_numpy(point.copy()).requires_grad_()
        found = losses(tensor, problem.scale, problem.as_printed)
        np.testing.assert_allclose(value, found.detach(), rtol=1e-12, atol=1e-13)
        for i in range(2):
            (expected,) = torch.autograd.grad(found[i], tensor, retain_graph=True)
            np.testing.assert_allclose(gradient[i], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("key", "expected"), [("code", [-1.509, -15.09]), ("pivrg", [-15.09, -15.09])])
def test_the_balanced_point(toy, key: str, expected: list[float]) -> None:
    problem = toy.PROBLEMS[key]
    values, gradients = problem.losses_and_gradients(np.array([[0.0, -8.355]]))
    np.testing.assert_allclose(values[0], expected, rtol=5e-4)
    assert problem.balance(values)[0] == pytest.approx(0.0, abs=1e-12)
    assert toy.is_balanced(problem, values).tolist() == [True]
    assert problem.distance_to_front(values)[0] < 1e-5
    weighted = gradients[0] / np.array(problem.scale)[:, None]
    np.testing.assert_allclose(weighted.sum(axis=0), 0.0, atol=2e-4)  # Pareto stationary


def test_the_front(toy) -> None:
    """Each point is Pareto stationary, and those beside it are worse in one of the losses."""
    problem = toy.PROBLEMS["code"]
    front = problem.front
    assert (np.diff(front[:, 0]) < 0).all()
    assert (np.diff(front[:, 1]) > 0).all()
    np.testing.assert_allclose(front[[0, -1]], [[-0.04, -20.0], [-2.0, -0.4]], atol=0.05)
    assert problem.distance_to_front(front[5000:5003] + np.array([0.1, 0.0]))[0] > 0.1
    np.testing.assert_allclose(problem.distance_to_front(front[[0, 777, -1]]), 0.0, atol=1e-9)


@pytest.mark.parametrize("key", ["code", "pivrg"])
@pytest.mark.parametrize("name", METHODS)
def test_the_loop_is_that_of_a_user(toy, name: str, key: str) -> None:
    method, problem = toy.METHODS[name], toy.PROBLEMS[key]
    steps = 15
    offset = torch.from_numpy(problem.lowest if method.shift else np.zeros(2))
    divisor = torch.from_numpy(-problem.lowest if method.divide else np.ones(2))
    found = toy.run(method, problem, steps).points[-1]
    for start, end in zip(problem.starts, found, strict=True):
        point = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
        optimizer = torch.optim.Adam([point], lr=1e-3)
        balancer = method.make(problem)
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            values = (losses(point, problem.scale, problem.as_printed) - offset) / divisor
            if step > 1 and method.after_step is not None:
                method.after_step(balancer, values.detach().numpy())
            if method.before_step is not None:
                method.before_step(balancer, values.detach().numpy(), step)
            balancer.backward(values, shared=[point])
            point.grad.copy_(torch.from_numpy(toy.clipped(point.grad.numpy(), method)))
            optimizer.step()
        # a step is 1e-3 long; where a gradient is nothing but rounding, Adam makes up to 1e-8 of it
        np.testing.assert_allclose(end, point.detach(), rtol=1e-7, atol=1e-6, err_msg=f"{start}")


def test_a_few_hundred_steps(toy) -> None:
    problem = toy.PROBLEMS["code"]
    traces = {"code": {name: toy.run(toy.METHODS[name], problem, 300) for name in ("LS", "PIVRG", "FairGrad 2")}}
    for trace in traces["code"].values():
        assert trace.points.shape == (300 // toy.EVERY + 1, 5, 2)
        assert np.isfinite(trace.losses).all()
        assert (np.abs(trace.points[-1] - problem.starts) <= 0.5).all()  # a step of Adam is about 1e-3 long
        assert (trace.losses[-1].sum(axis=1) < trace.losses[0].sum(axis=1)).all()
    lines = dict(toy.acceptance(traces))
    assert lines["LS ends where it is known to, from all starts"] is False
    assert lines["PIVRG reaches the front from all starts (code)"] is False
    assert toy.table_of("code", traces["code"], 300).rows[2][-1] == "OFF"
    assert toy.summary_of(traces).rows[0][:3] == ["LS", "code", 0]


def test_verdicts(toy) -> None:
    agrees = toy.agrees
    assert agrees("LS", 0, np.array([-0.40, -19.7]), True) is True
    assert agrees("LS", 0, np.array([-0.45, -19.83]), True) is False
    assert agrees("LS", 0, np.array([-0.38, -19.83]), False) is False
    assert agrees("LS", 2, np.array([0.7, 0.4]), False) is True
    assert agrees("FAMO 1e-3", 0, np.array([0.0, 0.0]), True) is False
    assert agrees("PIVRG", 0, np.array([0.0, 0.0]), True) is None
    assert set(toy.KNOWN) | set(toy.KNOWN_ON) <= set(toy.METHODS)


def test_the_command(toy, monkeypatch, tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    from bench import common

    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(toy, "QUICK", 100)
    monkeypatch.setattr(toy, "STEPS", 60)
    arguments = ["toy.py", "--problems", "code", "--methods", "LS", "FAMO 1e-3", "BiLB4MTL identical, tau one, 1"]
    monkeypatch.setattr("sys.argv", [*arguments, "--quick"])
    assert toy.main() == 0
    assert "acceptance: only after 60 steps." in capsys.readouterr().out
    lines = (tmp_path / "mtl_toy_code.csv").read_text().splitlines()
    assert lines[2].startswith("method,start,L1,L2,distance to the front,ON,balance,balanced,known end")
    assert len(lines) == 3 + 3 * 5
    assert (tmp_path / "mtl_toy_code.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "mtl_toy_summary.csv").read_text().splitlines()) == 3 + 3
    monkeypatch.setattr("sys.argv", arguments)
    assert toy.main() == 1
    out = capsys.readouterr().out
    assert "LS ends where it is known to, from all starts: NO" in out
    assert "BiLB4MTL, 0 of 1 settings reach balance (code): NO" in out
