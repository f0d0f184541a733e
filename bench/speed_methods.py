"""What ``bench.speed`` measures: pyasmg, its plain twins in numpy and torch, and its peers, one generation per call."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bench import common

common.one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402

import pyasmg  # noqa: E402
from pyasmg import _core  # noqa: E402

Array = npt.NDArray[Any]

N_OBJECTIVES = 2
N_VALUES = 16  # generations' worth of objective values, used in turn
STEP = 0.5  # of the twins; ours chooses its own


# ---------------------------------------------------------------- the twins


def two_objective_weights(gram: Any) -> Array:
    """Return the weights (2,) of the smallest convex combination of two vectors, from their Gram matrix."""
    a, b, c = float(gram[0][0]), float(gram[0][1]), float(gram[1][1])
    curvature = a + c - 2.0 * b
    first = min(max((c - b) / curvature, 0.0), 1.0) if curvature > 0.0 else 0.5
    return np.array([first, 1.0 - first])


class NumpyTwin:
    """pyasmg's default mode for two objectives, as one would write it in numpy."""

    def __init__(self, x0: Array, sigma0: float, popsize: int, dtype: str, *, step: float = STEP, seed: int = 0):
        self.mean = x0.astype(dtype)
        self.stds = np.full_like(self.mean, sigma0)
        self.weights = np.full(N_OBJECTIVES, 1.0 / N_OBJECTIVES)
        self.step = step
        self.iteration = 0
        self._log_unit = np.zeros(N_OBJECTIVES)
        self.Z: Any = None  # kept from ask to tell: cheaper than to compute it from the candidates
        self._shape = (popsize, self.mean.size)
        self._rng = np.random.default_rng(seed)

    def ask(self, Z: Array | None = None) -> Array:
        """Return the candidates; ``Z`` replaces the normals, for tests."""
        self.Z = self._rng.standard_normal(self._shape, dtype=self.mean.dtype) if Z is None else Z
        return self.mean + self.stds * self.Z

    def tell(self, F: Array) -> None:
        """Make one step."""
        Z, n = self.Z, len(F)
        scale = np.log(F.std(axis=0))
        self._log_unit += 4.0 / (self.iteration + 4) * (scale - self._log_unit)  # the objectives' units
        w = (F - F.mean(axis=0)) / np.exp(self._log_unit) / n
        W = w.T.astype(self.mean.dtype)
        P = W @ Z  # Eq. 4.12
        H = 0.5 * (W @ (Z * Z) - W.sum(axis=1, keepdims=True))  # Eq. 4.13
        gamma = 1.0 / (self.iteration + 1)
        found = two_objective_weights(P @ P.T + 2.0 * (H @ H.T))  # Eq. 4.10
        self.weights = (1.0 - gamma) * self.weights + gamma * found  # Eq. 4.17
        c = (self.weights / (n * (w @ self.weights)).std()).astype(self.mean.dtype)
        self.mean -= self.step * self.stds * (c @ P)  # Eq. A.152
        self.stds *= np.exp(np.clip(-self.step * (c @ H), -math.log(2), math.log(2)))  # Eq. A.153
        self.Z = None
        self.iteration += 1


