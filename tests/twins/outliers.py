"""The outlier rule in numpy, line by line."""

import numpy as np

FAR, FEWEST = 2.0, 6


def pull_in(w, valid, weights):
    rows = np.flatnonzero(valid)
    if rows.size < FEWEST:
        return w
    value = w[rows] @ weights
    order = np.argsort(value, kind="stable")
    n = rows.size
    first, middle, third = value[order[n // 4]], value[order[n // 2]], value[order[(3 * n) // 4]]
    limit = third + FAR * (third - first)
    out = value > limit
    if not out.any() or not limit > middle:
        return w
    centre = w[rows[order[n // 2]]]
    w = w.copy()
    w[rows[out]] = centre + ((limit - middle) / (value[out] - middle))[:, None] * (w[rows[out]] - centre)
    w[rows] -= w[rows].mean(axis=0)
    return w
