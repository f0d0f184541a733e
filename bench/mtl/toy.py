"""Where every method ends on the two-task toy problem, from five starts.

    python -m bench.mtl.toy [--methods MGDA NashMTL ...] [--starts pivrg|bilb] [--steps 50000]

Adam with the learning rate 1e-3, 50,000 steps, as in the papers; double precision. Directions are clipped where the
authors' scripts do so in effect (Nash-MTL, FairGrad; PIVRG, which has no public code, like these). ON: within 1e-3 (in
units of the unscaled losses) of the Pareto front. Where the end points are known from the authors' own code (from the
starts of PIVRG), the table says whether ours agree: ON or OFF alike, and |dL1| <= 0.03, |dL2| <= 0.25, more than what
single precision makes of them. Balance is L1 / 0.1 - L2, which is 0 at the balanced point.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread, save_figure

one_thread()

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import pyasmg.mtl as mtl
from bench.mtl import toy_problem
from bench.mtl.toy_methods import METHODS

STEPS = 50_000
ON = 1e-3
TOLERANCE = np.array([0.03, 0.25])
EVERY = 50  # of the trajectory is drawn

#: From the starts of PIVRG, by the authors' implementations (or transcriptions): L1, L2; None where it is OFF.
KNOWN: dict[str, list[tuple[float, float] | None]] = {
    "LS": [(-0.380, -19.83), (-0.380, -19.83), None, (-0.380, -19.83), (-0.380, -19.83)],
    "MGDA": [(-1.193, -17.47), (-1.991, -2.85), (-1.999, -0.46), (-0.732, -19.24), (-1.999, -0.41)],
    "CAGrad": [(-0.380, -19.83)] * 5,
    "NashMTL": [(-1.015, -18.33), (-1.509, -15.09), (-1.834, -10.11), (-0.949, -18.58), (-1.955, -5.85)],
    "FairGrad 1": [(-1.015, -18.33), (-1.509, -15.09), (-1.834, -10.11), (-0.949, -18.58), (-1.955, -5.85)],
    "FairGrad 2": [(-1.149, -17.71), (-1.895, -8.39), (-1.925, -7.28), (-0.850, -18.92), (-1.988, -3.26)],
    "FAMO": [(-1.471, -15.45), (-1.519, -15.00), (-1.559, -14.57), (-1.367, -16.33), (-1.722, -12.36)],
}

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rule(balancer: mtl.Balancer) -> Rule:
    """Return the direction of a balancer from losses (2,) and gradients (2, 2), without a graph."""
    inner = balancer.balancer if isinstance(balancer, mtl.PerformanceInformed) else balancer
    if isinstance(inner, mtl.LossBalancer):
        return lambda losses, gradients: inner._weigh(losses) @ gradients
    if isinstance(inner, mtl.GramBalancer):
        return lambda losses, gradients: inner._weigh(gradients @ gradients.T, losses) @ gradients

    def aggregate(losses: np.ndarray, gradients: np.ndarray) -> np.ndarray:
        found, _ = inner._aggregate(torch.from_numpy(gradients.copy()), gradients @ gradients.T, losses)
        return found.numpy()

    return aggregate


def run(name: str, starts: np.ndarray, steps: int = STEPS, rate: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Return points and losses of shape (n, starts, 2) along the way, the last step among them."""
    method = METHODS[name]
    balancers = [method.make() for _ in starts]
    rules = [rule(balancer) for balancer in balancers]
    points = np.array(starts, dtype=float)
    first, second, direction = np.zeros_like(points), np.zeros_like(points), np.empty_like(points)
    trace = []
    for step in range(1, steps + 1):
        losses, gradients = toy_problem.losses_and_gradients(points)
        if (step - 1) % EVERY == 0:
            trace.append((points.copy(), losses))
        if method.shifted:
            losses = losses - toy_problem.BEST
        for i, balancer in enumerate(balancers):
            if step > 1 and method.after_step is not None:
                method.after_step(balancer, losses[i])
            if method.before_step is not None:
                method.before_step(balancer, losses[i], step)
            found = method.factor * rules[i](losses[i], gradients[i])
            norm = float(np.sqrt(found @ found))
            direction[i] = found if norm <= method.max_norm else found * (method.max_norm / norm)
        first += 0.1 * (direction - first)
        second += 0.001 * (direction * direction - second)
        scale = np.sqrt(second / (1.0 - 0.999**step)) + 1e-8
        points = points - rate * first / (1.0 - 0.9**step) / scale
    trace.append((points, toy_problem.losses_and_gradients(points)[0]))
    found, values = zip(*trace, strict=True)
    return np.array(found), np.array(values)