class TorchTwin:
    """The same in PyTorch."""

    def __init__(self, x0: Array, sigma0: float, popsize: int, dtype: str, *, step: float = STEP, seed: int = 0):
        import torch

        self._torch = torch
        self.mean = torch.from_numpy(x0.astype(dtype))
        self.stds = torch.full_like(self.mean, sigma0)
        self.weights = torch.full((N_OBJECTIVES,), 1.0 / N_OBJECTIVES, dtype=torch.float64)
        self.step = step
        self.iteration = 0
        self._log_unit = torch.zeros(N_OBJECTIVES, dtype=torch.float64)
        self.Z: Any = None
        self._shape = (popsize, len(self.mean))
        self._generator = torch.Generator().manual_seed(seed)

    def ask(self, Z: Any = None) -> Any:
        """Return the candidates; ``Z`` replaces the normals, for tests."""
        torch = self._torch
        with torch.no_grad():
            self.Z = torch.randn(self._shape, dtype=self.mean.dtype, generator=self._generator) if Z is None else Z
            return torch.addcmul(self.mean, self.stds, self.Z)

    def tell(self, F: Any) -> None:
        """Make one step."""
        torch = self._torch
        with torch.no_grad():
            Z, n = self.Z, len(F)
            scale = torch.log(F.std(dim=0, correction=0))
            self._log_unit += 4.0 / (self.iteration + 4) * (scale - self._log_unit)  # the objectives' units
            w = (F - F.mean(dim=0)) / torch.exp(self._log_unit) / n
            W = w.T.to(self.mean.dtype)
            P = W @ Z  # Eq. 4.12
            H = 0.5 * (W @ (Z * Z) - W.sum(dim=1, keepdim=True))  # Eq. 4.13
            gamma = 1.0 / (self.iteration + 1)
            gram = (P @ P.T + 2.0 * (H @ H.T)).tolist()
            found = torch.from_numpy(two_objective_weights(gram))  # Eq. 4.10
            self.weights = (1.0 - gamma) * self.weights + gamma * found  # Eq. 4.17
            c = (self.weights / (n * (w @ self.weights)).std(correction=0)).to(self.mean.dtype)
            self.mean.addcmul_(self.stds, c @ P, value=-self.step)  # Eq. A.152
            self.stds *= torch.exp(torch.clamp(-self.step * (c @ H), -math.log(2), math.log(2)))  # Eq. A.153
        self.Z = None
        self.iteration += 1


# ---------------------------------------------------------------- the methods: one generation per call


@dataclass(frozen=True)
class Case:
    """What all methods of a comparison share."""

    d: int
    dtype: str
    popsize: int
    values: tuple[Array, ...]  # objective values (N, m) of successive generations

    @classmethod
    def make(cls, d: int, dtype: str, popsize: int) -> Case:
        """Draw the objective values."""
        rng = np.random.default_rng(0)
        values = [rng.standard_normal((popsize, N_OBJECTIVES)) for _ in range(N_VALUES)]
        return cls(d, dtype, popsize, tuple(values))

    @property
    def population_bytes(self) -> int:
        """Of one population."""
        return self.popsize * self.d * np.dtype(self.dtype).itemsize


class Method(Protocol):
    """Something to time: ``generation`` is one ask and one tell."""

    def generation(self) -> None:
        """Make one ask and one tell."""


class Ours:
    """pyasmg.ASMG with default options."""

    def __init__(self, case: Case, n_threads: int = 1, memory: str = "store") -> None:
        self._opt = pyasmg.ASMG(
            np.zeros(case.d),
            1.0,
            popsize=case.popsize,
            seed=0,
            dtype=case.dtype,
            n_threads=n_threads,
            memory=memory,
        )
        self._values = itertools.cycle(case.values)

    def generation(self) -> None:
        """Make one ask and one tell."""
        X = self._opt.ask()
        self._opt.tell(X, next(self._values))

    def generation_reading(self) -> None:
        """Look at every candidate in turn, as an evaluation would."""
        X = self._opt.ask()
        for _ in X:
            pass
        self._opt.tell(X, next(self._values))


class Numpy:
    """The numpy twin."""

    def __init__(self, case: Case) -> None:
        self._twin = NumpyTwin(np.zeros(case.d), 1.0, case.popsize, case.dtype)
        self._values = itertools.cycle(case.values)

    def generation(self) -> None:
        """Make one ask and one tell."""
        X = self._twin.ask()
        self._twin.tell(next(self._values))
        del X

    generation_reading = generation


class Torch:
    """The torch twin."""

    def __init__(self, case: Case) -> None:
        import torch

        torch.set_num_threads(1)
        self._twin = TorchTwin(np.zeros(case.d), 1.0, case.popsize, case.dtype)
        self._values = itertools.cycle([torch.from_numpy(F) for F in case.values])

    def generation(self) -> None:
        """Make one ask and one tell."""
        X = self._twin.ask()
        self._twin.tell(next(self._values))
        del X


