"""What is known of a stored run, as plain data: for ``pyasmg show``, ``pyasmg watch`` and scripts of one's own."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ._cli_output import _plain
from ._store_holder import is_held
from ._store_lock import StoreError
from ._store_read import RunReader

__all__ = ["read_run", "summarize"]

_COUNTERS = ("requests", "evaluations", "retries", "unknown")
_DAMAGE = (sqlite3.Error, OSError, ValueError, TypeError, LookupError, AttributeError)  # of reading nonsense


def read_run(path: str | os.PathLike[str], *, n_generations: int | None = None) -> dict[str, Any]:
    """Return what is known of a stored run, also while another process writes it; see :func:`summarize`.

    Parameters
    ----------
    path : path-like
        The file; it is never changed.
    n_generations : int, optional
        How many generations to list, the last ones; default: all.

    Raises
    ------
    StoreError
        It is missing, no run store, damaged, locked, or holds no run yet.
    """
    with reading(path):
        reader = RunReader(path)
    with reader:
        return summarize(reader, n_generations=n_generations)


def summarize(reader: RunReader, *, n_generations: int | None = None) -> dict[str, Any]:
    """Return what is known of a run: plain data that ``json.dumps`` takes, None for numbers that are not finite.

    Parameters
    ----------
    reader : RunReader
        See :class:`pyasmg.store.RunReader`.
    n_generations : int, optional
        How many generations to list, the last ones; default: all.

    Returns
    -------
    dict
        ``path``; ``state`` ("running", "ended", or "stopped": nobody works on it, but nobody has ended it either; the
        process was killed) and ``message``, the same in words; ``settings``; ``progress`` (counts, cost and seconds
        over all sessions, and the budgets); ``counters``, summed over all sessions; ``failures`` by reason;
        ``final``, the values at the final mean, or None; ``sessions``; ``generations``: for each its number,
        evaluations and failures so far, mean and best of each objective, weights, largest std, stationarity, time.

    Raises
    ------
    StoreError
        The file cannot be read.
    ValueError
        ``n_generations`` is negative.
    """
    if n_generations is not None and n_generations < 0:
        raise ValueError(f"`n_generations` must be >= 0; got {n_generations}.")
    with reading(reader.path):
        return _summarize(reader, n_generations)


@contextlib.contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into a StoreError."""
    try:
        yield
    except _DAMAGE as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoreError(f"{os.fspath(path)!r} cannot be read: {reason}. It was left as it is.") from error


def _summarize(reader: RunReader, n_generations: int | None) -> dict[str, Any]:
    held = is_held(reader.path)
    sessions = reader.sessions()
    held = held or is_held(reader.path)  # it may have begun between the two
    n_told = _one(reader, "SELECT coalesce(max(generation) + 1, 0) FROM generations")
    rows = reader.generations(0 if n_generations is None else n_told - n_generations)
    last_entry = _last_entry(reader.path)
    state, message = _state(held, sessions, last_entry)
    run: dict[str, Any] = {
        "format": "pyasmg.Run",
        "version": 1,
        "path": str(reader.path),
        "state": state,
        "message": message,
        "held": held,
        "settings": reader.settings(),
        "progress": _progress(reader, sessions, n_told, last_entry, running=state == "running"),
        "counters": {name: sum(int(session["counters"].get(name, 0)) for session in sessions) for name in _COUNTERS},
        "failures": reader.failures_by_reason(),
        "final": reader.final(),
        "sessions": sessions,
        "generations": rows,
    }
    plain: dict[str, Any] = _plain(run)
    return plain


def _progress(
    reader: RunReader, sessions: list[dict[str, Any]], n_told: int, last_entry: float, *, running: bool
) -> dict[str, Any]:
    totals, settings = reader.totals(), reader.settings()
    in_generation = _one(
        reader, "SELECT count(*) FROM evaluations WHERE generation >= ? AND candidate >= 0 AND status < 2", n_told
    )
    seconds = float(totals["wall_seconds"])
    if running and sessions:  # its seconds were written at the end of its last generation
        seconds += max(0.0, time.time() - sessions[-1]["started"] - sessions[-1]["seconds"])
    answered = totals["ok"] + totals["failed"]
    return {
        "generations": n_told,
        "evaluations": answered,
        "ok": totals["ok"],
        "failed": totals["failed"],
        "open": totals["open"],
        "in_generation": in_generation,
        "attempts": totals["attempts"],
        "retries": totals["attempts"] - totals["evaluations"],
        "cost": totals["cost"],
        "seconds": seconds,
        "evaluation_seconds": totals["evaluation_seconds"],
        "last_entry": last_entry,
        **{name: settings.get(name) for name in ("max_evaluations", "max_iterations", "max_cost", "max_seconds")},
    }


def _state(held: bool | None, sessions: list[dict[str, Any]], last_entry: float) -> tuple[str, str]:
    if sessions and sessions[-1]["ended"] is not None:
        return "ended", str(sessions[-1]["ended"])
    who = "{process} on {host}".format(**sessions[-1]) if sessions else ""
    if held:
        return "running", f"process {who} works on it" if who else "a process works on it"
    old = f"the last entry is {age(time.time() - last_entry)} old"
    if held is None:
        return "running", f"process {who} has not ended it; whether it still works on it cannot be told; {old}"
    gone = f" (process {who} is gone and did not end it)" if who else ""
    return "stopped", f"no process works on it{gone}; {old}"


def age(seconds: float) -> str:
    """Put a time span into words."""
    for unit, size in (("days", 172_800.0), ("h", 7200.0), ("min", 120.0)):
        if seconds >= size:
            return f"{seconds / {'days': 86_400.0, 'h': 3600.0, 'min': 60.0}[unit]:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _last_entry(path: Path) -> float:
    """Return when something was last written, in seconds since 1970."""
    times = [path.stat().st_mtime]
    with contextlib.suppress(OSError):
        times.append(path.with_name(path.name + "-wal").stat().st_mtime)
    return max(times)


def _one(reader: RunReader, statement: str, *values: int) -> int:
    return int(reader._connection.execute(statement, values).fetchone()[0])
