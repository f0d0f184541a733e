"""The small problem of CAGrad in 60 digits: by enumerating faces, and its conditions of optimality."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, combinations

import mpmath
import numpy as np

DIGITS = 60


def enumerate_faces(G: np.ndarray, c: float) -> tuple[np.ndarray, float] | None:
    """Return v and the worst rate by looking at every face; None where none has |g_v| = r. For m <= 6.

    On a face A: G_AA v + b_A = nu 1, so v = nu p - q with G_AA p = 1 and G_AA q = b_A, and |g_v|^2 = r^2 is a
    quadratic equation for nu. A face is optimal where v >= 0 and the other rates are at least nu.
    """
    m = len(G)
    with mpmath.workdps(DIGITS):
        g = mpmath.matrix(G.tolist())
        b = [sum(g[i, j] for j in range(m)) / m for i in range(m)]
        r2 = mpmath.mpf(c) ** 2 * sum(b) / m
        for face in chain.from_iterable(combinations(range(m), k) for k in range(1, m + 1)):
            k = len(face)
            block = mpmath.matrix(k, k)
            for x, i in enumerate(face):
                for y, j in enumerate(face):
                    block[x, y] = g[i, j]
            try:
                p = mpmath.lu_solve(block, mpmath.matrix([1] * k))
                q = mpmath.lu_solve(block, mpmath.matrix([b[i] for i in face]))
            except ZeroDivisionError:
                continue
            P, Q, R = sum(p), sum(q), sum(q[x] * b[i] for x, i in enumerate(face))
            discriminant = Q**2 - P * (R - r2)
            if P <= 0 or discriminant < 0:
                continue
            rate = (Q + mpmath.sqrt(discriminant)) / P
            v = {i: rate * p[x] - q[x] for x, i in enumerate(face)}
            if min(v.values()) < 0:
                continue
            rates = [b[i] + sum(g[i, j] * v[j] for j in face) for i in range(m)]
            if all(rates[i] >= rate for i in range(m) if i not in v):
                return np.array([float(v.get(i, 0)) for i in range(m)]), float(rate)
    return None


@dataclass(frozen=True)
class Violation:
    """By how much conditions are missed, over the sum of the sizes of their terms.

    Attributes
    ----------
    rates
        Of ``(g_i'd - nu) / |g_i| >= 0``, with equality where v_i > 0.
    beyond, within
        How far d is outside of the ball, and inside of it.
    """

    rates: float
    beyond: float
    within: float


def violation(G: np.ndarray, c: float, v: np.ndarray, rate: float | None = None) -> Violation:
    """Check a solution in exact sums; nu is the rate of the shortest gradient that has a share unless given."""
    m = len(G)
    with mpmath.workdps(DIGITS):
        g = [[mpmath.mpf(x) for x in row] for row in G.tolist()]
        w = [mpmath.mpf(1) / m + mpmath.mpf(x) for x in v.tolist()]
        rates = [sum(x * y for x, y in zip(row, w, strict=True)) for row in g]
        sizes = [sum(abs(x) * y for x, y in zip(row, w, strict=True)) for row in g]
        active = [i for i in range(m) if v[i] > 0]
        if rate is None:
            shortest = min(active, key=lambda i: G[i, i]) if active else min(range(m), key=lambda i: rates[i])
            nu = rates[shortest]
        else:
            nu = mpmath.mpf(rate)
        terms = [size + abs(nu) for size in sizes]
        errors = [abs(rates[i] - nu) if v[i] > 0 else max(nu - rates[i], mpmath.mpf(0)) for i in range(m)]
        worst = max((e / t for e, t in zip(errors, terms, strict=True) if t > 0), default=mpmath.mpf(0))
        squared = sum(x * y * z for x, row in zip(v, g, strict=True) for y, z in zip(row, v, strict=True))
        size = sum(x * abs(y) * z for x, row in zip(v, g, strict=True) for y, z in zip(row, v, strict=True))
        r2 = mpmath.mpf(c) ** 2 * sum(map(sum, g)) / m**2
        size += mpmath.mpf(c) ** 2 * sum(abs(x) for row in g for x in row) / m**2
        gap = float((squared - r2) / size) if size else 0.0
        return Violation(float(worst), max(gap, 0.0), max(-gap, 0.0))


def guess(
    cosines: np.ndarray, inner: np.ndarray, shares: np.ndarray, radius: float, inside: np.ndarray, held: bool
) -> np.ndarray | None:
    """Let every index that violates its condition change sides; None if that leads nowhere.

    On a face, y is linear in the rate, and the rate follows from the distance.
    """
    for _ in range(8):
        face = np.flatnonzero(inside)
        if face.size == 0:
            return None
        right = np.column_stack((shares[face], -inner[face]))
        growth, start = np.linalg.solve(cosines[np.ix_(face, face)], right).T
        bend, slope = float(shares[face] @ growth), float(shares[face] @ start)
        squared = slope**2 + bend * (radius**2 + float(inner[face] @ start))
        if bend <= 0.0:
            return None
        rate = (float(np.sqrt(max(squared, 0.0))) - slope) / bend  # or the one that comes next to the distance
        y = np.zeros(len(inner))
        y[face] = start + rate * growth
        linear = inner - rate * shares
        terms = np.abs(cosines) @ np.abs(y) + np.abs(linear)
        bad = np.where(inside, y <= 0.0, cosines @ y + linear < -8.0 * (len(y) + 4) * np.finfo(float).eps * terms)
        if not bad.any():
            safe = terms.max() < 1e3 * np.abs(linear).max() and not (held and rate > 0.0)
            return y if safe and np.isclose(y @ cosines @ y, radius**2, rtol=1e-9) else None
        inside = inside ^ bad
    return None
