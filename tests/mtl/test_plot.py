"""The plot of the diagnostics."""

from __future__ import annotations

import pytest

import pyasmg.mtl as mtl
from tests.mtl._problems import Network, batches

mpl = pytest.importorskip("matplotlib")
mpl.use("Agg")


def history(method: str, n: int) -> list[mtl.Diagnostics]:
    network, balancer = Network(3), mtl.METHODS[method](3)
    found = []
    for batch in batches(n):
        balancer.backward(network(batch)[1], shared=network.trunk.parameters())
        found.append(balancer.diagnostics)
    return found


@pytest.mark.parametrize(("method", "n_axes"), [("EW", 2), ("NashMTL", 6)])
def test_what_is_drawn(method: str, n_axes: int) -> None:
    import matplotlib.pyplot as plt

    figure = mtl.plot_diagnostics(history(method, 4), names=["a", "b", "c"], steps=[10, 20, 30, 40])
    try:
        assert len(figure.axes) == n_axes
        assert [axis.get_title() for axis in figure.axes[:2]] == ["losses", "weights"]
        lines = figure.axes[1].get_lines()
        assert [line.get_label() for line in lines] == ["a", "b", "c"]
        assert lines[0].get_xdata().tolist() == [10, 20, 30, 40]
    finally:
        plt.close(figure)


def test_gaps_where_weights_were_reused() -> None:
    """Steps without new gradients have no norms."""
    import matplotlib.pyplot as plt

    network, balancer = Network(3), mtl.NashMTL(3, update_every=2)
    found = []
    for batch in batches(4):
        balancer.backward(network(batch)[1], shared=network.trunk.parameters())
        found.append(balancer.diagnostics)
    figure = mtl.plot_diagnostics(found)
    try:
        norms = figure.axes[2].get_lines()[0].get_ydata()
        assert [value == value for value in norms] == [True, False, True, False]
    finally:
        plt.close(figure)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"`history` must hold at least one entry; got none\."):
        mtl.plot_diagnostics([])
    with pytest.raises(ValueError, match=r"`names` must have 3 entries; got 1\."):
        mtl.plot_diagnostics(history("EW", 2), names=["a"])
    with pytest.raises(ValueError, match=r"`steps` must have 2 entries, as `history`; got 3\."):
        mtl.plot_diagnostics(history("EW", 2), steps=[1, 2, 3])
