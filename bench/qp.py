"""The simplex QP against general QP solvers: worst relative suboptimality and time per solve.

    python -m bench.qp [--quick]

Every solver gets the same Gram matrices. "cosine" marks the form with the Gram matrix of the normalised
gradients, u_i = l_i |g_i| and the constraint sum u_i / |g_i| = 1, which general solvers handle better; "raw"
the plain one. The error is (f - f*) / max(f*, 2^-52 (sum l*_i sqrt(G_ii))^2), taken in 200 digits at the
weights, which are first clipped at 0 and normalised. The time is that of the whole Python call before that.
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
from tests.twins.simplex_qp import FAMILIES, reference, suboptimality

Solver = Callable[[np.ndarray], np.ndarray]
Points = dict[str, list[tuple[str, int, float, float]]]  # solver: (family, m, microseconds, error)


def daqp_raw(G: np.ndarray) -> np.ndarray:
    return _daqp(G, np.ones(len(G)))


def daqp_cosine(G: np.ndarray) -> np.ndarray:
    cosine, inverse, norms = _normalised(G)
    return _daqp(cosine, inverse) / norms


def clarabel_raw(G: np.ndarray) -> np.ndarray:
    return _clarabel(G, np.ones(len(G)))


def clarabel_cosine(G: np.ndarray) -> np.ndarray:
    cosine, inverse, norms = _normalised(G)
    return _clarabel(cosine, inverse) / norms


def _normalised(G: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosines, 1 / |g_i| relative to the largest, |g_i|; the norm of a zero gradient counts as 1e-150."""
    norms = np.maximum(np.sqrt(np.diag(G)), 1e-150)
    return G / norms / norms[:, None], norms.min() / norms, norms


def _daqp(H: np.ndarray, a: np.ndarray) -> np.ndarray:
    import daqp

    m = len(H)
    upper = np.append(np.full(m, 1e30), 1.0)
    lower = np.append(np.zeros(m), 1.0)
    sense = np.zeros(m + 1, dtype=np.intc)
    sense[m] = 5  # equality
    x, _, flag, _ = daqp.solve(H, np.zeros(m), a[None].copy(), upper, lower, sense)
    if flag <= 0:  # singular: its proximal iterations
        x, _, flag, _ = daqp.solve(H, np.zeros(m), a[None].copy(), upper, lower, sense, eps_prox=1e-5)
    if flag <= 0:
        raise RuntimeError(f"exit flag {flag}")
    return np.asarray(x)


def _clarabel(H: np.ndarray, a: np.ndarray) -> np.ndarray:
    import qpsolvers
    import scipy.sparse

    m = len(H)
    sparse = scipy.sparse.csc_matrix
    zeros = np.zeros(m)
    x = qpsolvers.solve_qp(sparse(H), zeros, A=sparse(a[None]), b=np.ones(1), lb=zeros, solver="clarabel")
    if x is None:
        raise RuntimeError("no solution")
    return np.asarray(x)


def solvers() -> dict[str, Solver]:
    """Every solver that is installed; a line for each that is not."""
    chosen: dict[str, Solver] = {"pyasmg": pyasmg.min_norm_weights}
    peers = {
        ("daqp",): {"daqp raw": daqp_raw, "daqp cosine": daqp_cosine},
        ("clarabel", "qpsolvers", "scipy"): {
            "clarabel raw": clarabel_raw,
            "clarabel cosine": clarabel_cosine,
        },
    }
    for packages, forms in peers.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if missing:
            print(f"{packages[0]} skipped: {', '.join(missing)} not installed.")
        else:
            chosen.update(forms)
    return chosen


def measure(solve: Solver, grams: list[np.ndarray], repeats: int) -> tuple[list[np.ndarray | None], float]:
    """Weights (None where the solver failed), and the median of microseconds per solve."""
    weights: list[np.ndarray | None] = []
    times = []
    for G in grams:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(repeats):
                    start = time.perf_counter()
                    x = solve(G)
                    times.append(time.perf_counter() - start)
        except Exception:  # a peer may fail in any way; the table says that it did
            weights.append(None)
            continue
        x = np.maximum(x, 0.0)
        with np.errstate(all="ignore"):
            x = x / x.sum()
        weights.append(x if np.isfinite(x).all() else None)
    return weights, float(np.median(times)) * 1e6 if times else float("nan")


def worst(errors: list[float | None]) -> float | str:
    failed = errors.count(None)
    if failed == len(errors):
        return "fails"
    value = max(e for e in errors if e is not None)
    return f"{value:.1e}, {failed}/{len(errors)} fail" if failed else value


def run(sizes: list[int], instances: int, repeats: int) -> tuple[Table, Points]:
    chosen = solvers()
    columns = ["family", "m"]
    for name in chosen:
        columns += [f"{name} error", f"{name} us"]
    table = Table("qp", columns, title="Simplex QP: worst relative error, median microseconds")
    points: Points = {name: [] for name in chosen}
    for family, make in FAMILIES.items():
        for m in sizes:
            grams = [make(m, np.random.default_rng([seed, m])) for seed in range(instances)]
            references = [reference(G, pyasmg.min_norm_weights(G)) for G in grams]
            row: list[object] = [family, m]
            for name, solve in chosen.items():
                weights, microseconds = measure(solve, grams, repeats)
                errors = [
                    None if x is None else suboptimality(G, x, ref)
                    for G, x, ref in zip(grams, weights, references, strict=True)
                ]
                row += [worst(errors), microseconds]
                points[name] += [(family, m, microseconds, np.inf if e is None else e) for e in errors]
            table.add(*row)
    return table, points


def figure(points: Points, sizes: list[int]) -> Path:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(13, 4.5))
    families = list(FAMILIES)
    low, high = 1e-19, 1e6
    for name, entries in points.items():
        worst_of = [max(error for family, _, _, error in entries if family == f) for f in families]
        left.plot(np.clip(worst_of, low, high), families, "o", label=name, alpha=0.8)
        times = [np.nanmedian([us for _, size, us, _ in entries if size == m]) for m in sizes]
        right.plot(sizes, times, "o-", label=name)
    left.axvline(1e-12, color="grey", lw=0.8, ls="--")
    left.set(title=f"worst relative error (right edge: {high:.0e} or more, or failed)", xscale="log")
    left.set_xlim(low / 3, high * 3)
    right.set(title="median microseconds per solve", xlabel="objectives m", xscale="log", yscale="log")
    right.legend()
    return save_figure(fig, "qp")


def main() -> None:
    parser = argparse.ArgumentParser(description="The simplex QP against general QP solvers.")
    parser.add_argument("--quick", action="store_true", help="m up to 20, three matrices of each kind")
    quick = parser.parse_args().quick
    sizes = [2, 3, 5, 10, 20] if quick else [2, 3, 5, 10, 20, 40, 100]
    print(machine())
    table, points = run(sizes, instances=3 if quick else 5, repeats=3 if quick else 7)
    table.show()
    print(f"written: {table.save()}, {figure(points, sizes)}")


if __name__ == "__main__":
    main()
