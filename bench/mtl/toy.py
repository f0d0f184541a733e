"""Where every method ends on the two-task toy problem, from five starts.

    python -m bench.mtl.toy [--problems code bilb pivrg] [--methods MGDA NashMTL ...] [--quick]

Adam with the learning rate 1e-3, 50,000 steps, as in the papers; double precision. ON: within 1e-3 (in units of the
losses before their scale) of the Pareto front. Balance is the first loss minus the second before their scale, 0 at the
balanced point. The weights are those of the balancers of ``pyasmg.mtl``; losses and gradients come in closed form for
all starts at once, and a test compares this with ``balancer.backward`` and ``torch.optim.Adam``.

The problem stands in three forms (see ``toy_problem.py``): that of the public code, for which the end points of other
implementations are known, and those of two papers. Acceptance, in the form of the code: ON and OFF as known, and
|dL1| <= 0.03, |dL2| <= 0.25, more than what single precision makes of them; PIVRG is ON from all starts, and its
balance spreads no wider than that of FairGrad at alpha = 2; and whether any setting of BiLB4MTL that was tried reaches
the balanced point from all five starts.

From (9, 9) the way leads through a narrow valley, where rounding decides: of 17 starts of CAGrad moved by normal
numbers of 1e-7 or 1e-4, 13 reach the front and 4 do not.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread, save_figure

one_thread()

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import pyasmg.mtl as mtl
from bench.mtl.toy_methods import BILB, METHODS, ToyMethod
from bench.mtl.toy_problem import PROBLEMS, Problem

STEPS = 50_000
QUICK = 1_000
ON = 1e-3
BALANCED = np.array([-15.092, -15.092])  # before the scale
TOLERANCE = np.array([0.3, 0.25])  # before the scale
EVERY = 50  # of the trajectory is drawn
DRAWN = ("BiLB4MTL by first losses, tau sigma, 1", "BiLB4MTL by bounds, tau one, 1")  # of the settings of BiLB4MTL

End = tuple[float, float] | None
_FAIR_1: list[End] = [(-1.015, -18.33), (-1.509, -15.09), (-1.834, -10.11), (-0.949, -18.58), (-1.955, -5.85)]
#: In the form "code", by other implementations: L1, L2; None where it is OFF.
KNOWN: dict[str, list[End]] = {
    "LS": [(-0.380, -19.83), (-0.380, -19.83), None, (-0.380, -19.83), (-0.380, -19.83)],
    "MGDA": [(-1.193, -17.47), (-1.991, -2.85), (-1.999, -0.46), (-0.732, -19.24), (-1.999, -0.41)],
    "CAGrad 0.4": [(-0.380, -19.83)] * 5,
    "NashMTL": _FAIR_1,
    "FairGrad 1": _FAIR_1,
    "FairGrad 2": [(-1.149, -17.71), (-1.895, -8.39), (-1.925, -7.28), (-0.850, -18.92), (-1.988, -3.26)],
    "FAMO": [(-1.471, -15.45), (-1.519, -15.00), (-1.559, -14.57), (-1.367, -16.33), (-1.722, -12.36)],
}
#: Those of which only ON or OFF is known.
KNOWN_ON: dict[str, list[bool]] = {"FAMO 1e-3": [False, True, False, True, True]}

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Trace:
    """What a method did: points and losses of shape (n, starts, 2) along the way, the last step among them."""

    points: np.ndarray
    losses: np.ndarray
    seconds: float


def rule(balancer: mtl.Balancer) -> Rule:
    """Return the direction of a balancer from losses (2,) and gradients (2, 2), without a graph."""
    if isinstance(balancer, mtl.LossBalancer):
        return lambda losses, gradients: np.asarray(balancer._weigh(losses) @ gradients)
    if isinstance(balancer, mtl.GramBalancer):
        return lambda losses, gradients: np.asarray(balancer._weigh(gradients @ gradients.T, losses) @ gradients)
    if not isinstance(balancer, mtl.GradientBalancer):
        raise TypeError(f"no rule is known of {type(balancer).__name__}.")

    def aggregate(losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        found, _ = balancer._aggregate(torch.from_numpy(gradients.copy()), gradients @ gradients.T, losses)
        return found.numpy()

    return aggregate


def clipped(direction: np.ndarray, method: ToyMethod) -> np.ndarray:
    """Return the direction times the method's factor, no longer than its largest norm."""
    found = method.factor * direction
    norm = float(np.sqrt(found @ found))
    return found if norm <= method.max_norm else found * (method.max_norm / norm)