def verdict(name: str, i: int, losses: np.ndarray, on: bool) -> str:
    """Say whether an end point is the known one."""
    if name not in KNOWN:
        return ""
    expected = KNOWN[name][i]
    if expected is None:
        return "agrees (OFF)" if not on else "known: OFF"
    agrees = on and bool((np.abs(losses - expected) <= TOLERANCE).all())
    return "agrees" if agrees else f"known: {expected[0]:.3f}, {expected[1]:.2f}"


def figure(traces: dict[str, tuple[np.ndarray, np.ndarray]], front: np.ndarray, name: str) -> Path:
    """Draw the losses (top) and the parameters (bottom) of each method over the front, as in the papers."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    x, y = np.meshgrid(np.linspace(-10.5, 10.5, 200), np.linspace(-10.5, 10.5, 200))
    grid = toy_problem.losses_and_gradients(np.stack([x.ravel(), y.ravel()], axis=1))[0]
    total = (grid / toy_problem.SCALE).sum(axis=1).reshape(x.shape)
    fig, axes = plt.subplots(2, len(traces), figsize=(2.6 * len(traces), 5.2), squeeze=False)
    for (label, (points, losses)), top, bottom in zip(traces.items(), *axes, strict=True):
        top.plot(front[:, 0], front[:, 1], color="0.6", lw=4, zorder=0)
        bottom.contour(x, y, total, levels=15, colors="0.8", linewidths=0.5, zorder=0)
        for i in range(points.shape[1]):
            for axis, values in ((top, losses[:, i]), (bottom, points[:, i])):
                axis.plot(values[:, 0], values[:, 1], lw=0.9)
                axis.plot(*values[0], "ko", ms=4)
                axis.plot(*values[-1], "k*", ms=7)
        top.set(title=label, xlabel="L1", ylabel="L2")
        bottom.set(xlabel="x1", ylabel="x2")
    fig.tight_layout()
    return save_figure(fig, name)


def main() -> None:
    parser = argparse.ArgumentParser(description="Every method on the two-task toy problem.")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--starts", choices=["pivrg", "bilb"], default="pivrg")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    print(machine())
    starts = np.array(toy_problem.STARTS_PIVRG if options.starts == "pivrg" else toy_problem.STARTS_BILB)
    front = toy_problem.pareto_front()
    name = f"mtl_toy_{options.starts}"
    table = Table(
        name,
        ["method", "start", "L1", "L2", "distance to the front", "ON", "balance", "known end"],
        title=f"Toy problem, {options.steps} steps, starts of {options.starts}",
    )
    spreads: list[tuple[str, int, float, float]] = []
    traces = {}
    for method in options.methods:
        begin = time.process_time()
        traces[method] = run(method, starts, options.steps)
        ends = traces[method][1][-1]
        distances = toy_problem.distance_to_front(ends, front)
        balance = ends[:, 0] / 0.1 - ends[:, 1]
        for i, (losses, distance) in enumerate(zip(ends, distances, strict=True)):
            on = bool(distance <= ON)
            known = verdict(method, i, losses, on) if options.starts == "pivrg" and options.steps == STEPS else ""
            cells = (*losses.tolist(), float(distance), "ON" if on else "OFF", float(balance[i]), known)
            table.add(method, str(tuple(starts[i].tolist())), *cells)
        seconds = time.process_time() - begin
        spreads.append((method, int((distances <= ON).sum()), float(np.ptp(balance)), seconds))
    table.show()
    summary = Table(name + "_summary", ["method", "ON", "spread of balance", "seconds"], title="Summary")
    for row in spreads:
        summary.add(*row)
    summary.show()
    checked = [row[-1] for row in table.rows if row[-1]]
    if checked:
        agree = sum(str(cell).startswith("agrees") for cell in checked)
        print(f"known end points reproduced: {agree} of {len(checked)}")
    print(f"written: {table.save()}, {summary.save()}, {figure(traces, front, name)}")


if __name__ == "__main__":
    main()
