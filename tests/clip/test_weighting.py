"""The weighting that prompt tuning uses."""

import numpy as np
import pytest

import pyasmg
from pyasmg.clip._weighting import unit_free_level

LOSSES, ACCURACIES = np.array([0.2, 0.9, 0.4]), np.array([0.95, 0.7, 0.9])


def mean_after(units, weighting):
    """Return the mean after three generations on three quadratics in these units."""
    search = pyasmg.ASMG(np.zeros(4), 0.3, popsize=8, seed=1, weighting=weighting)
    targets = np.arange(12).reshape(3, 4) / 10
    for _ in range(3):
        X = search.ask()
        search.tell(X, units * (0.1 + ((X[:, None] - targets) ** 2).sum(axis=2)))
    return search.mean


def test_units_change_nothing():
    units = np.array([20.0, 1.0, 0.01])
    plain = mean_after(np.ones(3), unit_free_level(LOSSES, ACCURACIES))
    np.testing.assert_allclose(mean_after(units, unit_free_level(units * LOSSES, ACCURACIES)), plain, rtol=1e-9)
    assert np.abs(mean_after(units, "level") - plain).max() > 1e-3


def test_levels_are_error_rates_at_first():
    reference = np.array(unit_free_level(LOSSES, ACCURACIES)["reference"])
    np.testing.assert_allclose(LOSSES / reference, [0.05, 0.3, 0.1])
    assert unit_free_level([0.001], [1.0])["reference"] == [0.1]  # no error among the images: 1 %


@pytest.mark.parametrize(
    ("losses", "accuracies", "message"),
    [
        ([1.0], [0.5, 0.5], "of one length; got 1 and 2"),
        ([0.0], [0.5], "must be positive; got 0"),
        ([np.nan], [0.5], "must be finite"),
        ([1.0], [50.0], r"must lie in \[0, 1\]"),
    ],
)
def test_hostile_arguments(losses, accuracies, message):
    with pytest.raises(ValueError, match=message):
        unit_free_level(losses, accuracies)