def run(method: ToyMethod, problem: Problem, steps: int = STEPS, rate: float = 1e-3) -> Trace:
    """Train from all starts."""
    begin = time.process_time()
    points = np.array(problem.starts, dtype=float)
    balancers = [method.make(problem) for _ in points]
    rules = [rule(balancer) for balancer in balancers]
    offset = problem.lowest if method.shift else np.zeros(2)
    divisor = -problem.lowest if method.divide else np.ones(2)
    first, second, direction = np.zeros_like(points), np.zeros_like(points), np.empty_like(points)
    trace = []
    for step in range(1, steps + 1):
        losses, gradients = problem.losses_and_gradients(points)
        if (step - 1) % EVERY == 0:
            trace.append((points, losses))
        losses, gradients = (losses - offset) / divisor, gradients / divisor[:, None]
        for i, balancer in enumerate(balancers):
            if step > 1 and method.after_step is not None:
                method.after_step(balancer, losses[i])
            if method.before_step is not None:
                method.before_step(balancer, losses[i], step)
            direction[i] = clipped(rules[i](losses[i], gradients[i]), method)
        first += 0.1 * (direction - first)
        second += 0.001 * (direction * direction - second)
        scale = np.sqrt(second / (1.0 - 0.999**step)) + 1e-8
        points = points - rate * first / (1.0 - 0.9**step) / scale
    trace.append((points, problem.losses_and_gradients(points)[0]))
    found, values = zip(*trace, strict=True)
    return Trace(np.array(found), np.array(values), time.process_time() - begin)


# ---- verdicts ----


def agrees(name: str, start: int, losses: np.ndarray, on: bool) -> bool | None:
    """Say whether an end point of the form "code" is the known one; None where none is known."""
    if name in KNOWN_ON:
        return KNOWN_ON[name][start] == on
    if name not in KNOWN:
        return None
    expected = KNOWN[name][start]
    if expected is None:
        return not on
    return on and bool((np.abs(losses - expected) / PROBLEMS["code"].scale <= TOLERANCE).all())


def known_text(name: str, start: int) -> str:
    """Say what is known of an end point."""
    if name in KNOWN_ON:
        return "ON" if KNOWN_ON[name][start] else "OFF"
    expected = KNOWN[name][start] if name in KNOWN else None
    if expected is None:
        return "OFF" if name in KNOWN else ""
    return f"{expected[0]:.3f}, {expected[1]:.2f}"


def is_balanced(problem: Problem, losses: np.ndarray) -> np.ndarray:
    """Which end points are the balanced point."""
    return np.asarray((np.abs(losses / problem.scale - BALANCED) <= TOLERANCE).all(axis=-1))


def acceptance(traces: dict[str, dict[str, Trace]]) -> list[tuple[str, bool]]:
    """Return what was to be shown, and whether it was."""
    lines: list[tuple[str, bool]] = []
    for name, trace in traces.get("code", {}).items():
        ends = trace.losses[-1]
        on = PROBLEMS["code"].distance_to_front(ends) <= ON
        verdicts = [agrees(name, i, ends[i], bool(on[i])) for i in range(len(ends))]
        if None not in verdicts:
            lines.append((f"{name} ends where it is known to, from all starts", all(verdicts)))
    for key, found in traces.items():
        problem = PROBLEMS[key]
        if "PIVRG" in found:
            on = problem.distance_to_front(found["PIVRG"].losses[-1]) <= ON
            lines.append((f"PIVRG reaches the front from all starts ({key})", bool(on.all())))
        if "PIVRG" in found and "FairGrad 2" in found:
            own, other = (float(np.ptp(problem.balance(found[n].losses[-1]))) for n in ("PIVRG", "FairGrad 2"))
            lines.append((f"PIVRG spreads {own:.2f}, no wider than FairGrad 2 with {other:.2f} ({key})", own <= other))
        tried = [name for name in BILB if name in found]
        if tried:
            reached = [name for name in tried if is_balanced(problem, found[name].losses[-1]).all()]
            lines.append((f"BiLB4MTL, {len(reached)} of {len(tried)} settings reach balance ({key})", bool(reached)))
    return lines


# ---- output ----


