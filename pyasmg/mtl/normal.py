"""NORMAL: a flow in the space of representations, and a learnable position in it for each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from .._validate import describe, integer, number, vector
from ._normal_flow import ADAPTIVE, FIXED, FirstOrder, HeavyBall, Layer, TimeAware, integrate, solvers, two_layers
from ._types import FloatArray

Form = Literal["free", "exp"]


class NormalBlock(nn.Module):
    r"""The time-aware neural ODE block of NORMAL (thesis, ch. 5; Ye et al., IJCAI 2023).

    Between trunk and heads, the representation :math:`z(0)` of a batch moves along a flow that all tasks share, each
    task up to its own position :math:`p_i`, which is learned like any other parameter:

    .. math:: \frac{dz}{dt} = -q, \qquad \frac{dq}{dt} = -\gamma q + g(z, t) + \xi z, \qquad q(0) = u(z(0)),
              \qquad \gamma = \mathrm{sigmoid}(\omega)

    (Eqs. 5.5-5.9); the head of task i sees :math:`z(p_i)`. The gradient of its loss on the position is that of
    Eq. (5.11), :math:`dL_i / dp_i = -\langle \partial L_i / \partial z(p_i),\, q(p_i) \rangle`.

    Parameters
    ----------
    n_tasks : int
        m.
    width : int
        n, the entries of a representation of shape (batch, n), or the channels of one of shape (batch, n, h, w).
    layer : {"linear", "conv1x1"}
        Of u and g, each a layer, LeakyReLU, and a layer: fully connected, or a 1 x 1 convolution.
    hidden : int, optional
        Width between the two layers; n by default, as in the thesis.
    positions : float or sequence of m floats
        At the start.
    learn_positions : bool
        Whether they are trained. Fixed and all alike they make the block a part of the trunk (Table 5.4).
    form : {"free", "exp"}
        The trained number is :math:`p_i` itself, or its logarithm: positions are positive then (Table 5.4).
    order : {2, 1}
        1 for :math:`dz/dt = g(z, t)`, Eq. (5.1), without u, gamma and xi (Table 5.4).
    method : str
        Of torchdiffeq: "euler", "midpoint", "rk4" with a fixed step, or "adaptive_heun", "bosh3", "fehlberg2",
        "dopri5", "dopri8" with an error control.
    n_steps : int
        Of a method with a fixed step, from 0 to :math:`p_i`. One step of Euler's method would not see g at all where
        the flow is of second order.
    rtol, atol : float
        Tolerances of a method with an error control.
    adjoint : bool
        Solve the adjoint equation backwards instead of keeping the steps: memory independent of their number, and
        gradients that are those of the flow, not of its discretisation, so that they are as exact as the steps are
        small. For the position that is Eq. (5.11) literally.
    gamma : float
        At the start, in (0, 1).
    xi : float
        Weight of the skip connection.
    time_input : bool
        Whether g sees t as one more entry beside z. In the thesis's networks it does not.
    velocity, function : torch.nn.Module, optional
        Your own ``u(z)`` and ``g(z, t)``, of the shape of z, in place of the two layers.

    Raises
    ------
    ImportError
        Without torchdiffeq.

    Notes
    -----
    Time: as many evaluations of g as the method takes, for each task. Memory for the way back: as many activations,
    or those of one evaluation with `adjoint`.

    Deviations. The thesis trains through the adjoint equation, with Euler's method, and says that no framework
    differentiates the integration limit; torchdiffeq does. By default the gradients here are those of the steps that
    were taken, on positions as on everything else, so that they agree with finite differences of the loss; the
    adjoint with Euler's method does so only up to the order of the step. The thesis prints neither the number of
    steps, nor xi, nor what gamma and the positions start from; gamma's start is that of the heavy-ball ODE's authors.

    Examples
    --------
    ::

        block = pyasmg.mtl.NormalBlock(n_tasks=3, width=512)
        outputs = [head(z) for head, z in zip(heads, block(trunk(batch)))]
    """

    def __init__(
        self,
        n_tasks: int,
        width: int,
        *,
        layer: Layer = "linear",
        hidden: int | None = None,
        positions: float | Sequence[float] = 1.0,
        learn_positions: bool = True,
        form: Form = "free",
        order: Literal[1, 2] = 2,
        method: str = "euler",
        n_steps: int = 4,
        rtol: float = 1e-5,
        atol: float = 1e-6,
        adjoint: bool = False,
        gamma: float = 0.05,
        xi: float = 0.1,
        time_input: bool = False,
        velocity: nn.Module | None = None,
        function: nn.Module | None = None,
    ) -> None:
        super().__init__()
        solvers()
        self.n_tasks = integer("n_tasks", n_tasks, 1)
        self.width = integer("width", width, 1)
        _one_of("layer", layer, ("linear", "conv1x1"))
        _one_of("form", form, ("free", "exp"))
        _one_of("order", order, (1, 2))
        _one_of("method", method, (*FIXED, *ADAPTIVE))
        self.layer, self.form, self.order, self.method = layer, form, order, method
        self.n_steps = integer("n_steps", n_steps, 1)
        self.rtol = number("rtol", rtol, low=0.0, strict=True)
        self.atol = number("atol", atol, low=0.0, strict=True)
        self.adjoint = bool(adjoint)
        start = number("gamma", gamma, low=0.0, strict=True)
        if start >= 1.0:
            raise ValueError(f"`gamma` must be in (0, 1); got {start:g}.")
        between = self.width if hidden is None else integer("hidden", hidden, 1)
        if order == 1 and velocity is not None:
            raise ValueError("`velocity` belongs to order=2; a flow of first order has no initial velocity.")
        function = _module("function", function) or TimeAware(layer, self.width, between, bool(time_input))
        self.velocity: nn.Module | None = None
        self.flow: FirstOrder | HeavyBall
        if order == 1:
            self.flow = FirstOrder(function)
        else:
            self.velocity = _module("velocity", velocity) or two_layers(layer, self.width, between, self.width)
            self.flow = HeavyBall(function, start, number("xi", xi, low=-np.inf))
        first = vector("positions", positions, self.n_tasks)
        if form == "exp":
            if first.min() <= 0.0:
                raise ValueError(f"`positions` must be positive with form='exp'; got {first.min():g}.")
            first = np.log(first)
        #: One number per task: its position, or the logarithm of it.
        self.coordinates = nn.ParameterList(
            nn.Parameter(torch.tensor(value), requires_grad=bool(learn_positions)) for value in first.tolist()
        )

    @property
    def positions(self) -> FloatArray:
        """The positions now, shape (m,): a copy, for records and plots."""
        return np.array([float(self.position(task).detach()) for task in range(self.n_tasks)])

    def position(self, task: int) -> Tensor:
        """Return the position of a task, a scalar with its graph."""
        coordinate = cast(Tensor, self.coordinates[task])
        return coordinate.exp() if self.form == "exp" else coordinate

    def forward(self, representation: Tensor | Sequence[Tensor | None]) -> list[Tensor | None]:
        """Return :math:`z(p_i)` for each task.

        Parameters
        ----------
        representation : Tensor, or sequence of m tensors
            z(0), of shape (batch, n) or (batch, n, h, w); or one for each task, where each has inputs of its own. None
            for a task without.

        Returns
        -------
        list of m tensors
            Each of the shape of z(0).
        """
        if isinstance(representation, Tensor):
            return [self.at(representation, self.position(task), name=task)[0] for task in range(self.n_tasks)]
        each = list(representation)
        if len(each) != self.n_tasks:
            raise ValueError(
                f"`representation` must be a tensor or have n_tasks = {self.n_tasks} entries; got {len(each)}."
            )
        return [None if z is None else self.at(z, self.position(task), name=task)[0] for task, z in enumerate(each)]

    def at(self, representation: Tensor, position: Tensor | float, *, name: Any = None) -> tuple[Tensor, Tensor]:
        """Return z and q = -dz/dt at any position in the flow.

        Parameters
        ----------
        representation : Tensor
            z(0).
        position : scalar tensor or float
            Of either sign.
        name : object, optional
            Of the task, for messages.

        Raises
        ------
        ValueError
            For a representation of another width or kind, or a position that is not finite.
        """
        self._check(representation)
        dtype = torch.promote_types(representation.dtype, self.position(0).dtype)
        where = position if isinstance(position, Tensor) else torch.tensor(position, dtype=dtype)
        if not bool(torch.isfinite(where.detach()).all()) or where.ndim:
            of = "" if name is None else f" of task {name}"
            raise ValueError(f"the position{of} must be a finite number; got {describe(where.detach().tolist())}.")
        z, where = representation.to(dtype), where.to(representation.device, dtype)
        state = z if self.velocity is None else torch.stack((z, self.velocity(z).to(dtype)))
        found = integrate(
            self.flow,
            state,
            where,
            method=self.method,
            n_steps=self.n_steps,
            rtol=self.rtol,
            atol=self.atol,
            adjoint=self.adjoint,
        )
        if self.velocity is None:
            return found, -self.flow(where, found)
        return found[0], found[1]

    def _check(self, z: Any) -> None:
        ndim = 2 if self.layer == "linear" else 4
        shape = f"(batch, {self.width})" if ndim == 2 else f"(batch, {self.width}, height, width)"
        if not isinstance(z, Tensor):
            raise TypeError(f"`representation` must be a tensor of shape {shape}; got {describe(z)}.")
        if not z.dtype.is_floating_point:
            raise TypeError(f"`representation` must be of a real floating-point type; got dtype {z.dtype}.")
        if z.ndim != ndim or z.shape[1] != self.width:
            raise ValueError(f"`representation` must have shape {shape}; got {tuple(z.shape)}.")

    def extra_repr(self) -> str:
        """Return what stands in ``repr``."""
        return f"n_tasks={self.n_tasks}, order={self.order}, method={self.method!r}, n_steps={self.n_steps}"


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if isinstance(value, bool) or value not in allowed:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}; got {describe(value)}.")


def _module(name: str, value: Any) -> nn.Module | None:
    if value is not None and not isinstance(value, nn.Module):
        raise TypeError(f"`{name}` must be a torch.nn.Module; got {describe(value)}.")
    return value
