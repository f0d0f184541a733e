"""What all balancers share, and those that look at the values of the losses only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from .._validate import integer, vector
from ._diagnostics import Diagnostics
from ._distributed import mean_gradients
from ._losses import Losses
from ._parameters import accumulate, check_lists, leaves
from ._state import pack, unpack
from ._types import Call, FloatArray, LossesLike, ParametersLike, Scaler, TensorsLike

STATE_VERSION = 1


class Balancer(nn.Module, ABC):
    """A rule that turns the losses of several tasks into one gradient.

    Parameters
    ----------
    n_tasks : int
        m, the number of tasks.

    Attributes
    ----------
    preference : ndarray, shape (m,), or None
        A positive weight per task, such as the performance-informed weights of PIVRG, Eq. (5); None weighs all tasks
        alike. What a method makes of it stands in its docstring; where nothing stands there, loss i is multiplied by
        ``preference[i]`` before the method sees it.
    """

    #: Whether the values of the losses enter, beside their gradients.
    looks_at_losses: bool = True
    #: Attributes beside tensors of the module that are part of its state.
    _state_fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, n_tasks: int) -> None:
        super().__init__()
        self.n_tasks = integer("n_tasks", n_tasks, 1)
        self._preference: FloatArray | None = None
        self._diagnostics: Diagnostics | None = None

    def backward(
        self,
        losses: LossesLike,
        *,
        shared: ParametersLike | None = None,
        heads: Sequence[ParametersLike] | None = None,
        features: TensorsLike | None = None,
        retain_graph: bool = False,
        scaler: Scaler | None = None,
        group: Any = None,
    ) -> None:
        """Add the balanced gradient to ``.grad`` of the parameters, as ``loss.backward()`` does.

        Nothing is written before everything has been checked and computed: after an error, ``.grad`` is as before.

        Parameters
        ----------
        losses : sequence of m scalar tensors, or a tensor of shape (m,)
            A list is faster where per-task gradients are needed: through a tensor made by ``torch.stack``, each
            task's backward pass visits the heads of all.
        shared : iterable of parameters, optional
            The parameters that all tasks share. Those that do not require a gradient are left out; a task may leave
            any of them unused, but not all. Methods that look at losses only do not need to know: they check what
            they are told, and reach all that the losses depend on, as ``loss.backward()`` does. The others reach no
            parameter that stands in neither list once `heads` are given.
        heads : sequence of m iterables of parameters, optional
            Each task's own parameters. By default, whatever else the losses depend on.
        features : tensor or sequence of tensors, optional
            The representation between trunk and heads. Per-task gradients are then taken on it instead of on `shared`,
            and one backward pass leads through the trunk, as in MGDA-UB (Sener and Koltun, 2018, sec. 3.3): the
            result is another one, at the cost of about one backward pass.
        retain_graph : bool
            Keep the graph, for another backward pass.
        scaler : torch.amp.GradScaler, optional
            What ``.grad`` receives is multiplied by its factor, as if the losses had been scaled; weights are those of
            the unscaled gradients. Overflows reach ``.grad``, so that the scaler skips the step.
        group : torch.distributed.ProcessGroup, optional
            Losses and gradients are averaged over its processes, each with its own share of the batch. All take the
            same step then, the one that a single process would take on the joined batch (losses being means over
            shares of equal size). Call the model itself or use ``no_sync()``: the wrapper
            ``DistributedDataParallel`` would add the gradients up a second time.

        Raises
        ------
        TypeError, ValueError
            For losses of another count or shape, that are not finite (the task is named) or have no gradient; for
            parameters that stand in two lists.

        Notes
        -----
        Over micro-batches, ``.grad`` accumulates: each call adds the gradient balanced on its own micro-batch.
        """
        self._backward(Call(losses, shared, heads, features, retain_graph, scaler, group))

    @abstractmethod
    def _backward(self, call: Call) -> None:
        """Do what :meth:`backward` says."""

    def __setattr__(self, name: str, value: Any) -> None:
        # a module looks for the name among all that it registers: in cold caches, as long as a method computes
        if name in self.__dict__ and not isinstance(value, (Tensor, nn.Module)):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def _parameter(self, name: str) -> Tensor:
        """Return a parameter of this module, at a tenth of the cost of the attribute."""
        return cast("Tensor", self._parameters[name])

    @property
    def preference(self) -> FloatArray | None:
        return self._preference

    @preference.setter
    def preference(self, value: Any) -> None:
        if value is None:
            self._preference = None
            return
        preference = vector("preference", value, self.n_tasks)
        if preference.min() <= 0.0:
            task = int(preference.argmin())
            raise ValueError(f"`preference` must be positive; got {preference[task]:g} for task {task}.")
        self._preference = preference

    @property
    def diagnostics(self) -> Diagnostics | None:
        """Weights, gradient norms, cosines and conflict rate of the last step; None before the first."""
        return self._diagnostics

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state that is no tensor of the module; part of ``state_dict()``."""
        fields = {name: pack(getattr(self, name)) for name in ("_preference", *self._state_fields)}
        return {"version": STATE_VERSION, "method": type(self).__name__, "n_tasks": self.n_tasks, **fields}

    def set_extra_state(self, state: Any) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        expected = (STATE_VERSION, type(self).__name__, self.n_tasks)
        got = (state.get("version"), state.get("method"), state.get("n_tasks"))
        if got != expected:
            raise ValueError(f"the state must be of (version, method, n_tasks) = {expected}; got {got}.")
        for name in ("_preference", *self._state_fields):
            setattr(self, name, unpack(getattr(self, name), state[name]))


class LossBalancer(Balancer):
    """A balancer that looks at the values of the losses: one backward pass, O(m) memory.

    A subclass gives :meth:`weights`. Heads receive weighted gradients as the trunk does.
    """

    @abstractmethod
    def weights(self, losses: FloatArray) -> FloatArray:
        """Return what the gradient of each loss is multiplied by, shape (m,), and update the state of the method.

        Called once a step, with finite losses.
        """

    def _weigh(self, losses: FloatArray) -> FloatArray:
        """Return the weights with the preference, if any: by default the losses are multiplied by it beforehand."""
        if self._preference is None:
            return self.weights(losses)
        return np.asarray(self._preference * self.weights(self._preference * losses))

    def _backward(self, call: Call) -> None:
        """Take one backward pass to all leaves; `features` change nothing, and the lists are only checked."""
        group = call.group
        checked = Losses(call.losses, self.n_tasks, group)
        if call.shared is not None or call.heads is not None:
            check_lists(call.shared, call.heads, self.n_tasks)
        weights = self._weigh(checked.values)
        self._diagnostics = Diagnostics(checked.values, weights)
        if call.scaler is not None:
            weights = weights * scale_of(call.scaler, checked.device)
        if group is None:
            checked.backward(weights, call.retain_graph)
            return
        inputs = leaves(checked.graph)
        found = mean_gradients(inputs, checked.grad(weights, inputs, call.retain_graph), group)
        accumulate(inputs, found)  # pieces of one vector


def scale_of(scaler: Scaler | None, device: torch.device) -> float:
    """Return the factor of a gradient scaler."""
    return 1.0 if scaler is None else float(scaler.scale(torch.ones((), device=device)))
