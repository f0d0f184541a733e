"""The weighting that prompt tuning uses."""

import numpy as np
import pytest

import pyasmg
from pyasmg.clip._weighting import unit_free_level
from pyasmg.weighting import Generation, Level, make_weighting

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


def generation(gram, mean):
    """Return a generation with this Gram matrix."""
    m = len(mean)
    ones = np.ones(m)
    return Generation(0, np.array(gram), np.array(mean), np.array(mean), ones, ones.astype(bool), ones / m)


def test_duplicates_share_one_weight():
    alone = Level(distinct=True)(generation([[1.0, 0.0], [0.0, 4.0]], [0.25, 1.0]))
    np.testing.assert_allclose(alone, [1 / 3, 2 / 3])
    gram = np.array([[1.0, 0.0, 2.0, 1.0], [0.0, 4.0, 0.0, 0.0], [2.0, 0.0, 4.0, 2.0], [1.0, 0.0, 2.0, 1.0]])
    copied = Level(distinct=True)(generation(gram, [0.25, 1.0, 0.25, 0.25]))
    np.testing.assert_allclose(copied, [1 / 9, 2 / 3, 1 / 9, 1 / 9], rtol=1e-9)


def test_objectives_that_only_resemble_each_other_keep_their_weights():
    gram = [[1.0, 0.6, -1.0], [0.6, 1.0, 0.0], [-1.0, 0.0, 1.0]]
    np.testing.assert_allclose(Level(distinct=True)(generation(gram, [1.0, 1.0, 1.0])), [1 / 3] * 3, rtol=1e-6)


def test_the_option_survives_a_state():
    spec = unit_free_level(LOSSES, ACCURACIES)
    assert make_weighting(spec).distinct
    assert make_weighting(make_weighting(spec).spec()).spec() == make_weighting(spec).spec()
    assert "distinct" not in Level().spec()
    with pytest.raises(TypeError, match="`distinct` must be True or False; got 1"):
        Level(distinct=1)


def test_an_objective_without_a_gradient_is_like_no_other():
    weights = Level(distinct=True)(generation(np.diag([0.0, 0.0, 1.0]), [1.0, 1.0, 1.0]))
    np.testing.assert_allclose(weights, [1 / 3] * 3)
