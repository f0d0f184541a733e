"""IMTL-G and Aligned-MTL with numpy's eigenvectors."""

from __future__ import annotations

import numpy as np

EPS = np.finfo(float).eps


def impartial_weights(gram: np.ndarray) -> np.ndarray:
    result = np.zeros(len(gram))
    nonzero = np.flatnonzero(np.diag(gram) > 0.0)
    if nonzero.size == 0:
        return result
    norms = np.sqrt(np.diag(gram)[nonzero])
    cosines = np.clip(gram[np.ix_(nonzero, nonzero)] / norms / norms[:, None], -1.0, 1.0)
    np.fill_diagonal(cosines, 1.0)
    values, vectors = np.linalg.eigh(0.5 * (cosines + cosines.T))
    inside = values > 64.0 * len(values) * EPS
    shares = vectors.sum(axis=0)  # of the vector of ones
    if np.square(shares[~inside]).sum() > 1e-12 * len(values):
        return result
    y = vectors[:, inside] @ (shares[inside] / values[inside])
    weights = y * (norms.min() / norms)
    total = weights.sum()
    if abs(total) <= 16.0 * len(weights) * EPS * np.abs(weights).sum():
        return result
    result[nonzero] = weights / total
    return result


def aligned_weights(gram: np.ndarray, scale: str, wanted: np.ndarray) -> np.ndarray:
    size = np.diag(gram).max()
    if size == 0.0:
        return wanted
    values, vectors = np.linalg.eigh(gram / size)
    inside = values > 64.0 * len(gram) * EPS * values[-1]
    values, vectors = values[inside], vectors[:, inside]
    chosen = {"min": np.min, "median": np.median, "rmse": np.mean}[scale](values)
    return vectors @ (np.sqrt(chosen / values) * (vectors.T @ wanted))
