"""The optimizers that the benchmarks know by name, with the settings that their tables state.

An optimizer has ``ask() -> X (n, d)``, ``tell(X, F)`` with F (n, m), ``recommend() -> points (k, d)`` and ``stop() ->
{}`` or the reasons. Methods for one objective get the plain sum of the objectives, as in the thesis (section 4.6.1).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Optimizer(Protocol):
    """What the harness runs."""

    def ask(self) -> FloatArray:
        """Return the candidates (n, d) of this generation."""

    def tell(self, X: FloatArray, F: FloatArray) -> None:
        """Make one step with the objectives F (n, m) of these candidates."""

    def recommend(self) -> FloatArray:
        """Return the answer so far, (k, d): one point, or a front."""

    def stop(self) -> dict[str, Any]:
        """Return {} while the search should go on, else the reasons by name."""


@dataclass(frozen=True)
class Entry:
    """An optimizer by name.

    Attributes
    ----------
    label : str
        As in the tables.
    where : str
        ``module:class``, imported when it is used.
    package : str, optional
        What must be installed, as it is imported.
    kind : {"vector", "sum", "front"}
        Takes all objectives and gives one point; takes their sum; takes all objectives and gives a front.
    settings : str
        One line for the tables.
    bounded : bool
        Takes ``bounds=`` itself; the candidates of the others are clipped.
    options : dict
        Handed to the class.
    """

    label: str
    where: str
    package: str | None
    kind: str
    settings: str
    bounded: bool = False
    options: dict[str, Any] = field(default_factory=dict)


PAPER: dict[str, Any] = {
    "step_size": 0.1,
    "std_step_size": 0.1,
    "scale_objectives": False,
    "baseline": "center",
    "weight_momentum": "harmonic",
    "stagnation": 0,  # the thesis knows no stopping criterion
}

OPTIMIZERS: dict[str, Entry] = {
    "asmg": Entry("ASMG", "bench.baselines.asmg:Asmg", None, "vector", "pyasmg's defaults", True),
    "asmg-paper": Entry(
        "ASMG paper",
        "bench.baselines.asmg:Asmg",
        None,
        "vector",
        "Algorithm 3: steps 0.1, gamma = 1/(t+1), no scaling; N + 1 evaluations per generation",
        True,
        PAPER,
    ),
    "asmg-ew": Entry(
        "ASMG-EW",
        "bench.baselines.asmg_ew:AsmgEw",
        None,
        "vector",
        "pyasmg's defaults with equal weights",
        True,
    ),
    "cma-full": Entry("pycma full", "bench.baselines:CmaFull", "cma", "sum", "pycma's defaults", True),
    "cma-diagonal": Entry(
        "pycma diagonal", "bench.baselines:CmaDiagonal", "cma", "sum", "pycma's defaults, CMA_diagonal", True
    ),
    "sep-cma": Entry("SepCMA", "bench.baselines:SepCma", "cmaes", "sum", "cmaes' defaults", True),
    "es": Entry("ES", "bench.baselines:ES", None, "sum", "mirrored, centred ranks, Adam 0.01, sigma fixed at sigma0"),
    "bes": Entry("BES", "bench.baselines:BES", None, "sum", "step 0.01, radius sigma0; N + 1 evaluations"),
    "mmes": Entry("MMES", "bench.baselines:MMES", "pypop7", "sum", "pypop7's defaults (those of the MMES paper)"),
    "random": Entry("random", "bench.baselines:RandomSearch", None, "sum", "N(x0, sigma0^2), or the box", True),
    "nsga2": Entry("NSGA-II", "bench.baselines.nsga2:Nsga2", "pymoo", "front", "pymoo's defaults, N = 100", True),
    "como": Entry(
        "COMO-CMA-ES",
        "bench.baselines.como:Como",
        "comocma",
        "front",
        "10 kernels, else comocma's defaults; two objectives only",
        True,
    ),
}

#: How a package is called where it is installed from, if not as it is imported.
_PROJECTS = {"cocoex": "coco-experiment", "mo_gymnasium": "mo-gymnasium[mujoco]"}


def missing(package: str) -> str | None:
    """Return a line that says that a package is not installed and how to install it; None if it is there."""
    if find_spec(package) is not None:
        return None
    return f'{package} is not installed (pip install "pyasmg[bench]", or pip install {_PROJECTS.get(package, package)})'


def available(names: Iterable[str]) -> list[str]:
    """Return the names whose package is installed; print a line for each of the others."""
    found = []
    for name in names:
        package = OPTIMIZERS[name].package
        line = package and missing(package)
        if line:
            print(f"{OPTIMIZERS[name].label} skipped: {line}.")
        else:
            found.append(name)
    return found


def settings_lines(names: Iterable[str]) -> list[str]:
    """Return ``label: settings (package version)`` for each, to print under a table."""
    from importlib.metadata import PackageNotFoundError, version

    lines = []
    for name in names:
        entry = OPTIMIZERS[name]
        if entry.package is None:
            origin = "pyasmg" if entry.kind == "vector" else "this repository"
        else:
            try:
                origin = f"{entry.package} {version(entry.package)}"
            except PackageNotFoundError:
                origin = entry.package
        how = ", on the sum of the objectives" if entry.kind == "sum" else ""
        lines.append(f"{entry.label}: {entry.settings}{how} ({origin})")
    return lines


def make(
    name: str,
    x0: FloatArray,
    sigma0: float,
    popsize: int | None,
    seed: int,
    *,
    bounds: tuple[Any, Any] | None = None,
    reference: FloatArray | None = None,
    **options: Any,
) -> Optimizer:
    """Make an optimizer by name.

    Parameters
    ----------
    name : str
        A key of `OPTIMIZERS`.
    x0, sigma0, popsize, seed
        As the classes of :mod:`bench.baselines` take them.
    bounds : (low, high), optional
        Given to the methods that know bounds; for the others the harness clips.
    reference : ndarray of shape (m,), optional
        Reference point of the hypervolume; for COMO-CMA-ES.
    **options
        On top of the entry's own.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"`name` must be one of {', '.join(OPTIMIZERS)}; got {name!r}.")
    entry = OPTIMIZERS[name]
    settings = {**entry.options, **options}
    if entry.bounded and bounds is not None:
        settings["bounds"] = bounds
    if name == "como":
        settings["reference"] = reference
    module, _, attribute = entry.where.partition(":")
    optimizer = getattr(import_module(module), attribute)(x0, sigma0, popsize, seed, **settings)
    return Summed(optimizer) if entry.kind == "sum" else optimizer


class Summed:
    """A method for one objective, told the plain sum of the objectives."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def ask(self) -> FloatArray:
        X: FloatArray = self.optimizer.ask()
        return X

    def tell(self, X: FloatArray, F: FloatArray) -> None:
        with np.errstate(over="ignore"):
            self.optimizer.tell(X, F.sum(axis=1))

    def recommend(self) -> FloatArray:
        mean: FloatArray = self.optimizer.mean[None]
        return mean

    def stop(self) -> dict[str, Any]:
        return dict(self.optimizer.stop())


def say(line: str) -> None:
    """Print a line of progress to stderr."""
    print(line, file=sys.stderr, flush=True)