def table_of(key: str, traces: dict[str, Trace], steps: int) -> Table:
    """One row per method and start."""
    problem = PROBLEMS[key]
    columns = ["method", "start", "L1", "L2", "distance to the front", "ON", "balance", "balanced", "known end"]
    title = f"Toy problem {key}: {problem.title}; {steps} steps"
    table = Table(f"mtl_toy_{key}", columns if key == "code" else columns[:-1], title=title)
    for name, trace in traces.items():
        ends = trace.losses[-1]
        distances, balance = problem.distance_to_front(ends), problem.balance(ends)
        balanced = is_balanced(problem, ends)
        for i, losses in enumerate(ends):
            cells = [*losses.tolist(), float(distances[i]), "ON" if distances[i] <= ON else "OFF", float(balance[i])]
            known = [known_text(name, i)] if key == "code" else []
            table.add(name, str(problem.starts[i]), *cells, "yes" if balanced[i] else "no", *known)
    return table


def summary_of(traces: dict[str, dict[str, Trace]]) -> Table:
    """One row per method and form of the problem."""
    columns = ["method", "problem", "ON", "balanced", "spread of balance", "seconds"]
    table = Table("mtl_toy_summary", columns, title="Toy problem: how many of the five starts, spread of their balance")
    for key, found in traces.items():
        problem = PROBLEMS[key]
        for name, trace in found.items():
            ends = trace.losses[-1]
            on, balanced = problem.distance_to_front(ends) <= ON, is_balanced(problem, ends)
            spread = float(np.ptp(problem.balance(ends)))
            table.add(name, key, int(on.sum()), int(balanced.sum()), spread, trace.seconds)
    return table


def figure(key: str, traces: dict[str, Trace]) -> Path:
    """Draw the losses (top) and the parameters (bottom) of each method over the front, as in the papers."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    problem = PROBLEMS[key]
    traces = {name: trace for name, trace in traces.items() if name not in BILB or name in DRAWN} or traces
    x, y = np.meshgrid(np.linspace(-10.5, 10.5, 200), np.linspace(-10.5, 10.5, 200))
    grid = problem.losses_and_gradients(np.stack([x.ravel(), y.ravel()], axis=1))[0]
    total = (grid / problem.scale).sum(axis=1).reshape(x.shape)
    fig, axes = plt.subplots(2, len(traces), figsize=(2.6 * len(traces), 5.2), squeeze=False)
    for (label, trace), top, bottom in zip(traces.items(), *axes, strict=True):
        top.plot(problem.front[:, 0], problem.front[:, 1], color="0.6", lw=4, zorder=0)
        bottom.contour(x, y, total, levels=15, colors="0.8", linewidths=0.5, zorder=0)
        for i in range(trace.points.shape[1]):
            for axis, values in ((top, trace.losses[:, i]), (bottom, trace.points[:, i])):
                axis.plot(values[:, 0], values[:, 1], lw=0.9)
                axis.plot(*values[0], "ko", ms=4)
                axis.plot(*values[-1], "k*", ms=7)
        top.set(title=label.replace(" by", "\nby").replace(", tau", "\ntau"), xlabel="L1", ylabel="L2")
        bottom.set(xlabel="x1", ylabel="x2")
        top.title.set_fontsize(8)
    fig.tight_layout()
    return save_figure(fig, f"mtl_toy_{key}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Every method on the two-task toy problem.")
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), help="all; without the BiLB4MTL settings in the form of PIVRG"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} steps, and no acceptance")
    options = parser.parse_args()
    steps = QUICK if options.quick else STEPS
    print(machine())
    traces: dict[str, dict[str, Trace]] = {}
    written = []
    for key in options.problems:
        chosen = options.methods or [name for name in METHODS if key != "pivrg" or name not in BILB]
        traces[key] = {name: run(METHODS[name], PROBLEMS[key], steps) for name in chosen}
        table = table_of(key, traces[key], steps)
        table.show()
        written += [table.save(), figure(key, traces[key])]
    summary = summary_of(traces)
    summary.show()
    print(f"written: {', '.join(map(str, [*written, summary.save()]))}")
    if options.quick:
        print(f"acceptance: only after {STEPS} steps.")
        return 0
    lines = acceptance(traces)
    for text, passed in lines:
        print(f"{text}: {'yes' if passed else 'NO'}")
    return 0 if all(passed for _, passed in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
