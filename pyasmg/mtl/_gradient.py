"""Balancers that look at the gradient of each task."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ._base import Balancer, scale_of
from ._combination import combine, combine_pieces, cut
from ._diagnostics import Diagnostics
from ._gram import gram_matrix
from ._losses import Losses
from ._task_gradients import TaskGradients
from ._types import Call, FloatArray

HeadWeights = Literal["one", "weighted"]


class GradientBalancer(Balancer):
    """A balancer that needs the gradient of each task: m backward passes, or one through the trunk with ``features``.

    Memory: one matrix of m rows, on the CPU kept from one step to the next.

    A subclass gives :meth:`aggregate`; where it is a linear combination whose coefficients follow from inner products
    of the gradients, it derives from :class:`GramBalancer` instead.

    Parameters
    ----------
    n_tasks : int
        m, the number of tasks.
    head_weights : {"one", "weighted"}, optional
        Whether the gradients of the heads are those of the plain losses, or multiplied by the weights that the method
        gives to the tasks. The default is what the source of each method does.
    """

    looks_at_losses = False
    #: Whether the gradients on a representation can stand in for those on the parameters.
    supports_features: ClassVar[bool] = True
    #: What ``head_weights`` is by default.
    default_head_weights: ClassVar[HeadWeights] = "one"

    def __init__(self, n_tasks: int, *, head_weights: HeadWeights | None = None) -> None:
        super().__init__(n_tasks)
        chosen = self.default_head_weights if head_weights is None else head_weights
        if chosen not in ("one", "weighted"):
            raise ValueError(f"`head_weights` must be 'one' or 'weighted'; got {chosen!r}.")
        self.head_weights: HeadWeights = chosen
        self._workspace: Tensor | None = None

    @abstractmethod
    def aggregate(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> tuple[Tensor, FloatArray | None]:
        """Return the direction of shape (d,), and the weights of the tasks where there are such.

        Parameters
        ----------
        matrix : Tensor, shape (m, d)
            One row per task; the method may overwrite it, and must not keep it.
        gram : ndarray, shape (m, m)
            ``matrix @ matrix.T`` (over all processes and without the scaler's factor), finite.
        losses : ndarray, shape (m,)
            The losses.
        """

    def reused_weights(self) -> FloatArray | None:
        """Return weights that need no new gradients, so that one backward pass does; None to compute them."""
        return None

    def _backward(self, call: Call) -> None:
        """Take the gradient of each task; one of `shared` and `features` is needed."""
        checked = Losses(call.losses, self.n_tasks, call.group)
        if call.features is not None and not self.supports_features:
            raise ValueError(f"{type(self).__name__} needs gradients on parameters; `features` must be None.")
        scale = 1.0 if call.scaler is None else scale_of(call.scaler, checked.device)
        gradients = TaskGradients(checked, call.shared, call.heads, call.features, scale, call.retain_graph, call.group)
        values = checked.values
        reused = self.reused_weights()
        if reused is not None:
            gradients.backward_weighted(reused, reused if self.head_weights == "weighted" else np.ones(self.n_tasks))
            self._diagnostics = Diagnostics(values, reused)
            return
        pieces, weights = self._step(gradients, values, scale, overflow=call.scaler is not None)
        gradients.write(pieces, weights if self.head_weights == "weighted" else None)

    def _step(
        self, gradients: TaskGradients, values: FloatArray, scale: float, *, overflow: bool
    ) -> tuple[list[Tensor], FloatArray | None]:
        """Take the passes, and return the direction in pieces like the targets, and the weights where there are such.

        With ``overflow``, gradients that are not finite reach the direction.
        """
        matrix = gradients.compute(self._workspace)
        # fresh pages cost as much as a backward pass or two; PyTorch keeps them by itself on other devices
        if matrix is not self._workspace:
            self.__dict__["_workspace"] = matrix if matrix.device.type == "cpu" else None  # nn.Module takes 20 us
        gram = gradients.gram(gram_matrix(matrix))
        if not all_finite(gram.diagonal().tolist(), overflow):
            ones = np.ones(self.n_tasks)  # the scaler sees the overflow and skips the step
            return combine_pieces(ones, matrix, gradients.targets), ones
        weights = self._combination(matrix, gram, values)
        if weights is None:
            pieces, weights = self._nonlinear(matrix, gram, values, scale, gradients.targets)
        else:
            pieces = combine_pieces(weights, matrix, gradients.targets)
        self._diagnostics = Diagnostics(values, weights, gram)
        return pieces, weights

    def _combination(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> FloatArray | None:
        """Return weights with which the rows of the matrix add up to the direction, whatever their scale, if any."""
        return None

    def _nonlinear(
        self, matrix: Tensor, gram: FloatArray, losses: FloatArray, scale: float, like: Sequence[Tensor]
    ) -> tuple[list[Tensor], FloatArray | None]:
        """Return the direction in pieces, and the weights where there are such."""
        if scale != 1.0:
            matrix /= scale
        preferred = self._preferred(matrix, gram, losses)
        pieces, weights = self._pieces(*preferred, like)
        if scale != 1.0:
            pieces = [piece * scale for piece in pieces]
        return pieces, weights if weights is None or self._preference is None else weights * self._preference

    def _pieces(
        self, matrix: Tensor, gram: FloatArray, losses: FloatArray, like: Sequence[Tensor]
    ) -> tuple[list[Tensor], FloatArray | None]:
        """Return what :meth:`aggregate` does, cut into pieces of the shapes of these, in memory of their own."""
        direction, weights = self.aggregate(matrix, gram, losses)
        if direction.untyped_storage().data_ptr() == matrix.untyped_storage().data_ptr():
            direction = direction.clone()  # it becomes `.grad`, and the matrix is used again
        return cut(direction, like), weights

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_workspace": None}

    def _aggregate(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> tuple[Tensor, FloatArray | None]:
        """Aggregate with the preference, if any."""
        direction, weights = self.aggregate(*self._preferred(matrix, gram, losses))
        return direction, weights if weights is None or self._preference is None else weights * self._preference

    def _preferred(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> tuple[Tensor, FloatArray, FloatArray]:
        """Return what the method sees: by default the losses are multiplied by the preference, if any, beforehand."""
        preference = self._preference
        if preference is None:
            return matrix, gram, losses
        matrix *= torch.from_numpy(preference).to(matrix)[:, None]
        return matrix, gram * preference * preference[:, None], losses * preference


class GramBalancer(GradientBalancer):
    """A balancer whose direction is a combination of the gradients with weights from their Gram matrix.

    The weights are computed in float64 on the host, whatever the type of the gradients; O(m^2 d) for the matrix.
    """

    @abstractmethod
    def weights_from_gram(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        """Return the weights of the gradients, shape (m,), and update the state of the method."""

    def preferred_weights(self, gram: FloatArray, losses: FloatArray, preference: FloatArray) -> FloatArray:
        """Return the weights where a preference is given: those of the losses times the preference, by default."""
        scaled = self.weights_from_gram(gram * preference * preference[:, None], losses * preference)
        return np.asarray(scaled * preference)

    def aggregate(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> tuple[Tensor, FloatArray | None]:
        weights = self.weights_from_gram(gram, losses)
        return combine(weights, matrix), weights

    def _weigh(self, gram: FloatArray, losses: FloatArray) -> FloatArray:
        """Return the weights with the preference, if any."""
        if self._preference is None:
            return self.weights_from_gram(gram, losses)
        return self.preferred_weights(gram, losses, self._preference)

    def _combination(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> FloatArray:
        return self._weigh(gram, losses)

    def _aggregate(self, matrix: Tensor, gram: FloatArray, losses: FloatArray) -> tuple[Tensor, FloatArray | None]:
        weights = self._combination(matrix, gram, losses)
        return combine(weights, matrix), weights


def all_finite(squares: Sequence[float], overflow: bool) -> bool:
    """Whether the squared norms of the gradients are finite; without ``overflow``, others are refused."""
    finite = [math.isfinite(square) for square in squares]  # those of a row are all or none
    if all(finite):
        return True
    if not overflow:
        raise ValueError(f"the gradients must be finite; that of task {finite.index(False)} is not.")
    return False