class EvoTorch:
    """EvoTorch's SNES; its ``step`` is tell, ask, and the (prepared) evaluation."""

    def __init__(self, case: Case) -> None:
        import logging

        logging.getLogger("evotorch").setLevel(logging.ERROR)
        import torch

        torch.set_num_threads(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from evotorch import Problem
            from evotorch.algorithms import SNES
        logging.getLogger("evotorch").setLevel(logging.ERROR)

        dtype = getattr(torch, case.dtype)
        values = itertools.cycle([torch.from_numpy(F.sum(axis=1)).to(dtype) for F in case.values])
        problem = Problem(
            "min",
            lambda X: next(values),
            solution_length=case.d,
            initial_bounds=(-1.0, 1.0),
            dtype=dtype,
            vectorized=True,
            store_solution_stats=False,
            seed=0,
        )
        self._snes = SNES(problem, stdev_init=1.0, popsize=case.popsize, center_init=torch.zeros(case.d, dtype=dtype))

    def generation(self) -> None:
        """Make one ask and one tell."""
        self._snes.step()


class Evosax:
    """evosax's SNES, ask and tell compiled, waiting for each."""

    def __init__(self, case: Case) -> None:
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", case.dtype == "float64")
        import jax.numpy as jnp
        from evosax.algorithms import SNES

        self._snes = SNES(population_size=case.popsize, solution=jnp.zeros(case.d, dtype=case.dtype))
        self._params = self._snes.default_params
        keys = list(jax.random.split(jax.random.key(0), 64))
        self._state = self._snes.init(keys[0], jnp.zeros(case.d, dtype=case.dtype), self._params)
        self._keys = itertools.cycle(keys)
        self._values = itertools.cycle([jnp.asarray(F.sum(axis=1), dtype=case.dtype) for F in case.values])
        X, _ = self._snes.ask(keys[0], self._state, self._params)
        if X.dtype != case.dtype:
            raise RuntimeError(f"evosax sampled {X.dtype} instead of {case.dtype}")

    def generation(self) -> None:
        """Make one ask and one tell."""
        X, state = self._snes.ask(next(self._keys), self._state, self._params)
        X.block_until_ready()
        self._state, _ = self._snes.tell(next(self._keys), X, next(self._values), state, self._params)
        self._state.mean.block_until_ready()
        self._state.std.block_until_ready()


class Pycma:
    """pycma with a diagonal covariance matrix; float64 only."""

    def __init__(self, case: Case) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import cma

        options = {
            "popsize": case.popsize,
            "CMA_diagonal": True,
            "seed": math.nan,
            "verbose": -10,
            "verb_log": 0,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._es = cma.CMAEvolutionStrategy(np.zeros(case.d), 1.0, options)
        self._values = itertools.cycle([F.sum(axis=1).tolist() for F in case.values])

    def generation(self) -> None:
        """Make one ask and one tell."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._es.tell(self._es.ask(), next(self._values))


class Floor:
    """What the machine needs to copy, write or draw a population."""

    def __init__(self, case: Case, what: str) -> None:
        shape = (case.popsize, case.d)
        self._out = np.ones(shape, dtype=case.dtype)
        self._source = np.ones(shape if what == "copy" else 0, dtype=case.dtype)
        self._generation = 0
        self.generation: Callable[[], None] = getattr(self, f"_{what}")

    def _copy(self) -> None:
        np.copyto(self._out, self._source)

    def _write(self) -> None:
        self._out.fill(1.0)

    def _fresh(self) -> None:
        np.empty_like(self._out).fill(1.0)

    def _normals(self) -> None:
        _core.sample_normals(0, self._generation, 0, self._out, 1)
        self._generation += 1


@dataclass(frozen=True)
class Kind:
    """How a method is made, what it needs, and how many populations it holds at its peak."""

    make: Callable[[Case], Method]
    module: str | None = None
    populations: float = 1.0
    dtypes: tuple[str, ...] = ("float32", "float64")
    moved: float | None = None  # populations moved per generation


OURS = "pyasmg"
PEERS: dict[str, Kind] = {
    "numpy": Kind(Numpy, None, 4),
    "torch": Kind(Torch, "torch", 4),
    "EvoTorch SNES": Kind(EvoTorch, "evotorch", 5),
    "evosax SNES": Kind(Evosax, "evosax", 5),
    "pycma diagonal": Kind(Pycma, "cma", 8.5, ("float64",)),
}
FLOORS: dict[str, Kind] = {
    "floor: normals": Kind(lambda case: Floor(case, "normals"), moved=1),
    "floor: copy": Kind(lambda case: Floor(case, "copy"), populations=2, moved=2),
    "floor: write": Kind(lambda case: Floor(case, "write"), moved=1),
    "floor: allocate, write": Kind(lambda case: Floor(case, "fresh"), populations=2, moved=1),
}
KINDS = {OURS: Kind(Ours, moved=2), **PEERS, **FLOORS}
