"""Figures of the harness as plotly sees them: plain data, so that plotly's own classes need not be imported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from bench.harness.figures import Figure, Panel, Series, colour, limits, series_names

_GAP_X, _GAP_Y, _PANEL_HEIGHT = 0.05, 0.11, 260


def load(content: dict[str, Any]) -> Figure:
    """Return the figure that :meth:`Figure.save` wrote."""
    fields = {name: value for name, value in content.items() if name in Figure.__dataclass_fields__}
    fields["panels"] = [Panel(p["title"], [Series(**series) for series in p["series"]]) for p in content["panels"]]
    return Figure(**fields)


def plotly(figure: Figure) -> dict[str, Any]:
    """Return ``{"data": [...], "layout": {...}}`` for ``Plotly.newPlot``."""
    columns = min(figure.columns, max(len(figure.panels), 1))
    rows = -(-len(figure.panels) // columns)
    names, shown = series_names(figure), set()
    gap_y = min(_GAP_Y, 0.4 / rows)
    width, height = (1 - _GAP_X * (columns - 1)) / columns, (1 - gap_y * (rows - 1)) / rows
    layout: dict[str, Any] = {
        "title": {"text": figure.title, "x": 0.01, "font": {"size": 15}},
        "height": _PANEL_HEIGHT * rows + 190,
        "margin": {"l": 65, "r": 15, "t": 70, "b": 120},
        "legend": {"orientation": "h", "y": -45 / (_PANEL_HEIGHT * rows), "yanchor": "top"},  # below the axis titles
        "annotations": [],
        "shapes": [],
        "template": {"layout": {"paper_bgcolor": "white", "plot_bgcolor": "#f7f8fa"}},
    }
    data: list[dict[str, Any]] = []
    for number, panel in enumerate(figure.panels):
        row, column = divmod(number, columns)
        tag = "" if number == 0 else str(number + 1)
        left, top = column * (width + _GAP_X), 1 - row * (height + gap_y)
        last = number + columns >= len(figure.panels)
        layout[f"xaxis{tag}"] = {
            "domain": [left, left + width],
            "anchor": f"y{tag}",
            "type": "log" if figure.log_x else "linear",
            "title": {"text": figure.x if last else ""},
            "exponentformat": "power",
            **({"dtick": 1} if figure.log_x else {}),
        }
        layout[f"yaxis{tag}"] = {
            "domain": [max(top - height, 0.0), top],
            "anchor": f"x{tag}",
            "type": "log" if figure.log_y else "linear",
            "title": {"text": figure.y if column == 0 else ""},
            "exponentformat": "power",
        }
        found = limits(figure)
        if found:
            layout[f"yaxis{tag}"]["range"] = [math.log10(found[0]), math.log10(found[1])]
        layout["annotations"].append(
            {
                "text": panel.title,
                "x": left + width / 2,
                "y": top,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "center",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
        if figure.target is not None:
            layout["shapes"].append(
                {
                    "type": "line",
                    "xref": f"x{tag} domain",
                    "yref": f"y{tag}",
                    "x0": 0,
                    "x1": 1,
                    "y0": figure.target,
                    "y1": figure.target,
                    "line": {"dash": "dash", "width": 1, "color": "#999"},
                }
            )
        for series in panel.series:
            data += _traces(series, tag, colour(series.name, names), series.name not in shown, figure.log_y)
            shown.add(series.name)
    return {"data": data, "layout": layout}


def _traces(series: Series, tag: str, shade: str, legend: bool, log_y: bool) -> list[dict[str, Any]]:
    axes = {"xaxis": f"x{tag}", "yaxis": f"y{tag}", "legendgroup": series.name, "x": list(series.x), "type": "scatter"}
    mode = "lines+markers" if len(series.x) < 12 else "lines"
    line = {
        **axes,
        "name": series.name,
        "y": _clean(series.y, log_y),
        "mode": mode,
        "line": {"color": shade, "width": 2},
        "showlegend": legend,
    }
    if series.low is None or series.high is None:
        return [line]
    side = {**axes, "mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    red, green, blue = (int(shade[i : i + 2], 16) for i in (1, 3, 5))
    low = {**side, "y": _clean(series.low, log_y)}
    high = {**side, "y": _clean(series.high, log_y), "fill": "tonexty", "fillcolor": f"rgba({red},{green},{blue},0.15)"}
    return [low, high, line]


def _clean(values: Sequence[float], log_y: bool) -> list[float | None]:
    """Return what JSON and a logarithmic axis take: zero becomes 1e-16, what is not finite a gap."""
    found = [max(value, 1e-16) if log_y else value for value in values]
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in found]
