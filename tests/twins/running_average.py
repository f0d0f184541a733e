"""The running average of a gradient, in float64."""

import numpy as np


def running_average(x, factor, rate, y):
    """The new average."""
    return y + rate * (factor * x.astype(np.float64) - y)
