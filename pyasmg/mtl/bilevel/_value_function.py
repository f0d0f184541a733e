"""What methods share that replace the lower level by a constraint on its value: first order, whatever T is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .._types import FloatArray
from ._lower import partial, subtract_from_row, write_row
from ._method import BilevelMethod
from .problem import Batches


class Constrained(NamedTuple):
    """Values and gradients at z = (alpha, omega).

    Attributes
    ----------
    matrix
        A row per objective and, last, that of the constraint; shape (rows + 1, n + p).
    upper
        The objectives, shape (m,).
    lower, lower_reached
        f at omega, and after the lower steps.
    """

    matrix: Tensor
    upper: FloatArray
    lower: float
    lower_reached: float

    @property
    def constraint(self) -> float:
        """The value of the constraint."""
        return self.lower - self.lower_reached


class ValueFunctionMethod(BilevelMethod):
    r"""A method on the constraint :math:`\tilde q(z) = f(\alpha, \omega) - f(\alpha, \tilde\omega^T) \le 0` (3.16).

    One step takes T + 1 gradients of f, one by alpha alone, and those of the objectives. The memory does not depend
    on T. T lower batches are drawn, one more on which :math:`\tilde q` is evaluated, and one of the upper level.
    """

    def _roots(self, values: Tensor) -> Sequence[Tensor]:
        """Return what the rows of the matrix are the gradients of, given the objectives."""
        return values.unbind()

    def _constrained(self, batches: Batches) -> Constrained:
        """Evaluate z."""
        alpha, omega = self.alpha.leaves(), self.omega.leaves()
        values = self._upper(alpha, omega, batches.next_upper())
        upper = self._upper_array(values)
        roots = self._roots(values)
        variables = [*alpha, *omega]
        n, rows = self.alpha.size, len(roots)
        matrix = self._new_matrix(rows + 1, n + self.omega.size)
        for i, root in enumerate(roots):
            write_row(matrix[i], partial(root, variables, retain_graph=i < rows - 1), variables)
        del values, roots, root  # their graph must not live through the lower steps

        reached, losses = self._solve_lower(batches)
        batch = batches.next_lower()
        with self._buffers_kept():
            at_reached = self._lower(alpha, reached, batch)
        there = partial(at_reached, alpha)
        losses.append(at_reached.detach())
        del at_reached, reached
        here = self._lower(alpha, omega, batch)
        write_row(matrix[rows], partial(here, variables), variables)
        subtract_from_row(matrix[rows], there, alpha)
        *_, lower_reached = self._check_lower(losses)
        lower = self._check_lower([here])[0]
        return Constrained(matrix, upper, lower, lower_reached)
