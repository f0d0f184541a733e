"""The optimizer: ask/tell."""

from __future__ import annotations

import math
import secrets
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from . import _core
from ._bounds import as_bounds, to_dtype
from ._population import Population
from ._state import StateError, seal, unseal
from ._step_size import StepSize
from ._stopping import Stopping, Told
from ._validate import describe, integer, number, real_array, vector
from .result import Result
from .weighting import Custom, Generation, WeightingLike, make_weighting

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

_MAX_GENERATION = 2**32 - 1  # the counter's word


class ASMG:
    """Adaptive stochastic multi-objective gradient search (thesis ch. 4, Algorithm 3) with an ask/tell interface.

    The search distribution is N(mean, diag(stds**2)). In each generation N candidates are drawn, the natural gradient
    of every objective's Gaussian smoothing is estimated from their values (Eqs. 4.12-4.13), the objectives are weighed
    (by the simplex QP 4.10 with the momentum 4.17, unless ``weighting`` says otherwise), and mean and stds step
    along the weighted sum (Eqs. A.152-A.153). All objectives are minimised.

    Parameters
    ----------
    x0 : array_like, shape (d,)
        Start of the mean. Copied.
    sigma0 : float or array_like of shape (d,)
        Start of the standard deviations, > 0: about a third of the distance within which the optimum is expected.
    n_objectives : int, optional
        m; taken from the first ``tell`` if not given. m = 1 works.
    popsize : int, optional
        N >= 2 candidates per generation; default ``4 + floor(3 ln d)``.
    step_size, std_step_size : float or "auto"
        beta of Eq. A.152 (mean) and of Eq. A.153 (stds). See :mod:`pyasmg._step_size` for the automatic rule.
    scale_objectives : bool
        Divide each objective by its standard deviation over the generation *before* it enters the QP and the weighted
        sum. The search is then invariant to the units of each objective. Deviation from the source, which scales the
        weighted sum only.
    weighting : str, sequence of float, callable or Weighting
        "pareto" (default), "equal", "level", "chebyshev", m fixed weights, or ``rule(generation) -> (m,)``; see
        :mod:`pyasmg.weighting`.
    weight_momentum : "harmonic" or float in (0, 1]
        gamma_t of Eq. 4.17: 1 / (t + 1), or a constant (1 switches the momentum off). Applies to "pareto".
    baseline : "mean" or "center"
        What is subtracted from the objective values in Eqs. 4.12-4.13: their mean over the generation, or, as in the
        source, the value at the distribution's mean. "center" puts the mean in row 0 of ``ask()``: N + 1 rows.
    std_form : "auto", "exponential" or "inverse"
        The update of the stds. "inverse" is Eq. A.153; "exponential" has the same first order, stays positive by
        itself and does not drift upwards under pure noise. "auto" is "inverse" with ``baseline="center"``
        (the source's method), else "exponential". Either way one step changes a std by a factor of at most 2: for
        "inverse" this is also the guard that keeps the variance positive, which the source lacks.
    bounds : (low, high), optional
        Each a scalar, a vector of shape (d,) or None; infinite means none. ``scipy.optimize.Bounds`` works. Every
        candidate is feasible; see :mod:`pyasmg._bounds` for the method (folding) and why it does not bias the search.
    seed : int, optional
        0 <= seed < 2**64; drawn from the operating system if not given (``opt.seed`` tells). No global random state is
        read or written.
    dtype : "float64" or "float32"
        Of mean, stds and candidates. Objective values and weights are always float64.
    memory : "store" or "regenerate"
        With "regenerate" the population is never stored: ``ask()`` returns a :class:`Population` that rebuilds one
        candidate at a time, ``tell(F)`` rebuilds the normals; memory O(d m).
    n_threads : int
        Threads of the core. The result does not depend on it.
    max_evaluations, max_iterations, tolx, tolfun, target, tolstationarity, stagnation
        Stopping criteria, see :meth:`stop`.

    Notes
    -----
    Time per generation O(N d m + d m^2), memory O(d m) besides the population. The paper's own settings are
    ``step_size=0.1, std_step_size=0.1, scale_objectives=False, baseline="center", weight_momentum="harmonic"``.

    Failed evaluations: a row of F with a NaN or an infinity is dropped and counted. Rows of X that the caller changed
    (repaired, clipped, injected) count where they were evaluated; one that lies farther out than a normal sample ever
    does is pulled back along its line to that distance, as pycma does with injected solutions.

    Examples
    --------
    >>> import numpy as np, pyasmg
    >>> opt = pyasmg.ASMG(np.zeros(10), 0.5, seed=1, max_evaluations=4000)
    >>> while not opt.stop():
    ...     X = opt.ask()
    ...     opt.tell(X, [[np.sum((x - 1) ** 2), np.sum((x + 1) ** 2)] for x in X])
    >>> bool(np.ptp(opt.mean) < 0.1)  # the Pareto set is the line from (-1, ..., -1) to (1, ..., 1)
    True
    """

    def __init__(
        self,
        x0: npt.ArrayLike,
        sigma0: npt.ArrayLike,
        *,
        n_objectives: int | None = None,
        popsize: int | None = None,
        step_size: float | str = "auto",
        std_step_size: float | str = "auto",
        scale_objectives: bool = True,
        weighting: WeightingLike = "pareto",
        weight_momentum: float | str = "harmonic",
        baseline: str = "mean",
        std_form: str = "auto",
        bounds: Any = None,
        seed: int | None = None,
        dtype: npt.DTypeLike = "float64",
        memory: str = "store",
        n_threads: int = 1,
        max_evaluations: int | None = None,
        max_iterations: int | None = None,
        tolx: float | None = None,
        tolfun: npt.ArrayLike = 0.0,
        target: npt.ArrayLike | None = None,
        tolstationarity: float | None = None,
        stagnation: int | None = None,
    ) -> None:
        start = vector("x0", x0)
        if start.size == 0:
            raise ValueError("`x0` must have at least one element; got shape (0,).")
        d = start.size
        sigma = vector("sigma0", sigma0, d)
        if not (sigma > 0).all():
            raise ValueError(f"`sigma0` must be > 0; got {sigma.min():g}.")
        self._dtype = _dtype(dtype)
        self._n_objectives = None if n_objectives is None else integer("n_objectives", n_objectives, 1)
        self._popsize = 4 + int(3 * math.log(d)) if popsize is None else integer("popsize", popsize, 2, 2**32 - 2)
        self._steps = StepSize(step_size, std_step_size)
        self._scale_objectives = _flag("scale_objectives", scale_objectives)
        self._weighting = make_weighting(weighting)
        self._weight_momentum: float | str = (
            _choice("weight_momentum", weight_momentum, ("harmonic",))
            if isinstance(weight_momentum, str)
            else number("weight_momentum", weight_momentum, low=0.0, strict=True, high=1.0)
        )
        self._baseline = _choice("baseline", baseline, ("mean", "center"))
        self._std_form = _choice("std_form", std_form, ("auto", "exponential", "inverse"))
        self._memory = _choice("memory", memory, ("store", "regenerate"))
        self._seed = secrets.randbits(64) if seed is None else integer("seed", seed, 0, 2**64 - 1)
        self.n_threads = n_threads
        user_bounds = as_bounds(bounds, start)

        self._mean: Array = start.astype(self._dtype)
        self._std: Array = sigma.astype(self._dtype)
        tiny, huge = (1e-30, 1e30) if self._dtype == np.float32 else (1e-150, 1e150)
        for name, values in (("x0", np.abs(self._mean)), ("sigma0", self._std)):
            if not (values <= huge).all() or (name == "sigma0" and not (values >= tiny).all()):
                raise ValueError(f"`{name}` must lie within [{tiny:g}, {huge:g}] in magnitude for dtype {self._dtype}.")
        self._low: Array | None = None
        self._high: Array | None = None
        if user_bounds is not None:
            self._low, self._high = to_dtype(user_bounds, self._dtype)
            self._mean = np.clip(self._mean, self._low, self._high)
            self._std = np.minimum(self._std, self._high - self._low)
        self._std0_max = float(self._std.max())

        self._weights: FloatArray | None = None
        self._gram: FloatArray | None = None
        self._scale: FloatArray | None = None
        self._stationarity: float | None = None
        self._asked = False
        self._n_iterations = 0
        self._n_evaluations = 0
        self._n_failed = 0
        self._stopping = Stopping(
            popsize=self._popsize,
            dimension=d,
            max_evaluations=max_evaluations,
            max_iterations=max_iterations,
            tolx=tolx,
            tolfun=tolfun,
            target=target,
            tolstationarity=tolstationarity,
            stagnation=stagnation,
        )
        self._stopping.before_first(self.n_candidates)
        if self._n_objectives is not None:
            self._fix_objectives(self._n_objectives)

    # ---------------------------------------------------------------- what the search is

    @property
    def mean(self) -> Array:
        """Mean of the search distribution, shape (d,), a copy."""
        return self._mean.copy()

    @property
    def stds(self) -> Array:
        """Standard deviations of the search distribution, shape (d,), a copy."""
        return self._std.copy()

    @property
    def weights(self) -> FloatArray | None:
        """Current weights of the objectives, shape (m,), sum 1; None as long as m is not known."""
        return None if self._weights is None else self._weights.copy()

    @property
    def stationarity(self) -> float:
        """Value of the simplex QP (Eq. 4.10) on the scaled objectives of the last generation; NaN before the first.

        It is estimated from N samples: sampling alone keeps it at the order of d / N, whatever the point.
        """
        if self._gram is None or self._scale is None:
            return math.nan
        if self._stationarity is None:
            gram = self._gram
            if not self._scale_objectives:
                inverse = np.divide(1.0, self._scale, out=np.zeros_like(self._scale), where=self._scale > 0)
                gram = gram * inverse[:, None] * inverse
            active = self._scale > 0
            if not np.isfinite(gram).all():
                self._stationarity = math.nan
            elif active.any():
                self._stationarity = float(_core.simplex_qp(np.ascontiguousarray(gram[np.ix_(active, active)]))[1])
            else:
                self._stationarity = 0.0
        return self._stationarity

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self._mean.size

    @property
    def n_objectives(self) -> int | None:
        """Number of objectives m; None as long as it is not known."""
        return self._n_objectives

    @property
    def popsize(self) -> int:
        """Samples per generation N."""
        return self._popsize

    @property
    def n_candidates(self) -> int:
        """Rows of ``ask()``: N, or N + 1 with ``baseline="center"``."""
        return self._popsize + (self._baseline == "center")

    @property
    def n_iterations(self) -> int:
        """Generations told."""
        return self._n_iterations

    @property
    def n_evaluations(self) -> int:
        """Evaluations told, failed ones included."""
        return self._n_evaluations

    @property
    def n_failed(self) -> int:
        """Evaluations told with a NaN or an infinity."""
        return self._n_failed

    @property
    def seed(self) -> int:
        """The seed that repeats this search."""
        return self._seed

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of mean, stds and candidates."""
        return self._dtype

    @property
    def n_threads(self) -> int:
        """Threads of the core; may be changed at any time without changing the search."""
        return self._n_threads

    @n_threads.setter
    def n_threads(self, value: int) -> None:
        self._n_threads = integer("n_threads", value, 1, 1024)

    def stop(self) -> dict[str, Any]:
        """Return {} while the search should go on, else the reasons as ``{name: value}``.

        =================== =====================================================================================
        ``max_evaluations`` the next generation would exceed it (so it is never overrun)
        ``max_iterations``  that many generations were told
        ``tolx``            every std is at most ``tolx``; default: the largest is below 1e-12 of its start
        ``noeffect``        no coordinate can move any more at this dtype's precision
        ``tolfun``          all values of the last 10 + 30 d / N generations (at most 1000) lie within ``tolfun``
                            (scalar or one per objective, in their units; default 0: exactly flat)
        ``target``          the generation's median is at or below the target in every objective
        ``tolstationarity`` ``stationarity`` is at or below it (off by default)
        ``stagnation``      in a window of 200 + 60 d / N generations, the median of no objective improved from
                            the first third to the last; another window may be given, 0 for never
        ``nonfinite``       a step led to an infinite mean; the state before the step was kept
        =================== =====================================================================================
        """
        return dict(self._stopping.reasons)

    @property
    def result(self) -> Result:
        """The present state as a :class:`Result`, with ``fun=None``: the mean was not evaluated."""
        stop = self.stop()
        return Result(
            x=self.mean,
            fun=None,
            weights=np.empty(0) if self._weights is None else self._weights.copy(),
            stds=self.stds,
            stationarity=self.stationarity,
            n_evaluations=self._n_evaluations,
            n_failed=self._n_failed,
            n_iterations=self._n_iterations,
            seed=self._seed,
            stop=stop,
            message=", ".join(f"{name}: {value}" for name, value in stop.items()) or "running",
            success=bool(stop) and "nonfinite" not in stop,
        )

    # ---------------------------------------------------------------- ask

    def ask(self) -> Any:
        """Return the candidates of this generation.

        Returns
        -------
        ndarray, shape (popsize, d)
            C-contiguous and the caller's to keep; popsize + 1 rows with ``baseline="center"``, the mean in row 0.
            With ``memory="regenerate"`` a :class:`Population` instead.

        Notes
        -----
        Asking again before ``tell`` gives the same candidates again: they depend on (seed, generation, row) alone.
        """
        self._check_generation()
        self._asked = True
        if self._memory == "regenerate":
            return Population(self)
        X = np.empty((self.n_candidates, self.dimension), self._dtype)
        center = self.n_candidates - self._popsize
        if center:
            X[0] = self._mean
        _core.sample_population(
            self._mean,
            self._std,
            self._low,
            self._high,
            self._seed,
            self._n_iterations,
            0,
            X[center:] if center else X,
            self._n_threads,
        )
        return X

    def ask_one(self, index: int) -> Array:
        """Return row ``index`` of ``ask()`` alone, shape (d,), in O(d): the same bits."""
        self._check_generation()
        i = integer("index", index, 0, self.n_candidates - 1) - (self.n_candidates - self._popsize)
        self._asked = True
        if i < 0:
            return self._mean.copy()
        x = np.empty((1, self.dimension), self._dtype)
        _core.sample_population(
            self._mean,
            self._std,
            self._low,
            self._high,
            self._seed,
            self._n_iterations,
            i,
            x,
            self._n_threads,
        )
        return x[0]

    def _check_generation(self) -> None:
        if self._n_iterations >= _MAX_GENERATION:
            raise OverflowError(f"a search has at most {_MAX_GENERATION} generations.")

    # ---------------------------------------------------------------- tell

    def tell(self, X: Any, F: Any = None) -> None:
        """Hand in the objective values of the candidates and make one step.

        Parameters
        ----------
        X : array_like, shape (popsize, d)
            The candidates as they were evaluated; rows may have been changed. ``tell(F)`` means: as asked.
        F : array_like, shape (popsize, m)
            Objective values (shape (popsize,) for m = 1). A row with a NaN or an infinity is a failed evaluation.

        Raises
        ------
        ValueError, TypeError
            Nothing was asked; a wrong shape or dtype; every row failed; X not finite in a row that did not fail. The
            state is then unchanged.
        """
        if F is None:
            X, F = None, X
        if not self._asked:
            raise ValueError("`tell` must follow `ask`; nothing was asked for since the last `tell`.")
        F = self._check_values(F)
        center_row = F[0] if self._baseline == "center" else None
        samples = F if center_row is None else F[1:]
        X = self._check_candidates(X, center_row is not None)

        center = center_row if center_row is not None and np.isfinite(center_row).all() else None
        w, valid, n_valid, offset, scale, median, spread = _core.condition_objectives(
            samples, center, self._scale_objectives
        )
        if n_valid == 0:
            raise ValueError(f"`F` must have at least one row without NaN or inf; got {len(samples)} failed rows.")
        if self._n_objectives is None:
            self._fix_objectives(F.shape[1])
        weights, gram, stationarity, mean, std, summary = self._step(
            X, w, valid, n_valid, center, offset, scale, median, samples
        )

        # Nothing below can fail: the whole step is taken, or none of it.
        if summary is not None and summary[2]:
            self._mean, self._std = mean, std
        self._weights, self._gram, self._scale, self._stationarity = weights, gram, scale, stationarity
        self._asked = False
        self._n_iterations += 1
        self._n_evaluations += len(F)
        self._n_failed += len(samples) - n_valid + (center_row is not None and center is None)
        max_std, _, finite, effective = summary if summary is not None else (self._std0_max, 0.0, True, True)
        stopping = self._stopping
        stopping.update(
            Told(
                n_evaluations=self._n_evaluations,
                n_iterations=self._n_iterations,
                n_next=len(F),
                median=median,
                spread=spread,
                max_std_ratio=max_std / self._std0_max,
                max_std=max_std,
                effective=effective,
                finite=finite,
                stationarity=math.nan if stopping.tolstationarity is None else self.stationarity,
            )
        )

    def _step(
        self,
        X: Array | None,
        w: FloatArray,
        valid: npt.NDArray[np.uint8],
        n_valid: int,
        center: FloatArray | None,
        offset: FloatArray,
        scale: FloatArray,
        median: FloatArray,
        samples: FloatArray,
    ) -> tuple[FloatArray, FloatArray, float | None, Array, Array, tuple[float, float, bool, bool] | None]:
        """Return what the state becomes; changes nothing but the weighting's own memory, last."""
        m = w.shape[1]
        mean_of = offset
        columns = w
        if center is not None:
            # Eqs. 4.12-4.13 subtract F(mean), A.152-A.153 the generation's mean: a column of ones turns one into the
            # other without a second pass over the sample.
            ones = valid[:, None] / n_valid
            mean_of = samples[valid.astype(bool)].mean(axis=0)
            columns = np.ascontiguousarray(np.hstack((w, ones)))
        mean_gradient = np.empty((columns.shape[1], self.dimension), self._dtype)
        std_gradient = np.empty_like(mean_gradient)
        gram, _ = self._estimate(X, valid, columns, mean_gradient, std_gradient)
        gram = gram if center is None else np.ascontiguousarray(gram[:m, :m])

        previous = self._weights if self._weights is not None else np.full(m, 1.0 / m)
        active = scale > 0 if self._scale_objectives else np.ones(m, dtype=bool)
        weights = self._weighting(Generation(self._n_iterations, gram, mean_of, median, scale, active, previous))
        if self._weighting.momentum:
            gamma = self._momentum()
            weights = (1.0 - gamma) * previous + gamma * weights  # Eq. 4.17
        stationarity = None

        mean, std = self._mean.copy(), self._std.copy()
        aggregated = _core.aggregated_std(w, valid, n_valid, weights) if n_valid > 1 else 0.0
        if not aggregated > 0.0:
            return weights, gram, stationarity, mean, std, None
        coefficients = weights / aggregated
        if center is not None:
            shift = (mean_of - center) / scale if self._scale_objectives else mean_of - center
            shift = np.where(scale > 0, shift, 0.0) if self._scale_objectives else shift
            coefficients = np.append(coefficients, -float(coefficients @ shift))
        mean_step, std_step = self._steps(n_valid)
        inverse = self._std_form == "inverse" or (self._std_form == "auto" and self._baseline == "center")
        summary = _core.update_distribution(
            mean,
            std,
            self._low,
            self._high,
            mean_gradient,
            std_gradient,
            coefficients,
            mean_step,
            std_step,
            inverse,
        )
        return weights, gram, stationarity, mean, std, summary

    def _momentum(self) -> float:
        if self._weight_momentum == "harmonic":
            return 1.0 / (self._n_iterations + 1)
        return cast(float, self._weight_momentum) if self._n_iterations else 1.0

    def _estimate(
        self,
        X: Array | None,
        valid: npt.NDArray[np.uint8],
        columns: FloatArray,
        mean_gradient: Array,
        std_gradient: Array,
    ) -> tuple[FloatArray, FloatArray]:
        """Run the one pass; a second one only if a changed candidate had to be pulled back."""
        arguments = (self._low, self._high, self._seed, self._n_iterations)
        outputs = (valid, columns, mean_gradient, std_gradient, self._n_threads)
        gram, norms = _core.estimate(self._mean, self._std, *arguments, X, *outputs)
        if X is None:
            return gram, norms
        if not np.isfinite(norms.sum()):
            row = int(np.flatnonzero(~np.isfinite(norms))[0])
            raise ValueError(f"`X` must be finite where `F` is; row {row} is not.")
        # A chi-square variable with d degrees exceeds this with probability e^-50: no sample of ours ever does.
        d = self.dimension
        limit = d + 2.0 * math.sqrt(50.0 * d) + 100.0
        if norms.max() > limit:
            X = X.copy()
            for row in np.flatnonzero(norms > limit):
                X[row] = self._mean + (X[row] - self._mean) * math.sqrt(limit / norms[row])
            gram, norms = _core.estimate(self._mean, self._std, *arguments, X, *outputs)
        return gram, norms

    def _check_values(self, F: Any) -> FloatArray:
        rows, m = self.n_candidates, self._n_objectives
        expected = f"of shape (popsize{' + 1' * (rows > self._popsize)}, m) = ({rows}, {m or 'm'})"
        array = real_array("F", F, expected)
        if array.ndim == 1 and m in (1, None) and array.shape == (rows,):
            array = array[:, None]
        if array.ndim != 2 or array.shape[0] != rows or array.shape[1] == 0 or (m and array.shape[1] != m):
            raise ValueError(f"`F` must be {expected}; got shape {array.shape}.")
        return np.ascontiguousarray(array, dtype=np.float64)

    def _check_candidates(self, X: Any, center: bool) -> Array | None:
        if X is None or isinstance(X, Population):
            return None
        shape = (self.n_candidates, self.dimension)
        array = real_array("X", X, f"of shape (popsize, d) = {shape}")
        if array.shape != shape:
            raise ValueError(f"`X` must be of shape (popsize, d) = {shape}; got shape {array.shape}.")
        if center:
            array = array[1:]
        return np.ascontiguousarray(array, dtype=self._dtype)

    def _fix_objectives(self, m: int) -> None:
        fixed = getattr(self._weighting, "weights", None)
        if fixed is not None and fixed.size != m:
            raise ValueError(f"`weighting` must have shape (m,) = ({m},); got shape {fixed.shape}.")
        self._stopping.check_objectives(m)
        self._n_objectives = m
        self._weights = np.full(m, 1.0 / m)

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state as plain data and arrays (no pickle in it), with version and checksum.

        A search that is continued from it makes the same candidates and ends with the same bits, also when it was
        taken between ``ask`` and ``tell``.
        """
        return seal(
            {
                "options": {
                    "n_objectives": self._n_objectives,
                    "popsize": self._popsize,
                    "step_size": self._steps.mean_step,
                    "std_step_size": self._steps.std_step,
                    "scale_objectives": self._scale_objectives,
                    "weighting": "callable" if isinstance(self._weighting, Custom) else self._weighting.spec(),
                    "weight_momentum": self._weight_momentum,
                    "baseline": self._baseline,
                    "std_form": self._std_form,
                    "seed": self._seed,
                    "dtype": str(self._dtype),
                    "memory": self._memory,
                    "n_threads": self._n_threads,
                    **self._stopping.options(),
                },
                "mean": self._mean.copy(),
                "std": self._std.copy(),
                "low": None if self._low is None else self._low.copy(),
                "high": None if self._high is None else self._high.copy(),
                "std0_max": self._std0_max,
                "weights": None if self._weights is None else self._weights.copy(),
                "gram": None if self._gram is None else self._gram.copy(),
                "scale": None if self._scale is None else self._scale.copy(),
                "weighting_state": self._weighting.state_dict(),
                "stopping_state": self._stopping.state_dict(),
                "asked": self._asked,
                "n_iterations": self._n_iterations,
                "n_evaluations": self._n_evaluations,
                "n_failed": self._n_failed,
            }
        )

    @classmethod
    def from_state_dict(cls, state: dict[str, Any], *, weighting: Any = None) -> ASMG:
        """Make the optimizer that ``state`` was taken from.

        Parameters
        ----------
        state : dict
            As :meth:`state_dict` returned it.
        weighting : callable, optional
            Needed, and only allowed, where the state's weighting is a callable: functions are not saved.

        Raises
        ------
        StateError
            The state is of another version, incomplete or damaged.
        """
        content = unseal(state)
        optimizer = cls.__new__(cls)
        try:
            optimizer._restore(content, weighting)
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"this saved state is incomplete: {type(error).__name__}: {error}.") from error
        return optimizer

    def _restore(self, content: dict[str, Any], weighting: Any) -> None:
        options = dict(content["options"])
        saved = options.pop("weighting")
        if saved == "callable":
            if weighting is None:
                raise StateError(
                    "this state's weighting is a callable; pass it: from_state_dict(state, weighting=...)."
                )
        elif weighting is not None:
            raise StateError(f"this state's weighting is {saved!r}; `weighting` may be passed only for a callable.")
        for name in ("step_size", "std_step_size"):
            options[name] = "auto" if options[name] is None else options[name]
        mean, std = np.array(content["mean"]), np.array(content["std"])
        self.__init__(mean, std, weighting=weighting if saved == "callable" else saved, **options)  # type: ignore[misc]
        self._low = None if content["low"] is None else np.array(content["low"])
        self._high = None if content["high"] is None else np.array(content["high"])
        self._std0_max = float(content["std0_max"])
        for name in ("weights", "gram", "scale"):
            setattr(self, f"_{name}", None if content[name] is None else np.array(content[name]))
        self._weighting.load_state_dict(content["weighting_state"])
        self._stopping.load_state_dict(content["stopping_state"])
        self._asked = bool(content["asked"])
        self._n_iterations = int(content["n_iterations"])
        self._n_evaluations = int(content["n_evaluations"])
        self._n_failed = int(content["n_failed"])

    def __getstate__(self) -> dict[str, Any]:
        custom = self._weighting if isinstance(self._weighting, Custom) else None
        return {"state": self.state_dict(), "weighting": custom}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._restore(unseal(state["state"]), state["weighting"])

    def __repr__(self) -> str:
        return (
            f"ASMG(d={self.dimension}, m={self._n_objectives}, popsize={self._popsize}, "
            f"n_iterations={self._n_iterations}, n_evaluations={self._n_evaluations})"
        )


def _dtype(value: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = np.dtype(object)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"`dtype` must be 'float64' or 'float32'; got {describe(value)}.")
    return dtype


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"`{name}` must be True or False; got {describe(value)}.")
    return bool(value)


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"`{name}` must be {' or '.join(repr(choice) for choice in choices)}; got {describe(value)}.")
    return str(value)
