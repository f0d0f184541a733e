"""Algorithm 3 with the update of A.2.5, straight from the thesis: Eqs. 4.10-4.17 and A.152-A.153."""

import numpy as np
from scipy.optimize import minimize


def simplex_qp(gram):
    """min l'Gl over the simplex, m <= 5: every active set, best feasible KKT point, polished by nothing."""
    m = len(gram)
    best, best_value = None, np.inf
    for mask in range(1, 2**m):
        active = [i for i in range(m) if mask >> i & 1]
        k = len(active)
        kkt = np.block([[gram[np.ix_(active, active)], -np.ones((k, 1))], [np.ones((1, k)), np.zeros((1, 1))]])
        try:
            solution = np.linalg.solve(kkt, np.append(np.zeros(k), 1.0))[:k]
        except np.linalg.LinAlgError:
            continue
        if (solution < -1e-13).any():
            continue
        weights = np.zeros(m)
        weights[active] = np.maximum(solution, 0)
        weights /= weights.sum()
        value = weights @ gram @ weights
        if value < best_value:
            best, best_value = weights, value
    return best


def slsqp(gram):
    """A second, independent solver for the same problem."""
    m = len(gram)
    unit = np.trace(gram)
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    options = {"ftol": 1e-15, "maxiter": 500}
    start = np.full(m, 1 / m)
    answer = minimize(
        lambda w: w @ gram @ w / unit, start, bounds=[(0, 1)] * m, constraints=[constraint], options=options
    )
    return answer.x


def paper_step(t, mean, variance, weights, z, F, center, beta):
    """One iteration t. z (N, d) standard normals, F (N, m), center (m,) = F(mean)."""
    N = len(z)
    x = mean + np.sqrt(variance) * z
    D = F - center
    p = (1 / N) * ((x - mean) / np.sqrt(variance)).T @ D  # Eq. 4.12, (d, m)
    h = (1 / (2 * N)) * ((x - mean) ** 2 / variance - 1).T @ D  # Eq. 4.13
    stacked = np.vstack((p, np.sqrt(2) * h))  # Lambda, Eq. 4.11
    new = simplex_qp(stacked.T @ stacked)  # Eq. 4.10
    gamma = 1 / (t + 1)
    weights = (1 - gamma) * weights + gamma * new  # Eq. 4.17
    aggregated = F @ weights
    utility = (aggregated - aggregated.mean()) / aggregated.std()
    precision = 1 / variance
    new_mean = mean - beta / N * (x - mean).T @ utility  # Eq. A.152
    new_precision = precision + beta / N * precision * (((x - mean) ** 2 * precision).T @ utility)  # Eq. A.153
    return new_mean, 1 / new_precision, weights
