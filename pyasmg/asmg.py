"""The optimizer: ask/tell."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from . import _core
from ._bounds import as_bounds
from ._device_distribution import DeviceDistribution
from ._distribution import Array, FloatArray, SearchDistribution, Summary
from ._options import Options
from ._population import Population
from ._scaling import Scaling
from ._start import make_distribution, start_arrays
from ._state import StateError, seal, unseal
from ._step import Values, take_step
from ._step_size import StepState
from ._stopping import Stopping, Told
from ._validate import integer, real_array, vector
from .result import Result
from .weighting import Custom, Weighting, WeightingLike, make_weighting

_FLOAT64 = np.dtype(np.float64)
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
        Start of the standard deviations, > 0: about a third of the distance within which the optimum is expected. The
        automatic rule lets far too small ones grow, at some cost; within bounds it does not.
    n_objectives : int, optional
        m; taken from the first ``tell`` if not given. m = 1 works.
    popsize : int, optional
        N >= 2 candidates per generation; default ``4 + floor(3 ln d)``, made even for mirrored samples.
    step_size, std_step_size : float or "auto"
        beta of Eq. A.152 (mean) and of Eq. A.153 (stds). See :mod:`pyasmg._step_size` for the automatic rule. Where
        both are automatic and ``baseline="mean"``, outliers of the values are pulled in: :mod:`pyasmg._outliers`.
    scale_objectives : bool
        Give each objective a unit of its own *before* it enters the QP and the weighted sum: a running mean of its
        standard deviation, see :mod:`pyasmg._scaling`. The search is then invariant to the units of each objective.
        Deviation from the source, which scales the weighted sum only.
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
    mirrored : bool or "auto"
        Whether row 2 k + 1 of the sample is row 2 k reflected at the mean. The even part of the objectives then
        cancels exactly out of the mean's gradient, and the odd part out of the stds'. "auto": unless
        ``baseline="center"``, whose source samples independently.
    bounds : (low, high), optional
        Each a scalar, a vector of shape (d,) or None; infinite means none. ``scipy.optimize.Bounds`` works. Every
        candidate is feasible; see :mod:`pyasmg._bounds` for the method (clipping) and why it does not bias the search.
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
    device : "cpu", "cuda" or "cuda:N"
        Where mean, stds and candidates live. On a CUDA device ``ask()`` gives a tensor of PyTorch (without PyTorch a
        :class:`DeviceArray`), ``tell`` takes arrays there, which are not copied, or on the host; ``mean`` and ``stds``
        are copies on the host. The numbers are those of the CPU to the bit. See :attr:`stream`.
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
        mirrored: bool | str = "auto",
        bounds: Any = None,
        seed: int | None = None,
        dtype: npt.DTypeLike = "float64",
        memory: str = "store",
        n_threads: int = 1,
        device: Any = "cpu",
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
        sigma = vector("sigma0", sigma0, start.size)
        if not sigma.min() > 0:
            raise ValueError(f"`sigma0` must be > 0; got {sigma.min():g}.")
        options = Options.check(
            start.size,
            popsize=popsize,
            step_size=step_size,
            std_step_size=std_step_size,
            scale_objectives=scale_objectives,
            weight_momentum=weight_momentum,
            baseline=baseline,
            std_form=std_form,
            mirrored=mirrored,
            memory=memory,
            seed=seed,
            dtype=dtype,
        )
        arrays = start_arrays(start, sigma, as_bounds(bounds, start), options)
        std0_max = float(arrays[1].max())
        search = make_distribution(arrays, options, device)
        stopping = Stopping(
            popsize=options.popsize,
            dimension=start.size,
            max_evaluations=max_evaluations,
            max_iterations=max_iterations,
            tolx=tolx,
            tolfun=tolfun,
            target=target,
            tolstationarity=tolstationarity,
            stagnation=stagnation,
        )
        self._assemble(options, search, make_weighting(weighting), stopping, std0_max)
        self.n_threads = n_threads
        stopping.check_limits(0, 0, options.n_candidates)
        if n_objectives is not None:
            self._fix_objectives(integer("n_objectives", n_objectives, 1))

    def _assemble(
        self,
        options: Options,
        search: SearchDistribution | DeviceDistribution,
        weighting: Weighting,
        stopping: Stopping,
        std0_max: float,
    ) -> None:
        """Set every attribute to its value before the first generation."""
        self._options = options
        self._search = search
        self._weighting = weighting
        self._stopping = stopping
        self._std0_max = std0_max
        self._n_objectives: int | None = None
        self._weights: FloatArray | None = None
        self._scaling: Scaling | None = None
        self._step_state = StepState.start(search.dimension)
        self._gram: FloatArray | None = None
        self._scale: FloatArray | None = None
        self._stationarity: float | None = None
        self._asked = False
        self._n_iterations = 0
        self._n_evaluations = 0
        self._n_failed = 0

    # ---------------------------------------------------------------- what the search is

    @property
    def mean(self) -> Array:
        """Mean of the search distribution, shape (d,), a copy; with bounds the point of the box nearest to it."""
        return self._search.feasible_mean()

    @property
    def stds(self) -> Array:
        """Standard deviations of the search distribution, shape (d,), a copy."""
        stds: Array = self._search.std.copy()
        return stds

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
            if not self._options.scale_objectives:
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
    def median(self) -> FloatArray | None:
        """Median of each objective over the last generation, shape (m,), in the user's units; None before the first."""
        median = self._stopping.last_median
        return None if median is None else median.copy()

    @property
    def dimension(self) -> int:
        """Number of parameters d."""
        return self._search.dimension

    @property
    def n_objectives(self) -> int | None:
        """Number of objectives m; None as long as it is not known."""
        return self._n_objectives

    @property
    def popsize(self) -> int:
        """Samples per generation N."""
        return self._options.popsize

    @property
    def n_candidates(self) -> int:
        """Rows of ``ask()``: N, or N + 1 with ``baseline="center"``."""
        return self._options.n_candidates

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
        return self._options.seed

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of mean, stds and candidates."""
        return np.dtype(self._options.dtype)

    @property
    def n_threads(self) -> int:
        """Threads of the core; may be changed at any time without changing the search."""
        return self._search.n_threads

    @n_threads.setter
    def n_threads(self, value: int) -> None:
        self._search.n_threads = integer("n_threads", value, 1, 1024)

    @property
    def device(self) -> str:
        """Where the search runs, as it was asked for."""
        return self._search.device

    @property
    def stream(self) -> int | None:
        """Handle of the CUDA stream that the work is given to; None: PyTorch's current one, else the default stream."""
        return self._search.stream

    @stream.setter
    def stream(self, value: Any) -> None:
        self._search.set_stream(value)

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
        ``stagnation``      in a window of 1000 + 60 d / N generations, the median of no objective improved from
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
            seed=self._options.seed,
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
        self._open_generation()
        if self._options.memory == "regenerate":
            return Population(self)
        return self._search.population(self._n_iterations, self._options.n_candidates, self._options.center)

    def ask_one(self, index: int) -> Any:
        """Return row ``index`` of ``ask()`` alone, shape (d,), in O(d): the same bits."""
        row = integer("index", index, 0, self._options.n_candidates - 1) - self._options.center
        self._open_generation()
        return self._search.candidate(self._n_iterations, row)

    def _ask_rows(self, first: int, count: int) -> Any:
        """Return some rows of ``ask()``, shape (count, d)."""
        self._open_generation()
        return self._search.rows(self._n_iterations, first, count, self._options.center)

    def _open_generation(self) -> None:
        """Allow `tell`: somebody, here or elsewhere, is about to know this generation's candidates."""
        if self._n_iterations >= _MAX_GENERATION:
            raise OverflowError(f"a search has at most {_MAX_GENERATION} generations.")
        self._asked = True

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
        options, stopping = self._options, self._stopping
        F = self._check_values(F)
        samples = F[1:] if options.center else F
        X = self._check_candidates(X)

        center = F[0] if options.center and np.isfinite(F[0]).all() else None
        values = Values(*_core.condition_objectives(samples, center, options.scale_objectives))
        if values.n_valid == 0:
            raise ValueError(f"`F` must have at least one row without NaN or inf; got {len(samples)} failed rows.")
        if self._n_objectives is None:
            self._fix_objectives(F.shape[1])
        outcome = take_step(
            self._search,
            options,
            self._weighting,
            self._scaling or Scaling.start(F.shape[1]),
            self._step_state,
            cast(FloatArray, self._weights),
            self._n_iterations,
            X,
            samples,
            center,
            values,
        )

        # Nothing below can fail: a generation counts as a whole or not at all.
        self._weights, self._gram = outcome.weights, outcome.gram
        self._scaling, self._step_state = outcome.scaling, outcome.step_state
        self._scale, self._stationarity = values.scale, None
        self._asked = False
        self._n_iterations += 1
        self._n_evaluations += len(F)
        self._n_failed += len(F) - values.n_valid - (center is not None)
        summary = outcome.summary or Summary(self._std0_max, 0.0, True, True)
        stopping.update(
            Told(
                n_evaluations=self._n_evaluations,
                n_iterations=self._n_iterations,
                n_next=len(F),
                median=values.median,
                spread=values.spread,
                max_std_ratio=summary.max_std / self._std0_max,
                max_std=summary.max_std,
                effective=summary.effective,
                finite=summary.finite,
                stationarity=math.nan if stopping.tolstationarity is None else self.stationarity,
            )
        )

    def _check_values(self, F: Any) -> FloatArray:
        rows, m = self._options.n_candidates, self._n_objectives
        if type(F) is np.ndarray and F.dtype is _FLOAT64 and F.shape == (rows, m) and F.flags.c_contiguous:
            return F  # the usual case: no words are needed
        expected = f"of shape (popsize{' + 1' * self._options.center}, m) = ({rows}, {m or 'm'})"
        array = real_array("F", self._search.as_values(F), expected)
        if array.ndim == 1 and m in (1, None) and array.shape == (rows,):
            array = array[:, None]
        if array.ndim != 2 or array.shape[0] != rows or array.shape[1] == 0 or (m and array.shape[1] != m):
            raise ValueError(f"`F` must be {expected}; got shape {array.shape}.")
        return np.ascontiguousarray(array, dtype=np.float64)

    def _check_candidates(self, X: Any) -> Any:
        if X is None or isinstance(X, Population):
            return None
        return self._search.as_candidates(X, (self.n_candidates, self.dimension), self._options.center)

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
        search = self._search
        arrays = {
            "mean": search.mean,
            "std": search.std,
            "low": search.low,
            "high": search.high,
            "weights": self._weights,
            "gram": self._gram,
            "scale": self._scale,
            "log_unit": None if self._scaling is None else self._scaling.log_unit,
            "unit_count": None if self._scaling is None else self._scaling.count,
            "path": search.host(self._step_state.path),
        }
        return seal(
            {
                "options": self._options.plain(),
                "stopping": self._stopping.options(),
                "weighting": "callable" if isinstance(self._weighting, Custom) else self._weighting.spec(),
                "n_threads": search.n_threads,
                "std0_max": self._std0_max,
                **{name: None if array is None else array.copy() for name, array in arrays.items()},
                "weighting_state": self._weighting.state_dict(),
                "step_state": self._step_state.numbers(),
                "stopping_state": self._stopping.state_dict(),
                "asked": self._asked,
                "n_objectives": self._n_objectives,
                "n_iterations": self._n_iterations,
                "n_evaluations": self._n_evaluations,
                "n_failed": self._n_failed,
            }
        )

    @classmethod
    def from_state_dict(cls, state: dict[str, Any], *, weighting: Any = None, device: Any = "cpu") -> ASMG:
        """Make the optimizer that ``state`` was taken from.

        Parameters
        ----------
        state : dict
            As :meth:`state_dict` returned it.
        weighting : callable, optional
            Needed, and only allowed, where the state's weighting is a callable: functions are not saved.
        device : str
            Where to go on, as for :class:`ASMG`; a state does not know where it was taken.

        Raises
        ------
        StateError
            The state is of another version, incomplete or damaged.
        """
        content = unseal(state)
        optimizer = cls.__new__(cls)
        try:
            optimizer._restore(content, weighting, device)
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"this saved state is incomplete: {type(error).__name__}: {error}.") from error
        return optimizer

    def _restore(self, content: dict[str, Any], weighting: Any, device: Any) -> None:
        saved = content["weighting"]
        if saved == "callable" and weighting is None:
            raise StateError("this state's weighting is a callable; pass it: from_state_dict(state, weighting=...).")
        if saved != "callable" and weighting is not None:
            raise StateError(f"this state's weighting is {saved!r}; `weighting` may be passed only for a callable.")

        def array(name: str) -> Any:
            return None if content[name] is None else np.array(content[name])

        options = Options.from_plain(content["options"])
        search = make_distribution((array("mean"), array("std"), array("low"), array("high")), options, device)
        stopping = Stopping(popsize=options.popsize, dimension=search.dimension, **content["stopping"])
        self._assemble(
            options,
            search,
            make_weighting(weighting if saved == "callable" else saved),
            stopping,
            float(content["std0_max"]),
        )
        self.n_threads = content["n_threads"]
        if content["n_objectives"] is not None:
            self._fix_objectives(int(content["n_objectives"]))
        self._weights, self._gram, self._scale = array("weights"), array("gram"), array("scale")
        if content["log_unit"] is not None:
            self._scaling = Scaling(array("log_unit"), array("unit_count"))
        self._step_state = StepState(array("path"), self._step_state.stride, *content["step_state"])
        self._weighting.load_state_dict(content["weighting_state"])
        stopping.load_state_dict(content["stopping_state"])
        self._asked = bool(content["asked"])
        self._n_iterations = int(content["n_iterations"])
        self._n_evaluations = int(content["n_evaluations"])
        self._n_failed = int(content["n_failed"])

    def _set_limits(self, max_evaluations: int | None, max_iterations: int | None) -> None:
        """Replace the limits on the length of a search that is continued."""
        self._stopping.set_limits(max_evaluations, max_iterations)
        self._stopping.check_limits(self._n_evaluations, self._n_iterations, self.n_candidates)

    def __getstate__(self) -> dict[str, Any]:
        custom = self._weighting if isinstance(self._weighting, Custom) else None
        return {"state": self.state_dict(), "weighting": custom, "device": self.device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._restore(unseal(state["state"]), state["weighting"], state.get("device", "cpu"))

    def __repr__(self) -> str:
        return (
            f"ASMG(d={self.dimension}, m={self._n_objectives}, popsize={self.popsize}, "
            f"n_iterations={self._n_iterations}, n_evaluations={self._n_evaluations})"
        )
