"""What loss weighting computes in the core, in numpy."""

import numpy as np


def adam_step(vector, gradient, first, second, learning_rate, beta1, beta2, eps, weight_decay, t):
    """The vector after step t, and the running means."""
    gradient = gradient + weight_decay * vector
    first = beta1 * first + (1.0 - beta1) * gradient
    second = beta2 * second + (1.0 - beta2) * gradient**2
    mean, square = first / (1.0 - beta1**t), second / (1.0 - beta2**t)
    return vector - learning_rate * mean / (np.sqrt(square) + eps), first, second


def softmax(values):
    powers = np.exp(values - values.max())
    return powers / powers.sum()


def softmax_slopes(shares, gradient):
    """The Jacobian of the softmax times a vector."""
    return (np.diag(shares) - np.outer(shares, shares)) @ gradient


def gap_slopes(losses, shares, gain, weighted, upper, lower, smoothing):
    """The gradients on the losses and on the shares: gap by gap."""
    factors = shares if weighted else np.ones(len(losses))
    values = factors * losses
    slopes = np.zeros(len(losses))
    for i in range(len(losses) - 1):
        gap = values[i] - values[i + 1]
        slope = np.sign(gap) if smoothing == 0.0 else gap / np.sqrt(gap**2 + smoothing)
        slopes[i] += slope
        slopes[i + 1] -= slope
    by_share = lower * gain + (upper * slopes * losses if weighted else 0.0)
    return upper * slopes * factors + lower * shares, by_share


def group_means(values, n_groups):
    """By a table: ``spread[i, j]`` is the sum of squares around the mean of the different values i to j - 1."""
    distinct, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    n = distinct.size
    if n_groups >= n:
        return values
    centred = distinct - values.mean()
    sums = [np.concatenate([[0.0], np.cumsum(counts * power)]) for power in (np.ones(n), centred, centred**2)]
    size, total, squares = (later[None, :] - later[:, None] for later in sums)  # [start, stop]
    filled = size > 0.0
    spread = np.where(filled, squares - total**2 / np.where(filled, size, 1.0), np.inf)
    best, cuts = spread[0], np.zeros((n_groups, n + 1), dtype=np.int64)
    for group in range(1, n_groups):
        extended = best[:, None] + spread
        cuts[group], best = extended.argmin(axis=0), extended.min(axis=0)
    means, stop = np.empty(n), n
    for group in reversed(range(n_groups)):
        start = int(cuts[group, stop])
        members = counts[start:stop]
        means[start:stop] = distinct[start:stop] @ members / members.sum()
        stop = start
    return means[inverse]


def gradnorm_slopes(gram, alpha, weights, losses, initial):
    """Of sum_i |w_i n_i - mean(w n) r_i^alpha| on the weights, the second term held."""
    norms, progress = np.sqrt(np.diag(gram)), losses / initial
    rates = progress / progress.mean() if progress.mean() > 0.0 else np.ones(len(losses))
    lengths = weights * norms
    return np.sign(lengths - lengths.mean() * rates**alpha) * norms


def moved_weights(gram, weights, rate, rho):
    """A step down the gradient of (|Y' w|^2 + rho |w|^2) / 2 on the weights."""
    return weights - rate * (gram + rho * np.eye(len(weights))) @ weights


def simplex_projection(point):
    """Bisection for the level that makes the sum 1."""
    low, high = point.min() - 1.0, point.max()
    for _ in range(200):
        level = 0.5 * (low + high)
        low, high = (level, high) if np.maximum(point - level, 0.0).sum() > 1.0 else (low, level)
    return np.maximum(point - 0.5 * (low + high), 0.0)
