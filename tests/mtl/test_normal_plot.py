"""The plot of task positions."""

from __future__ import annotations

import numpy as np
import pytest

import pyasmg.mtl as mtl

mpl = pytest.importorskip("matplotlib")
mpl.use("Agg")


def test_what_is_drawn() -> None:
    import matplotlib.pyplot as plt

    history = [np.array([1.0, 1.0]), np.array([0.9, 1.2]), np.array([0.7, 1.3])]
    figure = mtl.plot_positions(history, names=["a", "b"], steps=[0, 10, 20])
    try:
        (axis,) = figure.axes
        lines = axis.get_lines()
        assert [line.get_label() for line in lines] == ["a", "b"]
        assert lines[1].get_xdata().tolist() == [0, 10, 20]
        assert lines[1].get_ydata().tolist() == [1.0, 1.2, 1.3]
    finally:
        plt.close(figure)


@pytest.mark.parametrize(
    ("history", "options", "message"),
    [
        ([], {}, r"`history` must hold at least one entry; got none\."),
        ([[1.0], [1.0, 2.0]], {}, r"the entries of `history` must have one shape \(m,\); got \(1,\), \(2,\)\."),
        ([1.0, 2.0], {}, r"the entries of `history` must have one shape \(m,\); got \(\)\."),
        ([[1.0, 2.0]], {"names": ["a"]}, r"`names` must have 2 entries; got 1\."),
        ([[1.0, 2.0]], {"steps": [1, 2]}, r"`steps` must have 1 entries, as `history`; got 2\."),
    ],
)
def test_bad_input(history: list, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mtl.plot_positions(history, **options)
