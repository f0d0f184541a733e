"""The synthetic bilevel problem (A.32) from the starts of Fig. A.1: distance to the Pareto set, stationarity, q.

    python -m bench.bilevel.synthetic [--iterations 500] [--methods FORUM MOML MoCo BOME BVFIM]

With the settings of the thesis: gradient descent, upper rate 0.3, lower rate 0.05, 50 lower steps, rho = 0.3; MoCo,
BOME and BVFIM otherwise with their defaults. The Pareto set is alpha = omega_1 = omega_2 = c with c in [1, 2].
Acceptance: FORUM's distance, K(z) and q(z) are below 1e-3 at the end from every start.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread, save_figure

one_thread()

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyasmg.mtl import bilevel

STARTS = ((0.0, (0.0, 3.0)), (2.0, (0.0, 3.0)), (2.0, (3.0, 3.0)))
METHODS = ("FORUM", "MOML", "MoCo", "BOME", "BVFIM")
ITERATIONS = 500
UPPER_RATE, LOWER_RATE, LOWER_STEPS, RHO = 0.3, 0.05, 50, 0.3
TOLERANCE = 1e-3
Start = tuple[float, tuple[float, float]]


@dataclass(frozen=True)
class Trace:
    """Along the way, shape (iterations,): distance to the Pareto set, K(z), q(z); and where it ended."""

    distance: np.ndarray
    stationarity: np.ndarray
    constraint: np.ndarray
    end: tuple[float, float, float]


def upper(alpha: Tensor, omega: Tensor, batch: None) -> Tensor:
    """Return the two objectives of (A.32)."""
    second = (omega[1] - alpha[0]).square()
    return torch.stack([(omega[0] - 1.0).square() + second, (omega[0] - 2.0).square() + second])


def lower(alpha: Tensor, omega: Tensor, batch: None) -> Tensor:
    """Return the lower level of (A.32)."""
    return (omega - alpha).square().sum()


def distance(z: np.ndarray) -> float:
    """Return how far (alpha, omega_1, omega_2) is from the Pareto set."""
    return float(np.linalg.norm(z - np.clip(z.mean(), 1.0, 2.0)))


def run(name: str, start: Start, iterations: int) -> Trace:
    """Take the iterations of one method from one start, in double precision.

    K(z) is the squared norm of the direction: for methods on hypergradients, of that of alpha alone.
    """
    alpha = torch.tensor([start[0]], dtype=torch.float64)
    omega = torch.tensor(start[1], dtype=torch.float64)
    options: dict[str, Any] = {}
    if name in ("FORUM", "BOME"):
        options = {"omega_optimizer": torch.optim.SGD([omega], lr=UPPER_RATE), "rho": RHO}
    method = bilevel.METHODS[name](
        bilevel.BilevelProblem(upper, lower),
        alpha,
        omega,
        alpha_optimizer=torch.optim.SGD([alpha], lr=UPPER_RATE),
        lower_steps=LOWER_STEPS,
        lower_learning_rate=LOWER_RATE,
        **options,
    )
    found = []
    for _ in range(iterations):
        norm = method.step().direction_norm
        z = np.array([alpha.item(), *omega.tolist()])
        found.append((distance(z), norm**2, float(lower(alpha, omega, None))))
    return Trace(*np.array(found).T, tuple(z.tolist()))


def figure(traces: dict[str, dict[Start, Trace]]) -> Path:
    """Draw the four panels of Fig. A.1."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 4, figsize=(17, 3.8))
    for i, (name, found) in enumerate(traces.items()):
        for (start, trace), line in zip(found.items(), ("-", "--", ":"), strict=True):
            label = f"{name}, {start[0]:g}, {start[1]}"
            shown = [trace.distance if start in pair else None for pair in (STARTS[:2], STARTS[1:])]
            shown += [trace.stationarity, trace.constraint] if name == "FORUM" else [None, None]
            for axis, values in zip(axes, shown, strict=True):
                if values is not None:
                    axis.semilogy(np.maximum(values, 1e-16), line, color=f"C{i}", lw=1, label=label)
    titles = ("(a) distance, omega_0 = (0, 3)", "(b) distance, alpha_0 = 2", "(c) K(z), FORUM", "(d) q(z), FORUM")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xlabel="iteration")
        axis.legend(fontsize=6)
    fig.tight_layout()
    return save_figure(fig, "bilevel_synthetic")


def acceptance(traces: dict[str, dict[Start, Trace]]) -> list[tuple[str, bool]]:
    """Return what was to be shown, and whether it was."""
    lines = []
    for (alpha, omega), trace in traces.get("FORUM", {}).items():
        ends = [float(values[-1]) for values in (trace.distance, trace.stationarity, trace.constraint)]
        text = f"FORUM from {alpha:g}, {omega}: distance {ends[0]:.1e}, K {ends[1]:.1e}, q {ends[2]:.1e}, below 1e-3"
        lines.append((text, max(ends) < TOLERANCE))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="The synthetic bilevel problem (A.32).")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    options = parser.parse_args()
    print(machine())
    traces = {name: {start: run(name, start, options.iterations) for start in STARTS} for name in options.methods}
    columns = ["method", "alpha_0", "omega_0", "alpha", "omega", "distance", "K(z)", "q(z)", "iterations to 1e-3"]
    table = Table("bilevel_synthetic", columns, title=f"Problem (A.32) after {options.iterations} iterations")
    for name, found in traces.items():
        for start, trace in found.items():
            outside = np.flatnonzero(trace.distance >= TOLERANCE)
            reached = int(outside[-1]) + 2 if len(outside) else 1
            ends = [float(values[-1]) for values in (trace.distance, trace.stationarity, trace.constraint)]
            omega = f"({trace.end[1]:.4f}, {trace.end[2]:.4f})"
            cells = [*ends, reached if reached <= options.iterations else "never"]
            table.add(name, start[0], str(start[1]), trace.end[0], omega, *cells)
    table.show()
    print(f"written: {table.save()}, {figure(traces)}")
    lines = acceptance(traces)
    for text, passed in lines:
        print(f"{text}: {'yes' if passed else 'NO'}")
    return 0 if all(passed for _, passed in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
