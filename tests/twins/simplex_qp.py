"""Slow, obvious solutions of  min { l'Gl : l >= 0, sum l = 1 },  and the Gram matrices to try them on.

``enumerate_supports`` looks at every support, in float64 or in exact fractions. ``reference`` is an
active-set method in 200 decimal digits; weak duality (``gap``) says how good its answer is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, combinations

import mpmath
import numpy as np

DIGITS = 200
EPS = 2.0**-52


# ---- every support ----


def enumerate_supports(G: np.ndarray) -> tuple[float, np.ndarray]:
    """Smallest value over all supports, float64; only for a well-conditioned G with m <= 12."""
    m = len(G)
    best, weights = np.inf, np.zeros(m)
    for support in chain.from_iterable(combinations(range(m), k) for k in range(1, m + 1)):
        a = list(support)
        v = np.linalg.solve(G[np.ix_(a, a)], np.ones(len(a)))
        if v.min() >= 0 and 1 / v.sum() < best:
            best = 1 / v.sum()
            weights = np.zeros(m)
            weights[a] = v / v.sum()
    return best, weights


def enumerate_supports_exactly(G: np.ndarray) -> Fraction:
    """The minimum in exact fractions, for any positive semi-definite G; m <= 6.

    Some minimiser's support has a non-singular bordered matrix [[G_AA, 1], [1', 0]] (Caratheodory), so the
    singular ones are left out.
    """
    m = len(G)
    g = [[Fraction(float(x)) for x in row] for row in G]
    best = min(g[i][i] for i in range(m))
    for support in chain.from_iterable(combinations(range(m), k) for k in range(2, m + 1)):
        bordered = [[g[i][j] for j in support] + [Fraction(1)] for i in support]
        bordered.append([Fraction(1)] * len(support) + [Fraction(0)])
        solution = _solve_exactly(bordered, [Fraction(0)] * len(support) + [Fraction(1)])
        if solution is not None and min(solution[:-1]) >= 0:
            best = min(best, -solution[-1])  # G l + nu 1 = 0, hence l'Gl = -nu
    return best


def _solve_exactly(a: list[list[Fraction]], b: list[Fraction]) -> list[Fraction] | None:
    n = len(b)
    rows = [[*row, rhs] for row, rhs in zip(a, b, strict=True)]
    for c in range(n):
        pivot = next((r for r in range(c, n) if rows[r][c] != 0), None)
        if pivot is None:
            return None
        rows[c], rows[pivot] = rows[pivot], rows[c]
        rows[c] = [x / rows[c][c] for x in rows[c]]
        for r in range(n):
            if r != c and rows[r][c] != 0:
                rows[r] = [x - rows[r][c] * y for x, y in zip(rows[r], rows[c], strict=True)]
    return [row[n] for row in rows]


# ---- many digits ----


@dataclass(frozen=True)
class Reference:
    minimum: mpmath.mpf
    weights: np.ndarray  # of mpf
    gap: mpmath.mpf  # minimum - gap <= true minimum, for a positive semi-definite G


def reference(G: np.ndarray, hint: np.ndarray | None = None) -> Reference:
    """The minimum to about 100 digits. `hint`, weights of the likely support, saves time and nothing else.

    On v = l / f the problem is  min { v'Gv / 2 - sum v : v >= 0 };  the minimum is 0 where v has no bound.
    """
    with mpmath.workdps(DIGITS):
        g = _mpf(G)
        g = (g + g.T) / 2
        m = len(g)
        tiny = mpmath.mpf(10) ** (-DIGITS // 2)
        norms = np.array([mpmath.sqrt(g[i, i]) for i in range(m)], dtype=object)
        if min(norms) == 0:
            weights = _mpf(norms == 0)
            return Reference(mpmath.mpf(0), weights / weights.sum(), mpmath.mpf(0))
        if hint is None:
            hint = np.arange(m) == np.argmin(np.diag(G))
        v = _mpf(hint)
        active = [int(i) for i in np.flatnonzero(hint)]
        v = v * (v.sum() / (v @ g @ v)) if v @ g @ v > 0 else v
        for _ in range(50 * m + 50):
            unbounded = False
            while active:
                target, direction = _face(g, active, norms, tiny)
                if target is not None:
                    pairs = [(v[i], t, i) for i, t in zip(active, target, strict=True) if t <= 0]
                    ratios = [(x / (x - t) if x else x, i) for x, t, i in pairs]
                    step, blocking = min(ratios, default=(None, -1))
                    if blocking < 0:
                        v[active] = target
                        break
                    v[active] = v[active] + step * (target - v[active])
                else:  # G d = 0 or d'Gd < 0 on the face, and sum d >= 0: the objective falls along d for ever
                    ratios = [(v[i] / -d, i) for i, d in zip(active, direction, strict=True) if d < 0]
                    step, blocking = min(ratios, default=(None, -1))
                    if blocking < 0:
                        v = v * 0
                        v[active] = direction
                        unbounded = True
                        break
                    v[active] = v[active] + step * direction
                v[blocking] = mpmath.mpf(0)
                active.remove(blocking)
            if unbounded:
                break
            w = (1 - g[:, active] @ v[active]) / norms
            w[active] = mpmath.mpf(-1)
            entering = max(range(m), key=lambda i: w[i])
            if w[entering] * norms[entering] <= tiny:
                break
            active.append(entering)
        else:
            raise RuntimeError("the reference did not end.")
        weights = v / v.sum()
        product = g @ weights
        value = weights @ product
        return Reference(value, weights, 2 * (value - min(product)))


def _face(
    g: np.ndarray, active: list[int], norms: np.ndarray, tiny: mpmath.mpf
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(solution of G_AA v = 1, None), or (None, d) with G_AA d = 0 or d'Gd < 0, and sum d >= 0."""
    k = len(active)
    l = np.zeros((k, k), dtype=object)  # noqa: E741
    z = np.zeros(k, dtype=object)
    pivots = np.zeros(k, dtype=object)
    for r, i in enumerate(active):  # L D L'
        row = g[i, active[: r + 1]].copy()
        for j in range(r):
            row[j] = row[j] - (row[:j] * pivots[:j]) @ l[j, :j] if j else row[j]
            row[j] = row[j] / pivots[j]
        pivot = row[r] - (row[:r] * pivots[:r]) @ row[:r] if r else row[r]
        if pivot <= tiny * norms[i] ** 2:
            direction = np.zeros(k, dtype=object)
            direction[r] = mpmath.mpf(1)
            if r:
                direction[:r] = _back(l[:r, :r], -row[:r])
            return None, direction if direction.sum() >= 0 else -direction
        l[r, :r] = row[:r]
        l[r, r] = mpmath.mpf(1)
        pivots[r] = pivot
        z[r] = mpmath.mpf(1) - (l[r, :r] @ z[:r] if r else 0)
    return _back(l, z / pivots), None


def _back(l: np.ndarray, z: np.ndarray) -> np.ndarray:  # noqa: E741
    v = z.copy()
    for r in range(len(z) - 1, 0, -1):
        v[:r] = v[:r] - v[r] * l[r, :r]
    return v


def _mpf(a: np.ndarray) -> np.ndarray:
    flat = [mpmath.mpf(float(x)) for x in np.asarray(a).ravel()]
    out = np.empty(len(flat), dtype=object)
    out[:] = flat
    return out.reshape(np.shape(a))


def suboptimality(G: np.ndarray, weights: np.ndarray, ref: Reference) -> float:
    """(f - f*) / max(f*, 2^-52 (sum l*_i sqrt(G_ii))^2), f taken exactly at the normalised weights.

    The second term is what one rounding of each entry can do to the value at l*; where l* picks a zero
    gradient, the longest gradient stands in. f* counts as 0 where an indefinite G makes it negative.
    """
    with mpmath.workdps(DIGITS):
        l = _mpf(weights)  # noqa: E741
        l = l / l.sum()  # noqa: E741
        f = l @ _mpf(G) @ l
        minimum = max(ref.minimum, mpmath.mpf(0))
        excess = max(f - minimum, mpmath.mpf(0))
        at = length(G, ref.weights) or mpmath.sqrt(float(np.diag(G).max()))
        return float(excess / max(minimum, EPS * at**2)) if excess else 0.0


def length(G: np.ndarray, weights: np.ndarray) -> mpmath.mpf:
    """sum_i l_i sqrt(G_ii): the norm that the combination would have without any cancellation."""
    return sum(w * mpmath.sqrt(mpmath.mpf(float(d))) for w, d in zip(weights, np.diag(G), strict=True))


# ---- Gram matrices ----


def random_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """Gradients in R^{2m}, positively correlated at random."""
    j = rng.standard_normal((m, 2 * m)) + rng.random() * rng.standard_normal(2 * m)
    return _gram(j)


def scaled_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """Norms 1e-3 .. 1e3."""
    return _gram(rng.standard_normal((m, 2 * m)) * 10.0 ** rng.uniform(-3, 3, (m, 1)))


def extreme_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """Norms 1e-15 .. 1e15, conflicting and not."""
    return _gram(rng.standard_normal((m, 2 * m)) * 10.0 ** rng.uniform(-15, 15, (m, 1)))


def low_rank_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """Integer gradients of rank about m / 2: exactly singular; 0 is in the hull about every second time."""
    rank = max(1, m // 2)
    j = rng.integers(-8, 9, (m, rank)) + (rng.integers(0, 2) * rng.integers(-16, 17, rank))
    j[~j.any(axis=1), 0] = 1
    return _gram(j.astype(float))


def duplicate_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """Every second gradient repeats another one, exactly."""
    j = rng.integers(-99, 100, (m, 2 * m))
    half = (m + 1) // 2
    j[half:] = j[rng.integers(0, half, m - half)]
    return _gram(j.astype(float))


def near_duplicate_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs with cos = 1 - 1e-13 or so; integers below 2^53, so that G is exactly positive semi-definite."""
    j = rng.integers(-(2**20), 2**20, (m, 8)).astype(float)
    half = (m + 1) // 2
    j[half:] = j[: m - half]
    j[half:, 0] += rng.integers(-1, 2, m - half)
    return _gram(j)


def zero_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """One gradient is 0."""
    j = rng.standard_normal((m, 2 * m))
    j[rng.integers(m)] = 0.0
    return _gram(j)


def conflicting_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """Gradients that nearly cancel: their sum is a small positive multiple of a common direction."""
    j = rng.standard_normal((m, 2 * m))
    j -= j.mean(axis=0)
    return _gram(j + 10.0 ** rng.uniform(-6, 0) * rng.standard_normal(2 * m))


def cancelling_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """0 is in the hull of all gradients and of no fewer, and rounding leaves G slightly indefinite or not."""
    j = rng.standard_normal((m, 2 * m))
    return _gram((j - j.mean(axis=0)) * 10.0 ** rng.uniform(-3, 3, (m, 1)))


def spread_singular_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """Exactly singular, the gradients scaled by powers of two over 30 orders."""
    j = low_rank_gram(m, rng)
    scale = 2.0 ** rng.integers(-50, 51, m)
    return j * scale[:, None] * scale


def unimodular_gram(m: int, rng: np.random.Generator) -> np.ndarray:
    """Integers, det G = 1, cond(G) up to 1e30, exactly positive definite; signs that all but put 0 in the hull."""
    j = np.eye(m, dtype=np.int64)
    for _ in range(400 * m):
        a, b = rng.integers(0, m, 2)
        if a != b and np.abs(row := j[a] + rng.choice([-1, 1]) * j[b]).max() < 2**23 / m:
            j[a] = row
    cofactors = np.linalg.svd(j.astype(float))[0][:, -1]
    return _gram(j * np.where(cofactors < 0, -1, 1)[:, None].astype(float))


def _gram(j: np.ndarray) -> np.ndarray:
    g = j @ j.T
    return (g + g.T) / 2


FAMILIES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "random": random_gram,
    "scaled 1e-3..1e3": scaled_gram,
    "scaled 1e-15..1e15": extreme_gram,
    "low rank": low_rank_gram,
    "duplicate": duplicate_gram,
    "near duplicate": near_duplicate_gram,
    "zero": zero_gram,
    "conflicting": conflicting_gram,
    "cancelling": cancelling_gram,
    "spread singular": spread_singular_gram,
    "unimodular": unimodular_gram,
}
