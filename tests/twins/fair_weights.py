"""Slow, obvious solution of  G w = (c / w)^(1/alpha)  in many digits, and how far weights are from solving it."""

from __future__ import annotations

import mpmath
import numpy as np

DIGITS = 60


def reference(G: np.ndarray, alpha: float, preference: np.ndarray) -> np.ndarray:
    """The weights to about 30 digits or more, as float64; G positive definite, or 0 not in the hull.

    Newton's method with backtracking on the convex  w'Gw / 2 - sum_i c_i^(1/alpha) phi(w_i),  from the weights that
    the gradients would have if they were orthogonal.
    """
    with mpmath.workdps(DIGITS):
        m = len(G)
        g = mpmath.matrix(G.tolist())
        p = 1 / mpmath.mpf(alpha)
        b = [mpmath.mpf(float(c)) ** p for c in preference]

        def value(w: mpmath.matrix) -> mpmath.mpf:
            phi = [mpmath.log(x) if p == 1 else x ** (1 - p) / (1 - p) for x in w]
            return (w.T * g * w)[0] / 2 - mpmath.fdot(b, phi)

        w = mpmath.matrix([(b[i] / g[i, i]) ** (1 / (1 + p)) for i in range(m)])
        for _ in range(2000):
            hessian = g.copy()
            gradient = g * w
            for i in range(m):
                gradient[i] -= b[i] / w[i] ** p
                hessian[i, i] += p * b[i] / w[i] ** (p + 1)
            step = -mpmath.lu_solve(hessian, gradient)
            slope = mpmath.fdot(gradient, step)
            t = min([mpmath.mpf(1)] + [-mpmath.mpf("0.9") * w[i] / step[i] for i in range(m) if step[i] < 0])
            now = value(w)
            while value(w + t * step) > now + t * slope / 10 and t > mpmath.mpf(10) ** -25:
                t /= 2
            w += t * step
            if max(abs(step[i] / w[i]) for i in range(m)) < mpmath.mpf(10) ** -20:
                return np.array([float(x) for x in w])
        raise RuntimeError("the reference did not end.")


def residual(G: np.ndarray, weights: np.ndarray, alpha: float, preference: np.ndarray) -> float:
    """max_i |(Gw)_i - r_i| / ((|G| w)_i + r_i),  r_i = (c_i / w_i)^(1/alpha),  over the gradients that are not zero."""
    worst = 0.0
    with mpmath.workdps(DIGITS):
        w = [mpmath.mpf(float(x)) for x in weights]
        for i in np.flatnonzero(np.diag(G) > 0):
            terms = [mpmath.mpf(float(x)) * y for x, y in zip(G[i], w, strict=True)]
            right = (mpmath.mpf(float(preference[i])) / w[i]) ** (1 / mpmath.mpf(alpha))
            error = abs(mpmath.fsum(terms) - right) / (mpmath.fsum(abs(x) for x in terms) + right)
            worst = max(worst, float(error))
    return worst
