"""Bilevel loss balancing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from .. import _core
from .._validate import describe, integer, number
from ._base import LossBalancer
from ._distributed import mean, mean_gradients
from ._learned import LearnedVector, descend
from ._losses import Losses
from ._parameters import ParameterLists, feature_list, leaves, parameter_lists
from ._state import Adam
from ._types import Call, FloatArray, LossesLike, ParametersLike, Scaler, TensorsLike
from .rlw import softmax, softmax_slopes
from .si import check_positive

LossNormalization = Literal["identical", "rescaled", "logarithmic"]


class BiLB4MTL(LossBalancer):
    r"""Bilevel loss balancing for multi-task learning (BiLB4MTL; Xiao et al., 2025; later renamed LDC-MTL).

    .. math:: \min_W f = \sum_{i=1}^{m-1} |\tau_i \tilde\ell_i - \tau_{i+1} \tilde\ell_{i+1}|
              \quad \text{s.t.} \quad x \in \arg\min_x g = \sum_i \sigma_i(W)\, \tilde\ell_i(x)   \qquad (1)

    with the weights :math:`\sigma(W)` of a router that ends in a softmax. One step of Algorithm 1, for the penalised
    problem (2) without its last term, hands :math:`\nabla_x f + \lambda \nabla_x g` to the optimizer and takes a step
    of W along :math:`\nabla_W f + \lambda \nabla_W g`. One backward pass; a loss may have a negative weight.

    Parameters
    ----------
    n_tasks : int
        m.
    penalty : float
        :math:`\lambda`. The paper searches 0.01, 0.1, 1, 2, 5, 10, then more finely, and names no value; 1 here.
    tau : {"one", "sigma"}
        The weights in f: 1, or :math:`\sigma(W)`.
    normalization : {"identical", "rescaled", "logarithmic"}
        :math:`\tilde\ell_i` (sec. 4.1) is :math:`\ell_i`; :math:`\ell_i / \ell_i^0` with the losses of the first step;
        or :math:`\log(\ell_i / \ell_i^0)` with those of the first step of each epoch, see :meth:`end_epoch`. Sec. 5.1:
        rescaled for tau = "sigma" and identical for "one" with few tasks; identical for CelebA; logarithmic for QM9.
    router : torch.nn.Module, optional
        Maps the representation, averaged over the batch and over the dimensions after the second, to m scores; such as
        ``nn.Linear(width, m)``. Then ``backward`` needs `features`. By default, W are the m scores themselves.
    gate : {"softmax", "sigmoid"}
        From scores to weights. The sigmoid is what the released code has for CelebA.
    clip : tuple of two floats, optional
        Weights outside are set to the nearest bound, and have no gradient there; (0.2, 0.8) in the released code for
        NYUv2.
    released : bool
        The objective of the released code, :math:`\sum_i \sigma_i \tilde\ell_i / \sum_i \sigma_i + \lambda f`: there
        lambda multiplies f, and :math:`\ell^0` of the rescaled losses is divided by its least entry.
    learning_rate : float or None
        W takes a step of Adam by itself at each ``backward``; 1e-3 here. None: its ``.grad`` is filled instead, and
        ``parameters()`` of the balancer belong into your optimizer, as in the paper, where all share one step size.
    inner_steps : int
        N > 0 is the double loop of Algorithm 2, which keeps the last term of (2): the W-step is along
        :math:`\nabla_W f + \lambda (\nabla_W g(W, x) - \nabla_W g(W, z_N))`, where :math:`z_N` comes from x by N
        steps of gradient descent on g. ``backward`` then needs `closure`, and takes N more backward and N + 1 more
        forward passes. The paper has N = 50 in Figure 4.
    inner_learning_rate : float
        :math:`\beta` of Eq. (4); no value in the paper. Algorithm 2 multiplies it by lambda: choose it so yourself.
    smoothing : float
        :math:`|y|` is :math:`\sqrt{y^2 + \epsilon}` with this epsilon (sec. 6); 0 is the absolute value.
    steps_per_epoch : int, optional
        An epoch ends by itself after this many steps.

    Attributes
    ----------
    scores : torch.nn.Parameter, shape (m,), float64
        W where there is no router; 0 at the start.

    Raises
    ------
    ValueError
        By ``backward``, for a loss that is not positive and that the normalization divides by or takes a logarithm of.

    Notes
    -----
    f depends on the order of the tasks. Deviations: no gradient flows through the router into the representation; in
    the double loop, the router sees the representation at x only. A `preference` multiplies the losses; the other
    normalizations than "identical" see only how it has changed since their reference.

    Of the settings tried on the paper's toy problem (Eq. 6; ``bench/mtl/toy.py``), those end at one balanced point from
    all starts that divide the losses by the same units from each start and make :math:`f + \lambda g` about the larger
    loss, as tau = "one" and lambda = 1 do with two tasks, where :math:`\sigma` goes to a corner. With the first losses
    as units, the end depends on the start.
    """

    _state_fields: ClassVar[tuple[str, ...]] = ("_adam", "_reference", "_n_steps")

    def __init__(
        self,
        n_tasks: int,
        *,
        penalty: float = 1.0,
        tau: Literal["one", "sigma"] = "one",
        normalization: LossNormalization = "identical",
        router: nn.Module | None = None,
        gate: Literal["softmax", "sigmoid"] = "softmax",
        clip: tuple[float, float] | None = None,
        released: bool = False,
        learning_rate: float | None = 1e-3,
        inner_steps: int = 0,
        inner_learning_rate: float = 0.01,
        smoothing: float = 0.0,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(n_tasks)
        self.penalty = number("penalty", penalty, low=0.0, strict=True)
        self.tau = _choice("tau", tau, ("one", "sigma"))
        self.normalization = _choice("normalization", normalization, ("identical", "rescaled", "logarithmic"))
        self.gate = _choice("gate", gate, ("softmax", "sigmoid"))
        self.clip = None if clip is None else _bounds(clip)
        self.released = bool(released)
        self.inner_steps = integer("inner_steps", inner_steps, 0)
        self.inner_learning_rate = number("inner_learning_rate", inner_learning_rate, low=0.0)
        self.smoothing = number("smoothing", smoothing, low=0.0)
        self.steps_per_epoch = None if steps_per_epoch is None else integer("steps_per_epoch", steps_per_epoch, 1)
        if router is not None and not isinstance(router, nn.Module):
            raise TypeError(f"`router` must be a torch.nn.Module; got {describe(router)}.")
        self.router = router
        if router is None:
            self.scores = nn.Parameter(torch.zeros(self.n_tasks, dtype=torch.float64))
        self._by_itself = learning_rate is not None
        self._learned = LearnedVector()
        self._adam = Adam(0.0 if learning_rate is None else number("learning_rate", learning_rate, low=0.0))
        self._reference: FloatArray | None = None
        self._n_steps = 0
        # what one call of `backward` leaves for `weights`
        self._scored: Tensor | None = None
        self._descend: Callable[[FloatArray, FloatArray], FloatArray] | None = None

    def end_epoch(self) -> None:
        """Close the epoch: the logarithmic normalization takes the losses of the next step as its reference."""
        self._n_steps = 0
        if self.normalization == "logarithmic":
            self._reference = None

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
        closure: Callable[[], LossesLike] | None = None,
    ) -> None:
        """See :meth:`Balancer.backward`; a router needs `features`.

        Parameters
        ----------
        closure : callable, optional
            Needed for the double loop: computes the losses of the same batch anew, with whatever the parameters are.
            These are as before afterwards; buffers that the model updates in a forward pass are not restored.
        """
        if (closure is None) != (self.inner_steps == 0):
            need = "needs a `closure`" if closure is None else "takes no `closure`"
            raise ValueError(f"BiLB4MTL with inner_steps = {self.inner_steps} {need}.")
        try:
            if closure is not None:
                parameters = parameter_lists(shared, heads, self.n_tasks)
                shared, heads = parameters  # iterators can be read once
                self._descend = self._double_loop(closure, Losses(losses, self.n_tasks, group), parameters, group)
            self._scored = None if self.router is None else self._score(features, group)
            self._backward(Call(losses, shared, heads, features, retain_graph, scaler, group))
        finally:
            self._scored = self._descend = None

    def weights(self, losses: FloatArray) -> FloatArray:
        reference = self._next_reference(losses)
        normalized, slopes = self._normalize(losses, reference)
        scores = self._score(None, None) if self._scored is None else self._scored
        values = self._learned.read(scores)
        shares, pull_back = self._open(values)
        upper, lower = (self.penalty, 1.0) if self.released else (1.0, self.penalty)
        total = float(shares.sum()) if self.released else 1.0
        gain = normalized
        if self._descend is not None:
            gain = normalized - self._descend(shares / total, reference)
        if self.released:
            gain = gain - shares @ gain / total
        by_loss, by_share = _core.gap_slopes(
            normalized, shares, gain, self.tau == "sigma", upper, lower / total, self.smoothing
        )
        self._learn(scores, pull_back(by_share))
        self._reference = reference
        self._n_steps += 1
        return by_loss if self.normalization == "identical" else np.asarray(by_loss * slopes)

    # ---- the losses ----

    def _next_reference(self, losses: FloatArray) -> FloatArray:
        if self.normalization == "identical":
            return np.ones(self.n_tasks) if self._reference is None else self._reference
        if self.steps_per_epoch is not None and self._n_steps >= self.steps_per_epoch:
            self.end_epoch()
        if self._reference is not None:
            return self._reference
        check_positive(losses, f"BiLB4MTL with normalization='{self.normalization}'")
        relative = self.released and self.normalization == "rescaled"
        return np.asarray(losses / losses.min() if relative else losses.copy())

    def _normalize(self, losses: FloatArray, reference: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the normalised losses, and the derivative of each with respect to its loss."""
        if self.normalization == "identical":
            return losses, reference
        if self.normalization != "logarithmic":
            return losses / reference, 1.0 / reference
        check_positive(losses, "BiLB4MTL with normalization='logarithmic'")
        return np.log(losses / reference), 1.0 / losses

    # ---- the router ----

    def _score(self, features: TensorsLike | None, group: Any) -> Tensor:
        if self.router is None:
            return self._parameter("scores")
        if features is None:
            raise ValueError("BiLB4MTL with a `router` needs `features`; got None.")
        pooled = [tensor.detach().transpose(0, 1).flatten(1).mean(dim=1) for tensor in feature_list(features)]
        with torch.enable_grad():
            scores: Tensor = self.router(mean(torch.cat(pooled), group))
        if scores.shape != (self.n_tasks,):
            raise ValueError(f"`router` must return {self.n_tasks} scores; got shape {tuple(scores.shape)}.")
        return scores

    def _open(self, scores: FloatArray) -> tuple[FloatArray, Callable[[FloatArray], FloatArray]]:
        """Return the weights, and the map from gradients on the weights to gradients on the scores."""
        shares = softmax(scores) if self.gate == "softmax" else 1.0 / (1.0 + np.exp(-scores))
        clip = self.clip

        def pull_back(gradient: FloatArray) -> FloatArray:
            if clip is not None:
                gradient = np.where((shares >= clip[0]) & (shares <= clip[1]), gradient, 0.0)
            if self.gate == "softmax":
                return softmax_slopes(shares, gradient)
            return np.asarray(gradient * shares * (1.0 - shares))

        return shares if clip is None else np.clip(shares, *clip), pull_back

    def _learn(self, scores: Tensor, gradient: FloatArray) -> None:
        adam = self._adam if self._by_itself else None
        if self.router is None:
            self._learned.descend(scores, gradient, adam)
            return
        parameters: list[Tensor] = [parameter for parameter in self.router.parameters() if parameter.requires_grad]
        found = torch.autograd.grad(scores, parameters, torch.from_numpy(gradient).to(scores))
        descend(parameters, np.concatenate([piece.double().cpu().numpy().reshape(-1) for piece in found]), adam)

    # ---- the double loop ----

    def _double_loop(
        self,
        closure: Callable[[], LossesLike],
        losses: Losses,
        lists: ParameterLists,
        group: Any,
    ) -> Callable[[FloatArray, FloatArray], FloatArray]:
        parameters = leaves(losses.graph) if lists.shared is None or lists.heads is None else lists.every
        factor = np.ones(self.n_tasks) if self.preference is None else self.preference

        def run(shares: FloatArray, reference: FloatArray) -> FloatArray:
            """Return the normalised losses at z_N, for the weights of g."""
            before = [parameter.detach().clone() for parameter in parameters]
            try:
                for _ in range(self.inner_steps):
                    with torch.enable_grad():
                        inner = Losses(closure(), self.n_tasks, group)
                    values = factor * inner.values
                    _, slopes = self._normalize(values, reference)
                    found = inner.grad(factor * shares * slopes, parameters, False)
                    for parameter, gradient in zip(parameters, mean_gradients(parameters, found, group), strict=True):
                        if gradient is not None:
                            parameter.data.sub_(gradient, alpha=self.inner_learning_rate)
                with torch.no_grad():
                    last = Losses(closure(), self.n_tasks, group, gradients=False)
                return self._normalize(factor * last.values, reference)[0]
            finally:  # `.data` is not watched: the graph of the outer losses stays valid
                for parameter, kept in zip(parameters, before, strict=True):
                    parameter.data.copy_(kept)

        return run


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}; got {value!r}.")
    return str(value)


def _bounds(clip: tuple[float, float]) -> tuple[float, float]:
    low, high = (number(f"clip[{i}]", bound, low=0.0, high=1.0) for i, bound in enumerate(clip))
    if not low < high:
        raise ValueError(f"`clip` must be (low, high) with low < high; got ({low:g}, {high:g}).")
    return low, high
