"""The dynamic flow behind :class:`pyasmg.mtl.NormalBlock`: right-hand sides, layers, and the solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

Layer = Literal["linear", "conv1x1"]
FIXED = ("euler", "midpoint", "rk4")
ADAPTIVE = ("adaptive_heun", "bosh3", "fehlberg2", "dopri5", "dopri8")
MISSING = 'NormalBlock needs torchdiffeq: pip install "pyasmg[normal]".'


def two_layers(layer: Layer, n_inputs: int, hidden: int, n_outputs: int) -> nn.Sequential:
    """Return a layer, LeakyReLU, and a layer (thesis, sec. 5.5.1): on vectors, or on each pixel of a map."""
    if layer == "linear":
        return nn.Sequential(nn.Linear(n_inputs, hidden), nn.LeakyReLU(), nn.Linear(hidden, n_outputs))
    return nn.Sequential(nn.Conv2d(n_inputs, hidden, 1), nn.LeakyReLU(), nn.Conv2d(hidden, n_outputs, 1))


class TimeAware(nn.Module):
    """g(z, t) as a network that sees t as one more entry (one more channel) beside z; without `sees_time`, z alone."""

    def __init__(self, layer: Layer, width: int, hidden: int, sees_time: bool) -> None:
        super().__init__()
        self.sees_time = sees_time
        self.network = two_layers(layer, width + int(sees_time), hidden, width)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        if self.sees_time:
            z = torch.cat((z, t.to(z).expand_as(z[:, :1])), dim=1)
        found: Tensor = self.network(z)
        return found


class FirstOrder(nn.Module):
    """dz/dt = g(z, t), Eq. (5.1); the state is z."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        slope: Tensor = self.function(z, t)
        return slope.to(z.dtype)


class HeavyBall(nn.Module):
    """dz/dt = -q, dq/dt = -gamma q + g(z, t) + xi z, Eq. (5.5); the state is (z, q), stacked."""

    def __init__(self, function: nn.Module, gamma: float, xi: float) -> None:
        super().__init__()
        self.function = function
        self.omega = nn.Parameter(torch.logit(torch.tensor(gamma, dtype=torch.float64)).to(torch.get_default_dtype()))
        self.xi = xi

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        z, q = state.unbind(0)
        force = self.function(z, t).to(z.dtype)
        return torch.stack((-q, force + self.xi * z - torch.sigmoid(self.omega) * q))


def solvers() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Return torchdiffeq's ``odeint`` and ``odeint_adjoint``."""
    try:
        from torchdiffeq import odeint, odeint_adjoint
    except ImportError as error:
        raise ImportError(MISSING) from error
    return odeint, odeint_adjoint


def integrate(
    flow: nn.Module,
    state: Tensor,
    position: Tensor,
    *,
    method: str,
    n_steps: int,
    rtol: float,
    atol: float,
    adjoint: bool,
) -> Tensor:
    """Return the state at a position, a scalar of either sign, from the state at 0.

    A method with a fixed step takes `n_steps` equal ones: the result is then a smooth function of the position.
    """
    size = abs(float(position.detach()))
    if size < 2.0 * n_steps * torch.finfo(state.dtype).tiny:  # no room for steps: the flow to first order, exact at 0
        start: Tensor = flow(torch.zeros_like(position), state)
        return state + position * start
    odeint, odeint_adjoint = solvers()
    options: dict[str, Any] = {}
    if method in FIXED:
        fractions = torch.arange(n_steps, dtype=state.dtype, device=state.device) / n_steps

        def grid(_flow: Any, _state: Tensor, times: Tensor) -> Tensor:
            return torch.cat((times[0] + (times[-1] - times[0]) * fractions, times[-1:]))

        options["grid_constructor"] = grid
    times = torch.stack((torch.zeros_like(position), position))
    if adjoint:
        trained = tuple(parameter for parameter in flow.parameters() if parameter.requires_grad)
        found = odeint_adjoint(
            flow, state, times, rtol=rtol, atol=atol, method=method, options=options, adjoint_params=trained
        )
    else:
        found = odeint(flow, state, times, rtol=rtol, atol=atol, method=method, options=options)
    return found[-1]
