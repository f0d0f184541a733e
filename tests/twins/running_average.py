"""The running average of the rows of a matrix, and the slopes of its weights, in float64."""

import numpy as np


def running_average(x, rate, y, weights):
    """The new average, and its Gram matrix times the weights."""
    moved = y + rate * (x.astype(np.float64) - y)
    return moved, moved @ moved.T @ weights
