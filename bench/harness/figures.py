"""A figure as data: drawn as PNG with matplotlib here, and with plotly by the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench import common

#: One colour per optimizer label, the same in every figure; others take what is left.
COLOURS = (
    "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    "#393b79", "#637939",
)  # fmt: skip


@dataclass
class Series:
    """One line, with a band where ``low`` and ``high`` are given."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


@dataclass
class Panel:
    """One pair of axes."""

    title: str
    series: list[Series] = field(default_factory=list)


@dataclass
class Figure:
    """Panels in rows of ``columns``, with common axes.

    ``name`` is that of the files; ``note`` stands under the figure and tells how to read it.
    """

    name: str
    title: str
    x: str
    y: str
    panels: list[Panel] = field(default_factory=list)
    columns: int = 3
    log_x: bool = True
    log_y: bool = True
    target: float | None = None
    note: str = ""

    def save(self) -> Path:
        """Write ``NAME.figure.json`` for the report, and ``NAME.png`` where matplotlib is installed."""
        common.RESULTS.mkdir(parents=True, exist_ok=True)
        path = common.RESULTS / f"{self.name}.figure.json"
        command, machine = (line[2:] for line in common.header().splitlines())
        path.write_text(json.dumps({"command": command, "machine": machine, **asdict(self)}))
        if find_spec("matplotlib") is None:
            print('no PNG: matplotlib is not installed (pip install "pyasmg[plot]").')
        else:
            common.save_figure(draw(self), self.name)
        return path


def band(name: str, x: npt.ArrayLike, values: npt.ArrayLike) -> Series:
    """Return median and quartiles of ``values`` (runs, len(x)) as a series."""
    with np.errstate(invalid="ignore"):
        low, middle, high = np.percentile(np.minimum(np.asarray(values, dtype=float), 1e100), [25, 50, 75], axis=0)
    return Series(name, list(np.asarray(x, dtype=float)), list(middle), list(low), list(high))


def colour(name: str, names: Sequence[str]) -> str:
    """Return the colour of a line among all names of a figure."""
    return COLOURS[names.index(name) % len(COLOURS)]


def series_names(figure: Figure) -> list[str]:
    """Return the names of all lines, in the order in which they first appear."""
    return list(dict.fromkeys(series.name for panel in figure.panels for series in panel.series))


def limits(figure: Figure) -> tuple[float, float] | None:
    """Return the limits of y, where there is a target: from below it to above every start.

    What diverges leaves the panel, and what is at zero does not stretch it.
    """
    starts = [series.y[0] for panel in figure.panels for series in panel.series if len(series.y)]
    if figure.target is None or not figure.log_y or not starts:
        return None
    return figure.target / 3, 10 * max(starts)


def draw(figure: Figure) -> Any:
    """Return the matplotlib figure."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure as Drawing

    columns = min(figure.columns, max(len(figure.panels), 1))
    rows = -(-len(figure.panels) // columns)
    drawing = Drawing(figsize=(4.2 * columns, 3.1 * rows + 0.6), layout="constrained")
    axes = drawing.subplots(rows, columns, squeeze=False, sharey="row")
    names = series_names(figure)
    for axis in axes.flat[len(figure.panels) :]:
        axis.set_axis_off()
    for axis, panel in zip(axes.flat, figure.panels, strict=False):
        for series in panel.series:
            shade = colour(series.name, names)
            marker = "o" if len(series.x) < 12 else None
            axis.plot(series.x, series.y, color=shade, lw=1.5, label=series.name, marker=marker, ms=3)
            if series.low is not None:
                axis.fill_between(series.x, series.low, series.high, color=shade, alpha=0.18, lw=0)
        if figure.target is not None:
            axis.axhline(figure.target, color="0.6", lw=0.8, ls="--")
        axis.set(title=panel.title, xscale="log" if figure.log_x else "linear")
        if figure.log_y:
            axis.set_yscale("log")
        if limits(figure):
            axis.set_ylim(*limits(figure))
    for axis in axes[-1]:
        axis.set_xlabel(figure.x)
    for axis in axes[:, 0]:
        axis.set_ylabel(figure.y)
    handles = {}
    for axis in axes.flat:
        handles.update({label: h for h, label in zip(*axis.get_legend_handles_labels(), strict=True)})
    drawing.legend(handles.values(), handles, loc="outside lower center", ncols=min(len(handles), 6) or 1, fontsize=8)
    drawing.suptitle(figure.title)
    return drawing
