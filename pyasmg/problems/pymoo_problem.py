"""Problems of pymoo (ZDT, DTLZ, WFG, your own) for pyasmg."""

from __future__ import annotations

from copy import copy
from functools import partial
from importlib import import_module
from inspect import signature
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .shifted_l1 import as_points

_FRONT_POINTS = 1000


def from_pymoo(problem: Any, *, unit_box: bool = False) -> PymooProblem:
    """Turn a pymoo problem into one that pyasmg takes: a function of points, with bounds.

    Parameters
    ----------
    problem : pymoo.core.problem.Problem or str
        An unconstrained problem of real variables, or the name of one of pymoo's with its default sizes ("zdt1").
    unit_box : bool
        Map the problem's box to [0, 1]^d, so that one ``sigma0`` suits all parameters. Needs finite bounds.

    Returns
    -------
    PymooProblem
        Callable on a point (d,) or points (N, d), with ``d``, ``n_objectives``, ``bounds``, ``front`` and
        ``distance``.

    Raises
    ------
    ImportError
        pymoo is needed, for a name, and not installed.
    TypeError
        ``problem`` is not a pymoo problem.
    ValueError
        It has constraints, variables that are not real numbers, or, with `unit_box`, infinite bounds.

    Examples
    --------
    >>> from pymoo.problems import get_problem  # doctest: +SKIP
    >>> problem = pyasmg.problems.from_pymoo(get_problem("zdt1", n_var=100))  # doctest: +SKIP
    >>> res = pyasmg.minimize(problem, np.full(100, 0.5), 0.3, bounds=problem.bounds,
    ...                       vectorized=True, max_evaluations=20_000)  # doctest: +SKIP
    """
    if isinstance(problem, str):
        try:
            get_problem = import_module("pymoo.problems").get_problem
        except ImportError as error:
            raise ImportError(f'`pymoo` could not be imported ({error}): pip install "pyasmg[bench]"') from error
        problem = get_problem(problem)
    return PymooProblem(problem, unit_box)


class PymooProblem:
    """What :func:`from_pymoo` returns.

    Attributes
    ----------
    d, n_objectives : int
        Parameters and objectives.
    bounds : tuple of ndarray
        (low, high), each of shape (d,): for ``pyasmg.minimize(..., bounds=problem.bounds)``.
    problem : pymoo.core.problem.Problem
        The original.
    """

    def __init__(self, problem: Any, unit_box: bool = False) -> None:
        needed = ("n_var", "n_obj", "evaluate", "bounds")
        if not all(hasattr(problem, name) for name in needed) or isinstance(problem, type):
            raise TypeError(f"`problem` must be a pymoo problem or the name of one; got {problem!r}.")
        constraints = int(problem.n_ieq_constr) + int(problem.n_eq_constr)
        if constraints:
            raise ValueError(f"`problem` must have no constraints; got {constraints} (pyasmg knows bounds only).")
        if problem.vtype is not None and problem.vtype not in (float, np.float64):
            raise ValueError(f"`problem` must have real variables; got vtype {problem.vtype}.")
        self.problem = problem
        self.d = int(problem.n_var)
        self.n_objectives = int(problem.n_obj)
        low, high = (
            np.full(self.d, default) if side is None else np.array(np.broadcast_to(side, self.d), dtype=np.float64)
            for side, default in zip(problem.bounds(), (-np.inf, np.inf), strict=True)
        )
        self._low, self._range = np.zeros(self.d), np.ones(self.d)
        if unit_box:
            if not np.isfinite([low, high]).all():
                raise ValueError("`unit_box` needs finite bounds; this problem has infinite ones.")
            self._low, self._range = low, high - low
            low, high = np.zeros(self.d), np.ones(self.d)
        self.bounds = (low, high)
        self._front: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        return f"from_pymoo({self.problem.name()}, d={self.d}, m={self.n_objectives})"

    def __call__(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the objectives of a point (d,) as (m,), or of N points (N, d) as (N, m)."""
        points = as_points(x, self.d)
        original = self._low + self._range * np.atleast_2d(points)
        values = np.asarray(self.problem.evaluate(original, return_values_of=["F"]), dtype=np.float64)
        return values[0] if points.ndim == 1 else values

    @property
    def front(self) -> NDArray[np.float64]:
        """Points of the Pareto front as pymoo knows it, (k, m), without those that another one dominates: up to 1,000.

        Raises
        ------
        ValueError
            pymoo knows no front of this problem, or would have to fetch it and cannot.
        """
        if self._front is None:
            self._front = _front(self.problem)
        return self._front

    def distance(self, x: ArrayLike) -> NDArray[np.float64] | float:
        """Return how far the objectives of x are behind the Pareto front.

        That is the least Euclidean norm of ``max(F(x) - z, 0)`` over the points z of the front, in units of the
        front's extent in each objective (the distance of GD+ and IGD+; Ishibuchi et al. 2015, EMO). It never rewards a
        worse point, unlike the plain distance, and is 0 on the front up to its sampling.

        Parameters
        ----------
        x : array_like of shape (d,) or (N, d)
            One point or N points. Costs one evaluation per point, and O(k m) each.

        Returns
        -------
        float or ndarray of shape (N,)
        """
        return self.distance_of_values(self(x))

    def distance_of_values(self, F: ArrayLike) -> NDArray[np.float64] | float:
        """Return :meth:`distance` of objectives (m,) or (N, m) that are known already."""
        values = np.asarray(F, dtype=np.float64)
        front = self.front
        extent = np.ptp(front, axis=0)
        extent[extent == 0] = 1.0
        rows = [np.linalg.norm(np.maximum(row - front, 0) / extent, axis=1).min() for row in np.atleast_2d(values)]
        return float(rows[0]) if values.ndim == 1 else np.array(rows)


def _front(problem: Any) -> NDArray[np.float64]:
    m = int(problem.n_obj)
    known = signature(problem._calc_pareto_front).parameters
    sizes: dict[str, Any] = {name: _FRONT_POINTS for name in ("n_pareto_points", "n_points") if name in known}
    if "ref_dirs" in known:  # DTLZ, WFG
        partitions = _FRONT_POINTS - 1
        while m > 2 and partitions > 2 and comb(partitions + m - 1, m - 1) > _FRONT_POINTS:  # Das and Dennis 1998
            partitions -= 1
        directions = import_module("pymoo.util.ref_dirs").get_reference_directions
        sizes["ref_dirs"] = directions("das-dennis", m, n_partitions=partitions)
    if "points_each_iteration" in known:  # WFG
        sizes |= {"n_iterations": 20, "points_each_iteration": _FRONT_POINTS}
    problem = copy(problem)
    if hasattr(problem, "_rand_optimal_position"):  # WFG's fronts are drawn: the same ones each time
        problem._rand_optimal_position = partial(problem._rand_optimal_position, random_state=np.random.default_rng(0))
    try:
        front = problem._calc_pareto_front(**sizes)
    except OSError as error:  # pymoo fetches the fronts of DTLZ5 to DTLZ7 from its site
        raise ValueError(f"pymoo could not fetch the Pareto front of {problem.name()}: {error}.") from error
    if front is None:
        raise ValueError(f"pymoo knows no Pareto front of {problem.name()}.")
    points = np.unique(np.array(front, dtype=np.float64), axis=0)
    behind = [((points <= p).all(axis=1) & (points < p).any(axis=1)).any() for p in points]  # some of pymoo's are
    kept: NDArray[np.float64] = points[~np.array(behind)]
    return kept
