"""GradDrop on the parameters, in numpy: Algorithm 1 with a share of what is dropped."""

import numpy as np


def sign_dropout(X, leak, draw):
    """d, for the gradients X (m, d), the shares ``leak`` (m,) and one number of [0, 1) per column."""
    X = X.astype(float)
    above, below = np.maximum(X, 0.0).sum(axis=0), np.minimum(X, 0.0).sum(axis=0)
    keep = above > draw * (above - below)
    kept = np.where(keep, X > 0.0, X < 0.0)
    return ((leak[:, None] + (1.0 - leak[:, None]) * kept) * X).sum(axis=0)
