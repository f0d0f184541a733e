"""Directions of each method on fixed gradients: by hand where they can be, pinned otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from tests.mtl._cases import CASES
from tests.mtl._problems import direction

#: Two gradients of norms 1 and 2 at a right angle, and losses 1 and 4.
RIGHT_ANGLE = (np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([1.0, 4.0]))
#: Three gradients, the first two in conflict: G = [[2, -1, 2], [-1, 2, 0], [2, 0, 4]].
CONFLICT = (np.array([[1.0, -1.0, 0.0], [0.0, 1.0, 1.0], [2.0, 0.0, 0.0]]), np.array([1.0, 2.0, 0.5]))

#: name: direction at a right angle, direction in conflict.
VALUES: dict[str, tuple[list[float], list[float]]] = {
    "BiLB4MTL": ([-0.5, 3.0], [-2.0, 3.0, 7 / 3]),
    "BiLB4MTL sigma": ([0.5, 0.25], [5 / 3, -1 / 6, 1 / 6]),
    "BiLB4MTL logarithmic": ([0.05, 0.025], [1 / 6, -1 / 60, 1 / 60]),
    "BiLB4MTL released": ([0.5, 0.25], [5 / 6, -1 / 12, 1 / 12]),
    "DWA": ([1.0, 2.0], [3.0, 0.0, 1.0]),
    "EW": ([0.5, 1.0], [1.0, 0.0, 1 / 3]),
    "EW sum": ([1.0, 2.0], [3.0, 0.0, 1.0]),
    "FairGrad": ([1.0, 2 ** (-1 / 3)], [1.1905343031726745, 0.0979928517942491, 0.9357615960727137]),
    "FairGrad 5": ([1.0, 2 ** (-2 / 3)], [1.0238077147034204, 0.01733269608836674, 0.9855771111530686]),
    "FAMO as in the paper": ([0.8, 0.4], [10 / 7, -1 / 7, 1 / 7]),
    "GO4Align": ([2.8722125840582953, 1.0638937079708526], [5.838597604215145, 0.0, 0.8598238963115516]),
    "GO4Align fixed": ([2.5, 1.25], [0.875 + 14 / 3, 0.0, 0.875]),
    "IMTLL": ([1.0, 2.0], [3.0, 0.0, 1.0]),
    "LogSmoothChebyshev": ([1.0, 0.5], [5.0, -0.5, 0.5]),
    "MGDA": ([0.8, 0.4], [0.5, 0.0, 0.5]),
    "MGDA l2": ([0.5, 0.5], [0.125**0.5, 0.0, 0.125**0.5]),
    "MGDA l2 raw": ([0.5, 1.0], [0.5, 0.0, 0.5]),
    "MGDA loss": ([0.2, 1.6], [2 / 7, 3 / 7, 5 / 7]),
    "MGDA loss+": ([1 / 17, 32 / 17], [2 / 7, 3 / 7, 5 / 7]),
    "NashMTL": ([1.0, 1.0], [1.4559937755237615, 0.15590400211006628, 0.9250816546457529]),
    "NashMTL normalized": ([17**0.25, 17**0.25], [3.5158411719585434, 0.3764670692321497, 2.2338283470044913]),
    "NashMTL every third": ([0.5**0.5, 0.5**0.5], [0.8406183982370637, 0.09001121758598679, 0.5340961423321101]),
    "PIVRG": ([1.0, 2 ** (-1 / 3)], [1.1905343031726745, 0.0979928517942491, 0.9357615960727137]),
    "RLW": ([0.5641040333202069, 0.871791933359586], [1.2613004293432883, -0.0659568979784736, 0.22424755755941272]),
    "SI": ([0.5, 0.25], [5 / 3, -1 / 6, 1 / 6]),
    "SmoothChebyshev": (
        [0.09121276190317816, 0.8175744761936437],
        [0.27687489682150646, 0.04067457706710256, 0.1434887823040876],
    ),
    "UW": ([0.5, 1.0], [1.5, 0.0, 0.5]),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    for (rows, losses), expected in zip((RIGHT_ANGLE, CONFLICT), VALUES[name], strict=True):
        found = direction(CASES[name].make(len(rows)), rows, losses)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
