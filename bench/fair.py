"""Fair weights against general solvers: worst residual and time per call.

    python -m bench.fair [--quick]

G w = (c / w)^(1/alpha) with c = 1 for gradients whose norms spread over the decades given. The residual is
max_i |(Gw)_i - r_i| / ((|G| w)_i + r_i), r_i = w_i^(-1/alpha), in long double; 1 means that nothing is solved. The time
is the median over whole Python calls. "least squares" is the solver of FairGrad's authors: scipy's, from equal weights,
bounded by 0. "clarabel" gets the convex problem as cones, on the Gram matrix of the normalised gradients. These two
see fewer of the matrices than pyasmg, the same ones for both, and are asked once.
"""

# ruff: noqa: E402  (threads are set before numpy is imported)

from __future__ import annotations

from bench.common import Table, machine, one_thread, save_figure

one_thread()

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pyasmg

Solver = Callable[[np.ndarray, float], np.ndarray]
Points = dict[str, list[tuple[str, float, int, float, float]]]  # solver: (norms, alpha, m, microseconds, residual)

SIZES = (2, 3, 10, 40)
ALPHAS = (0.5, 1.0, 2.0, 5.0)
DECADES = (3, 8)
WORST = 1.0  # the residual of a solver that failed


def gram(m: int, decades: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, m, decades])
    gradients = rng.standard_normal((m, 2 * m)) * 10.0 ** rng.uniform(-decades, decades, (m, 1))
    return gradients @ gradients.T


def residual(G: np.ndarray, weights: np.ndarray, alpha: float) -> float:
    if not (np.isfinite(weights).all() and weights.min() > 0):
        return WORST
    g, w = G.astype(np.longdouble), weights.astype(np.longdouble)
    right = w ** (-1 / np.longdouble(alpha))
    return float(np.max(np.abs(g @ w - right) / (np.abs(g) @ w + right)))


# ---- solvers ----


def least_squares(G: np.ndarray, alpha: float) -> np.ndarray:
    from scipy.optimize import least_squares

    m = len(G)
    return np.asarray(least_squares(lambda w: G @ w - (1 / w) ** (1 / alpha), np.full(m, 1 / m), bounds=(0, np.inf)).x)


def clarabel(G: np.ndarray, alpha: float) -> np.ndarray:
    """Minimise u'Cu / 2 - sum_i k_i t_i with t_i <= log u_i, t_i <= u_i^(1-p) or t_i >= u_i^(1-p)."""
    import clarabel
    import scipy.sparse

    m, p = len(G), 1 / alpha
    norms = np.sqrt(np.diag(G))
    factor = norms ** (p - 1)
    entry, cones = np.zeros((3 * m, 2 * m)), []
    b = np.zeros(3 * m)
    for i in range(m):
        u, t, one = (2, 0, 1) if p == 1 else (0, 2, 1) if p < 1 else (1, 0, 2)
        entry[3 * i + u, i] = entry[3 * i + t, m + i] = -1.0
        b[3 * i + one] = 1.0
        cones.append(clarabel.ExponentialConeT() if p == 1 else clarabel.PowerConeT(1 - p if p < 1 else 1 / p))
    linear = np.append(np.zeros(m), -factor / (1.0 if p == 1 else 1 - p))
    quadratic = np.zeros((2 * m, 2 * m))
    quadratic[:m, :m] = np.triu(G / norms / norms[:, None])
    options = clarabel.DefaultSettings()
    options.verbose = False
    sparse = scipy.sparse.csc_matrix
    solution = clarabel.DefaultSolver(sparse(quadratic), linear, sparse(entry), b, cones, options).solve()
    return np.asarray(solution.x)[:m] / norms


def solvers() -> dict[str, Solver]:
    """Every solver that is installed; a line for each that is not."""
    chosen: dict[str, Solver] = {"pyasmg": pyasmg.fair_weights}
    peers: dict[str, tuple[tuple[str, ...], Solver]] = {
        "least squares": (("scipy",), least_squares),
        "clarabel": (("clarabel", "scipy"), clarabel),
    }
    for name, (packages, solve) in peers.items():
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        if missing:
            print(f"{name} skipped: {', '.join(missing)} not installed.")
        else:
            chosen[name] = solve
    return chosen


# ---- measurement ----


def measure(solve: Solver, G: np.ndarray, alpha: float, repeats: int) -> tuple[float, float]:
    """Residual, and the median of microseconds per call."""
    times = []
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            for _ in range(repeats):
                start = time.perf_counter()
                weights = solve(G, alpha)
                times.append(time.perf_counter() - start)
            return residual(G, weights, alpha), float(np.median(times)) * 1e6
    except Exception:  # a peer may fail in any way; its residual says so
        return WORST, float("nan")


def run(instances: int, peer_instances: int, repeats: int) -> tuple[Table, Points]:
    chosen = solvers()
    columns = ["norms", "alpha", "m"]
    for name in chosen:
        columns += [f"{name} residual", f"{name} us"]
    table = Table("fair", columns, title="Fair weights: worst residual, median microseconds")
    points: Points = {name: [] for name in chosen}
    for decades in DECADES:
        norms = f"1e-{decades}..1e{decades}"
        for alpha in ALPHAS:
            for m in SIZES:
                row: list[object] = [norms, alpha, m]
                for name, solve in chosen.items():
                    ours = name == "pyasmg"
                    found = [
                        measure(solve, gram(m, decades, seed), alpha, repeats if ours else 1)
                        for seed in range(instances if ours else peer_instances)
                    ]
                    residuals, times = zip(*found, strict=True)
                    row += [max(residuals), float(np.median(times))]
                    points[name] += [(norms, alpha, m, us, error) for error, us in found]
                table.add(*row)
    return table, points


def figure(points: Points) -> Path:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(13, 4.5))
    for name, entries in points.items():
        cases = sorted({(norms, alpha) for norms, alpha, *_ in entries}, reverse=True)
        labels = [f"{norms}, alpha {alpha:g}" for norms, alpha in cases]
        worst = [max(p[4] for p in entries if p[:2] == case) for case in cases]
        left.plot(np.clip(worst, 1e-17, WORST), labels, "o", label=name, alpha=0.8)
        times = [np.nanmedian([p[3] for p in entries if p[2] == m]) for m in SIZES]
        right.plot(SIZES, times, "o-", label=name)
    left.axvline(1e-10, color="grey", lw=0.8, ls="--")
    left.set(title="worst residual (right edge: nothing solved, or failed)", xscale="log")
    right.set(title="median microseconds per call", xlabel="gradients m", xscale="log", yscale="log")
    right.legend()
    return save_figure(fig, "fair")


def main() -> None:
    parser = argparse.ArgumentParser(description="Fair weights against general solvers.")
    parser.add_argument("--quick", action="store_true", help="three matrices of each kind, one for the peers")
    quick = parser.parse_args().quick
    print(machine())
    table, points = run(3 if quick else 20, 1 if quick else 3, 5 if quick else 15)
    table.show()
    for m in (10, 40):
        print(f"pyasmg, m = {m}: median {np.median([p[3] for p in points['pyasmg'] if p[2] == m]):.3g} us")
    print(f"pyasmg, worst residual: {max(p[4] for p in points['pyasmg']):.1e}")
    print(f"written: {table.save()}, {figure(points)}")


if __name__ == "__main__":
    main()
