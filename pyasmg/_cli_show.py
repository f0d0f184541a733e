"""A stored run as tables."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ._settings import _words
from .report import age

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

_LONGEST_TEXT = 200


def console() -> Console:
    """Return where the tables go: as wide as the terminal, or wide."""
    from rich.console import Console

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a reason may hold what this terminal cannot show
    return Console(width=None if sys.stdout.isatty() else 200)


def run_tables(run: dict[str, Any]) -> Group:
    """Return everything about a run."""
    from rich.console import Group

    parts = [
        _overview(run),
        _pairs("settings", ((name, _setting(value)) for name, value in run["settings"].items() if value is not None)),
        totals_table(run),
        generations_table(run["generations"], run["progress"]["generations"]),
        failures_table(run["failures"]),
        _sessions_table(run["sessions"]),
    ]
    return Group(*(part for part in parts if part is not None))


def _overview(run: dict[str, Any]) -> Table:
    rows: list[tuple[str, Any]] = [("state", state_words(run))]
    if run["final"] is not None:
        final = run["final"]
        where = f"  (at the mean after {final['generation']:,} generations)"
        value = vector(final["f"], 8) if final["f"] is not None else f"failed: {final['error']}"
        rows.append(("final values", value + where))
    return _pairs(run["path"], rows)


def state_words(run: dict[str, Any]) -> str:
    """Return the state of a run in one line."""
    return f"{run['state']}: {run['message']}"


def totals_table(run: dict[str, Any]) -> Table:
    """Return counts, cost and time, beside the budgets."""
    progress, counters = run["progress"], run["counters"]
    table = _table("progress", [("", "left"), ("so far", "right"), ("of at most", "right")])
    rows = [
        ("generations", f"{progress['generations']:,}", _most(progress["max_iterations"], ",")),
        ("evaluations", f"{progress['evaluations']:,}", _most(progress["max_evaluations"], ",")),
        ("  of the generation that is open", f"{progress['in_generation']:,}", ""),
        ("  failed", f"{progress['failed']:,}", ""),
        ("  to be asked for again", f"{progress['open']:,}", ""),
        ("retries", f"{progress['retries']:,}", ""),
        ("requests", f"{counters['requests']:,}", ""),
        ("unknown, perhaps billed", f"{counters['unknown']:,}", ""),
        ("cost", f"{progress['cost']:,.6g}", _most(progress["max_cost"], ",.6g")),
        ("seconds", f"{progress['seconds']:,.1f}", _most(progress["max_seconds"], ",.6g")),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def generations_table(rows: Sequence[dict[str, Any]], n_told: int) -> Table | None:
    """Return one line per generation."""
    if not rows:
        return None
    names = ("generation", "evaluations", "failed", "mean", "best", "weights", "largest std", "stationarity")
    title = "generations" if len(rows) == n_told else f"the last {len(rows):,} of {n_told:,} generations"
    table = _table(title, [(name, "right") for name in names])
    for row in rows:
        vectors = [vector(row[name]) for name in ("mean", "best", "weights")]
        counts = [f"{row[name]:,}" for name in ("generation", "n_evaluations", "n_failed")]
        table.add_row(*counts, *vectors, figure(row["max_std"]), figure(row["stationarity"]))
    return table


def failures_table(rows: Sequence[dict[str, Any]], n_shown: int = 20) -> Table | None:
    """Return the reasons, most frequent first."""
    if not rows:
        return None
    table = _table("failures by reason", [("count", "right"), ("for good", "right"), ("reason", "left")])
    for row in rows[:n_shown]:
        table.add_row(f"{row['count']:,}", f"{row['final']:,}", printable(row["reason"]))
    if rows[n_shown:]:
        counts = [f"{sum(row[name] for row in rows[n_shown:]):,}" for name in ("count", "final")]
        table.add_row(*counts, f"{len(rows) - n_shown:,} other reasons")
    return table


def _sessions_table(rows: Sequence[dict[str, Any]]) -> Table | None:
    if not rows:
        return None
    names = [("session", "right"), ("started", "right"), ("seconds", "right"), ("requests", "right")]
    table = _table("sessions", [*names, ("process", "right"), ("host", "left"), ("ended", "left")])
    for row in rows[-20:]:
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["started"]))
        counts = f"{row['seconds']:,.1f}", f"{row['counters'].get('requests', 0):,}", str(row["process"])
        ended = "-" if row["ended"] is None else row["ended"]
        table.add_row(str(row["id"]), started, *counts, printable(row["host"]), printable(ended))
    return table


def generation_line(row: dict[str, Any], run: dict[str, Any]) -> str:
    """Return a generation as one plain line."""
    most = run["progress"]["max_evaluations"]
    of = "" if most is None else f" of {most}"
    return (
        f"generation {row['generation']}  evaluations {row['n_evaluations']}{of}  failed {row['n_failed']}  "
        f"mean {vector(row['mean'])}  best {vector(row['best'])}  weights {vector(row['weights'])}  "
        f"largest std {figure(row['max_std'])}  stationarity {figure(row['stationarity'])}"
    )


def totals_line(run: dict[str, Any]) -> str:
    """Return the totals as one plain line."""
    progress = run["progress"]
    return (
        f"{progress['generations']} generations  {progress['evaluations']} evaluations  {progress['failed']} failed  "
        f"{progress['retries']} retries  cost {progress['cost']:.6g}  {age(progress['seconds'])}"
    )


# ------------------------------------------------------------------------------------------- texts and figures


def printable(text: Any) -> Text:
    """Make text of others fit for a terminal: no markup, no control characters, not too long."""
    from rich.text import Text

    return Text(clean(str(text)))


def clean(text: str) -> str:
    """Show control characters as such, and cut what is too long."""
    words = " ".join(text.split())
    words = words if len(words) <= _LONGEST_TEXT else words[: _LONGEST_TEXT - 3] + "..."
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in words)


def figure(value: float | None) -> str:
    """Return a number in few digits."""
    return "-" if value is None else f"{value:.4g}"


def vector(values: Sequence[float | None] | None, n_shown: int = 4) -> str:
    """Return few of the numbers."""
    if not values:
        return "-"
    if len(values) <= n_shown:
        return " ".join(figure(value) for value in values)
    ends = [*map(figure, values[: n_shown - 1]), "...", figure(values[-1])]
    return " ".join(ends) + f" ({len(values):,})"


def _setting(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        from rich.text import Text

        return Text(f"{value:,}" if isinstance(value, int) and value < 10**9 else str(value), justify="right")
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and "checksum" in value:
        return _words(value)
    return json.dumps(value)


def _most(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def _table(title: str, columns: Iterable[tuple[str, Any]]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(clean(title)), title_justify="left", box=SIMPLE)
    for name, justify in columns:
        table.add_column(name, justify=justify)
    return table


def _pairs(title: str, rows: Iterable[tuple[str, Any]]) -> Table:
    from rich.text import Text

    table = _table(title, [("", "left"), ("", "left")])
    table.show_header = False
    for name, value in rows:
        table.add_row(printable(name), value if isinstance(value, Text) else printable(value))
    return table
