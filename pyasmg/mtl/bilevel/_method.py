"""What all bilevel methods share: variables, optimizers, steps that change all or nothing, state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..._validate import describe, integer, number
from .._gram import gram_matrix
from .._state import pack, unpack
from .._types import FloatArray
from ._diagnostics import BilevelDiagnostics
from ._lower import check_losses, descend
from ._variables import Variables
from .constraints import Constraint
from .problem import Batches, BilevelProblem, lower_value, upper_values

STATE_VERSION = 1
LowerStart = Literal["current", "initial"]


class Update(NamedTuple):
    """What one step will change: gradients for the optimizers, or new values of omega; fields of the method."""

    diagnostics: BilevelDiagnostics
    alpha: Tensor | None = None  # gradient, shape (n,)
    omega: Tensor | None = None  # gradient, shape (p,)
    omega_values: Sequence[Tensor] | None = None
    fields: Mapping[str, Any] = {}


class BilevelMethod(ABC):
    r"""A method for a :class:`BilevelProblem`: :meth:`step` updates alpha and omega in place.

    Parameters
    ----------
    problem : BilevelProblem
        The two levels; anything with the methods `upper` and `lower` will do.
    alpha, omega : Tensor, dict of tensors, or nn.Module
        The variables of the upper and of the lower level, which the steps overwrite. Of a module, the parameters that
        require a gradient.
    alpha_optimizer, omega_optimizer : torch.optim.Optimizer
        Of these tensors, of any kind. They receive the direction of the method as the gradient; schedulers work.
    lower_steps : int
        T, steps of plain gradient descent on the lower level in each iteration.
    lower_learning_rate : float
        Their step size, :math:`\eta`.
    lower_start : {"current", "initial"}
        Where they start: at omega, or at what it was when the method was made.
    constraint : Constraint, or dict of them by name, optional
        On alpha: :class:`Free`, :class:`Box`, :class:`Simplex` or :class:`Softmax`. Projections follow the optimizer.
    """

    #: Attributes that are part of the state, beside the variables and the optimizers.
    _state_fields: ClassVar[tuple[str, ...]] = ()
    #: Whether an optimizer for omega must be given.
    _needs_omega_optimizer: ClassVar[bool] = True

    def __init__(
        self,
        problem: BilevelProblem,
        alpha: Any,
        omega: Any,
        *,
        alpha_optimizer: torch.optim.Optimizer,
        omega_optimizer: torch.optim.Optimizer | None = None,
        lower_steps: int = 1,
        lower_learning_rate: float = 0.1,
        lower_start: LowerStart = "current",
        constraint: Constraint | Mapping[str, Constraint] | None = None,
    ) -> None:
        for name in ("upper", "lower"):
            if not callable(getattr(problem, name, None)):
                raise TypeError(f"`problem` must be a BilevelProblem; got {describe(problem)}, without `{name}`.")
        self.problem = problem
        self.alpha = Variables("alpha", alpha, constraint)
        self.omega = Variables("omega", omega)
        if {id(tensor) for tensor in self.alpha.tensors} & {id(tensor) for tensor in self.omega.tensors}:
            raise ValueError("`alpha` and `omega` must have no tensor in common.")
        self.alpha.check_optimizer("alpha_optimizer", alpha_optimizer)
        if omega_optimizer is not None or self._needs_omega_optimizer:
            self.omega.check_optimizer("omega_optimizer", omega_optimizer)
        self.alpha_optimizer, self.omega_optimizer = alpha_optimizer, omega_optimizer
        self.lower_steps = integer("lower_steps", lower_steps, 1)
        self.lower_learning_rate = number("lower_learning_rate", lower_learning_rate, low=0.0, strict=True)
        if lower_start not in ("current", "initial"):
            raise ValueError(f"`lower_start` must be 'current' or 'initial'; got {lower_start!r}.")
        self.lower_start: LowerStart = lower_start
        self._initial = self.omega.copies() if lower_start == "initial" else None
        self.n_objectives: int | None = None
        self.iteration = 0
        self._diagnostics: BilevelDiagnostics | None = None
        self._workspace: Tensor | None = None

    def step(self, batches: Batches | None = None) -> BilevelDiagnostics:
        """Take one iteration, and return what it did.

        Parameters
        ----------
        batches : Batches, optional
            Where mini-batches are drawn from, each as often as the method evaluates its level on new data. None: the
            functions of the problem get the batch None.

        Raises
        ------
        DivergenceError
            If the loss of the lower level does not stay finite, or explodes.
        TypeError, ValueError
            For values of the wrong shape, an objective or a gradient that is not finite (it is named).

        Notes
        -----
        After an error, alpha, omega, the buffers of modules, the optimizers and the state of the method are as before;
        the batches remain drawn.
        """
        source = Batches() if batches is None else batches
        for name in ("next_upper", "next_lower"):
            if not callable(getattr(source, name, None)):
                raise TypeError(f"`batches` must be Batches or None; got {describe(batches)}.")
        buffers = [*self.alpha.buffers(), *self.omega.buffers()]
        kept = [buffer.clone() for buffer in buffers]
        count = self.n_objectives
        try:
            update = self._compute(source)
            self._check_update(update)
        except BaseException:
            self.n_objectives = count
            with torch.no_grad():
                for buffer, before in zip(buffers, kept, strict=True):
                    buffer.copy_(before)
            raise
        self._apply(update)
        self.iteration += 1
        self._diagnostics = update.diagnostics
        return update.diagnostics

    @abstractmethod
    def _compute(self, batches: Batches) -> Update:
        """Return what the step will change, without changing anything but buffers of modules."""

    @property
    def diagnostics(self) -> BilevelDiagnostics | None:
        """What the last step returned; None before the first."""
        return self._diagnostics

    # ---- the two levels ----

    def _upper(self, alpha: Sequence[Tensor], omega: Sequence[Tensor], batch: Any) -> Tensor:
        """Return the objectives, shape (m,)."""
        found = self.problem.upper(self.alpha.view(alpha), self.omega.view(omega), batch)
        values = upper_values(found, self.n_objectives)
        if self.n_objectives is None:
            self._set_n_objectives(len(values))
        return values

    def _set_n_objectives(self, m: int) -> None:
        """Learn m, at the first evaluation or from a state."""
        self.n_objectives = m

    def _new_matrix(self, n_rows: int, n_columns: int) -> Tensor:
        """Return a matrix for gradients, the same from step to step; fresh pages cost as much as a backward pass."""
        tensors = [*self.alpha.tensors, *self.omega.tensors]
        dtype = tensors[0].dtype
        for tensor in tensors:
            dtype = torch.promote_types(dtype, tensor.dtype)
        kept = self._workspace
        if kept is None or kept.shape != (n_rows, n_columns) or kept.dtype != dtype or kept.device != tensors[0].device:
            kept = self._workspace = torch.empty((n_rows, n_columns), dtype=dtype, device=tensors[0].device)
        return kept

    def _gram(self, matrix: Tensor) -> FloatArray:
        """Return the Gram matrix of gradients; refuse those that are not finite."""
        gram = gram_matrix(matrix)
        if not np.isfinite(gram).all():
            row = int(np.flatnonzero(~np.isfinite(np.diag(gram)))[0])
            what = f"objective {row} of `upper`" if row < (self.n_objectives or 0) else "`lower`"
            raise ValueError(f"the gradients must be finite; that of {what} is not.")
        return gram

    def _upper_array(self, values: Tensor) -> FloatArray:
        """Return the objectives on the host; refuse those that are not finite."""
        array: FloatArray = values.detach().double().cpu().numpy()
        if not np.isfinite(array).all():
            index = int(np.flatnonzero(~np.isfinite(array))[0])
            raise ValueError(f"the objectives of `upper` must be finite; number {index} is {array[index]:g}.")
        return array

    def _lower(self, alpha: Sequence[Tensor], omega: Sequence[Tensor], batch: Any) -> Tensor:
        """Return the loss of the lower level, a scalar."""
        return lower_value(self.problem.lower(self.alpha.view(alpha), self.omega.view(omega), batch))

    def _lower_origin(self) -> list[Tensor]:
        """Return where the lower steps start; not to be written to."""
        return self.omega.constants() if self._initial is None else self._initial

    def _solve_lower(self, batches: Batches) -> tuple[list[Tensor], list[Tensor]]:
        """Return omega after the lower steps, and the losses on the way; the buffers of modules stay as they were."""
        alpha = self.alpha.view(self.alpha.constants())

        def loss_of(omega: Sequence[Tensor], batch: Any) -> Tensor:
            return self.problem.lower(alpha, self.omega.view(omega), batch)

        with self._buffers_kept():
            return descend(
                loss_of, self._lower_origin(), batches.next_lower, self.lower_steps, self.lower_learning_rate
            )

    @contextmanager
    def _buffers_kept(self) -> Iterator[None]:
        """Leave the buffers of modules, such as running means, as they were."""
        buffers = [*self.alpha.buffers(), *self.omega.buffers()]
        kept = [buffer.clone() for buffer in buffers]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in zip(buffers, kept, strict=True):
                    buffer.copy_(before)

    def _check_lower(self, losses: Sequence[Tensor]) -> list[float]:
        return check_losses(losses, self.iteration, self.lower_learning_rate)

    # ---- what is written ----

    def _check_update(self, update: Update) -> None:
        for name, gradient in (("alpha", update.alpha), ("omega", update.omega)):
            if gradient is not None and not bool(gradient.isfinite().all()):
                raise ValueError(f"the direction in `{name}` must be finite; it is not.")
        for tensor in update.omega_values or ():
            if not bool(tensor.isfinite().all()):
                raise ValueError("the lower steps must give finite values of `omega`; they do not.")

    def _apply(self, update: Update) -> None:
        for name, value in update.fields.items():
            setattr(self, name, value)
        if update.omega_values is not None:
            self.omega.write(update.omega_values)
        if update.alpha is not None:
            self.alpha.descend(update.alpha, self.alpha_optimizer)
        if update.omega is not None and self.omega_optimizer is not None:
            self.omega.descend(update.omega, self.omega_optimizer)

    # ---- state ----

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on but the batches: variables, buffers, optimizers, iteration.

        Plain data: ``torch.load(weights_only=True)`` reads it back.
        """
        optimizers = {"alpha_optimizer": self.alpha_optimizer, "omega_optimizer": self.omega_optimizer}
        return {
            "version": STATE_VERSION,
            "method": type(self).__name__,
            "iteration": self.iteration,
            "n_objectives": self.n_objectives,
            "tensors": {name: [entry.clone() for entry in found] for name, found in self._tensors().items()},
            **{name: None if entry is None else deepcopy(entry.state_dict()) for name, entry in optimizers.items()},
            "fields": {name: self._pack(name) for name in self._state_fields},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, in place; the method must be made with the same options."""
        expected = (STATE_VERSION, type(self).__name__)
        got = (state.get("version"), state.get("method"))
        if got != expected:
            raise ValueError(f"the state must be of (version, method) = {expected}; got {got}.")
        own, given = self._tensors(), state["tensors"]
        for name, tensors in own.items():
            shapes = [tuple(entry.shape) for entry in tensors]
            if name not in given or [tuple(entry.shape) for entry in given[name]] != shapes:
                found = [tuple(entry.shape) for entry in given.get(name, [])]
                raise ValueError(f"the state must hold `{name}` of shapes {shapes}; got {found}.")
        if (state["omega_optimizer"] is None) != (self.omega_optimizer is None):
            raise ValueError("the state and the method must both have an `omega_optimizer`, or neither.")
        if state["n_objectives"] is not None and state["n_objectives"] != self.n_objectives:
            self._set_n_objectives(state["n_objectives"])
        self.iteration = state["iteration"]
        with torch.no_grad():
            for name, tensors in own.items():
                for tensor, value in zip(tensors, given[name], strict=True):
                    tensor.copy_(value)
        self.alpha_optimizer.load_state_dict(deepcopy(state["alpha_optimizer"]))  # which would share its tensors
        if self.omega_optimizer is not None:
            self.omega_optimizer.load_state_dict(deepcopy(state["omega_optimizer"]))
        for name in self._state_fields:
            self._unpack(name, state["fields"][name])

    def _tensors(self) -> dict[str, list[Tensor]]:
        found = {
            "alpha": self.alpha.constants(),
            "omega": self.omega.constants(),
            "buffers": [*self.alpha.buffers(), *self.omega.buffers()],
        }
        return found if self._initial is None else {**found, "initial": self._initial}

    def _pack(self, name: str) -> Any:
        value = getattr(self, name)
        return value.state_dict() if isinstance(value, torch.nn.Module) else pack(value)

    def _unpack(self, name: str, packed: Any) -> None:
        value = getattr(self, name)
        if isinstance(value, torch.nn.Module):
            value.load_state_dict(packed)
        else:
            setattr(self, name, unpack(value, packed))
