"""The compiled kernels, line by line in numpy and float64."""

import numpy as np


def condition_objectives(F, center, standardise):
    """w, valid, n, offset, scale, median, spread."""
    F = np.asarray(F, dtype=np.float64)
    valid = np.isfinite(F).all(axis=1)
    good = F[valid]
    n, m = good.shape
    w = np.zeros_like(F)
    if n == 0:
        return w, valid, 0, np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m)
    shifted = good - good[0]  # exact or nearly so: no cancellation where values lie close together
    offset = good[0] + shifted.mean(axis=0) if center is None else np.asarray(center)
    scale = shifted.std(axis=0)
    scale[np.ptp(good, axis=0) == 0] = 0
    dev = shifted - shifted.mean(axis=0) if center is None else good - offset
    if standardise:
        dev = np.divide(dev, scale, out=np.zeros_like(dev), where=scale > 0)
        dev = np.round(dev * 2**20) / 2**20
    w[valid] = dev / n
    return w, valid, n, offset, scale, np.sort(good, axis=0)[n // 2], np.ptp(good, axis=0)


def estimate(z, w, valid):
    """P (m, d), H (m, d), Gram (m, m), row sums (N,): Eqs. 4.10-4.13."""
    z = np.where(valid[:, None], z, 0.0).astype(np.float64)
    P = w.T @ z
    H = 0.5 * (w.T @ (z * z) - w[valid].sum(axis=0)[:, None])
    return P, H, P @ P.T + 2 * H @ H.T, (z * z).sum(axis=1)


def update(mean, std, P, H, coefficients, mean_step, std_step, std_shift, inverse):
    """Eqs. A.152-A.153, or the exponential form."""
    p, h = coefficients @ P, coefficients @ H - std_shift
    mean = mean - mean_step * std * p
    if inverse:
        return mean, std / np.sqrt(np.clip(1 + 2 * std_step * h, 0.25, 4))
    return mean, std * np.exp(np.clip(-std_step * h, -np.log(2), np.log(2)))


def follow_scales(scales):
    """The running geometric means over a sequence of (m,) scales, and the last ratio."""
    log_unit, count = np.zeros(scales.shape[1]), np.zeros(scales.shape[1])
    for scale in scales:
        for i, value in enumerate(scale):
            if value > 0:
                gamma = 4 / (count[i] + 4)
                log_unit[i] = (1 - gamma) * log_unit[i] + gamma * np.log(value)
                count[i] += 1
    return np.where(scales[-1] > 0, scales[-1] / np.exp(log_unit), 0), log_unit, count
