"""One self-contained HTML page of all results on disk: tables and figures, with command, version, machine and date.

It needs plotly (``pip install "pyasmg[bench]"``), whose script goes into the page, so that it opens anywhere without a
network. Figures that a benchmark saved as PNG only are embedded as they are.

    python -m bench report [--results FOLDER] [--output bench/results/report.html]
"""

from __future__ import annotations

import argparse
import base64
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench import common
from bench.report_figures import load, plotly

_LONG = 40  # rows from which on a table is folded

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; margin: 0; background: #fff; }
main { max-width: 1240px; margin: 0 auto; padding: 1.5rem; }
nav { columns: 3; font-size: 14px; } nav a { display: block; color: #1f5fa8; text-decoration: none; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { margin: 2.5rem 0 .3rem; border-top: 2px solid #dde3ea; padding-top: 1rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.origin { color: #5b6675; font-size: 13px; } code { background: #eef1f5; padding: .1em .35em; border-radius: 3px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .6rem; text-align: right; border-bottom: 1px solid #e6eaef; white-space: nowrap; }
th { background: #f3f5f8; } th:first-child, td:first-child { text-align: left; }
.note { color: #5b6675; font-size: 13px; } img { max-width: 100%; } summary { cursor: pointer; color: #1f5fa8; }
"""


@dataclass
class Results:
    """What one command left behind."""

    command: str
    machine: str
    tables: list[tuple[str, list[str], list[list[str]]]] = field(default_factory=list)
    figures: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    pictures: list[tuple[str, bytes]] = field(default_factory=list)


def collect(folder: Path) -> list[Results]:
    """Read every CSV, figure and PNG of a folder, grouped by the command that wrote them."""
    found: dict[tuple[str, str], Results] = {}

    def group(command: str, machine: str) -> Results:
        return found.setdefault((command, machine), Results(command, machine))

    owner: dict[str, Results] = {}
    for path in sorted(folder.glob("*.csv")):
        origin, header, rows = read_table(path)
        owner[path.stem] = group(*origin)
        owner[path.stem].tables.append((path.stem, header, rows))
    drawn = set()
    for path in sorted(folder.glob("*.figure.json")):
        try:
            content = json.loads(path.read_text())
            results = group(content["command"], content["machine"])
            results.figures.append((content["name"], plotly(load(content)) | {"note": content["note"]}))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a figure of this version ({type(error).__name__}: {error}).") from error
        drawn.add(content["name"])
    for path in sorted(folder.glob("*.png")):
        if path.stem not in drawn:
            results = owner.get(path.stem) or group("not recorded", "")
            results.pictures.append((path.stem, path.read_bytes()))
    return sorted(found.values(), key=lambda r: r.command)


def read_table(path: Path) -> tuple[tuple[str, str], list[str], list[list[str]]]:
    """Return ((command, machine), header, rows) of a CSV that :class:`bench.common.Table` wrote."""
    lines = path.read_text().splitlines()
    comments = [line[1:].strip() for line in lines if line.startswith("#")][:2]
    rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    command, machine = (*comments, "not recorded", "")[:2] if comments else ("not recorded", "")
    return (command, machine), rows[0] if rows else [], rows[1:]


def page(results: Sequence[Results], script: str) -> str:
    """Return the HTML page; ``script`` is plotly's."""
    names = [(f"part-{i}", r) for i, r in enumerate(results)]
    links = "".join(f'<a href="#{name}">{escape(r.command)}</a>' for name, r in names)
    calls: list[str] = []
    parts = "".join(_part(name, r, calls) for name, r in names)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><title>pyasmg: benchmarks</title><style>{_STYLE}</style>
<script>{script}</script></head><body><main>
<h1>pyasmg: benchmarks</h1>
<p class="origin">Written {escape(common.machine())}. How to read each table: <code>bench/README.md</code>.</p>
<nav>{links}</nav>
{parts or "<p>No results on disk yet: python -m bench run NAME.</p>"}
</main><script>
{chr(10).join(calls)}
</script></body></html>
"""


def _part(name: str, results: Results, calls: list[str]) -> str:
    blocks = []
    for figure_name, content in results.figures:
        identity = f"figure-{figure_name}"
        spec = json.dumps({"data": content["data"], "layout": content["layout"]}, allow_nan=False).replace(
            "<", "\\u003c"
        )
        calls.append(
            f"{{ const f = {spec}; Plotly.newPlot({json.dumps(identity)}, f.data, f.layout, {{responsive: true}}); }}"
        )
        note = f'<p class="note">{escape(content["note"])}</p>' if content["note"] else ""
        height = content["layout"]["height"]
        blocks.append(f'<div class="figure" id="{escape(identity)}" style="min-height:{height}px"></div>{note}')
    for picture_name, data in results.pictures:
        source = base64.b64encode(data).decode()
        blocks.append(
            f'<h3>{escape(picture_name)}</h3><img alt="{escape(picture_name)}" src="data:image/png;base64,{source}">'
        )
    blocks += [_table(*table) for table in results.tables]
    return f"""<section id="{name}"><h2>{escape(results.command.removeprefix("python -m "))}</h2>
<p class="origin"><code>{escape(results.command)}</code> {escape(results.machine)}</p>
{"".join(blocks)}</section>
"""


def _table(name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(_short(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<div class="scroll"><table id="table-{escape(name)}"><tr>{head}</tr>{body}</table></div>'
    if len(rows) >= _LONG:
        return f"<h3>{escape(name)}</h3><details><summary>{len(rows)} rows</summary>{table}</details>"
    return f"<h3>{escape(name)}</h3>{table}"


def _short(cell: str) -> str:
    """Return a number with four digits; other text as it is."""
    try:
        return f"{float(cell):.4g}" if any(c in cell for c in ".eE") else cell
    except ValueError:
        return cell


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page; return the exit status."""
    command = argparse.ArgumentParser(prog="python -m bench report", description=(__doc__ or "").splitlines()[0])
    command.add_argument("--results", type=Path, default=common.RESULTS, help="the folder (%(default)s)")
    command.add_argument("--output", type=Path, help="the page (report.html in that folder)")
    options = command.parse_args(arguments)
    if find_spec("plotly") is None:
        print('the report needs plotly: pip install "pyasmg[bench]"')
        return 1
    from plotly.offline import get_plotlyjs

    if not options.results.is_dir():
        print(f"no results in {options.results}: python -m bench run NAME writes them.")
        return 1
    results = collect(options.results)
    output = options.output or options.results / "report.html"
    output.write_text(page(results, get_plotlyjs()), encoding="utf-8")
    tables, figures = sum(len(r.tables) for r in results), sum(len(r.figures) + len(r.pictures) for r in results)
    print(f"{output}: {tables} tables and {figures} figures of {len(results)} commands")
    return 0
