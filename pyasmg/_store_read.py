"""Reading a run store, also while another process writes it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import _store_schema as schema
from ._store_lock import StoreError
from .evaluation import Record


class RunReader:
    """Reads a run store, also while another process writes it.

    Parameters
    ----------
    path : path-like
        The file.

    Raises
    ------
    StoreError
        It is not a run store, is damaged, or holds no run yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise StoreError(f"there is no run store {str(self.path)!r}.")
        if not os.access(self.path, os.R_OK):
            raise StoreError(f"{str(self.path)!r} cannot be read by this user.")
        self._connection = connect(self.path, 30.0, write=False)
        try:
            check(self._connection, self.path, empty_is_fine=False)
        except BaseException:
            self._connection.close()
            raise

    def settings(self) -> dict[str, Any]:
        """Return the settings of the run."""
        return read_settings(self._connection)

    def generations(self, first: int = 0) -> list[dict[str, Any]]:
        """Return the summaries of the generations told, from number ``first`` on."""
        return read_generations(self._connection, first)

    def evaluations(self) -> Iterator[dict[str, Any]]:
        """Yield every evaluation: generation, candidate, status, f (list or None), seconds, attempts, cost, error."""
        statement = (
            "SELECT generation, candidate, status, f, seconds, attempts, cost, reason, checksum FROM evaluations "
            "LEFT JOIN errors ON errors.id = evaluations.error ORDER BY generation, candidate"
        )
        for row in self._connection.execute(statement):
            generation, candidate, status, f, seconds, attempts, cost, reason, expected = row
            _verify(self.path, generation, candidate, status, f, expected)
            yield {
                "generation": generation,
                "candidate": candidate,
                "status": ("ok", "failed", "open")[status],
                "f": None if f is None else schema.unpack(f).tolist(),
                "seconds": seconds,
                "attempts": attempts,
                "cost": cost,
                "error": reason or "",
            }

    def failures_by_reason(self) -> list[dict[str, Any]]:
        """Return reason, number of attempts that failed so, and how many of them were final; most frequent first."""
        statement = (
            "SELECT reason, count(*), total(status = 1 AND attempt = attempts) FROM failures "
            "JOIN errors ON errors.id = failures.error JOIN evaluations USING (generation, candidate) "
            "GROUP BY reason ORDER BY count(*) DESC, reason"
        )
        rows = self._connection.execute(statement)
        return [{"reason": reason, "count": count, "final": int(final)} for reason, count, final in rows]

    def sessions(self) -> list[dict[str, Any]]:
        """Return when, where, how long and with which counters the run was worked on."""
        names = ("id", "started", "seconds", "host", "process", "versions", "counters", "ended")
        rows = self._connection.execute(f"SELECT {', '.join(names)} FROM sessions ORDER BY id")
        sessions = [dict(zip(names, row, strict=True)) for row in rows]
        for session in sessions:
            session["versions"] = json.loads(session["versions"])
            session["counters"] = json.loads(session["counters"])
        return sessions

    def totals(self) -> dict[str, Any]:
        """Return the numbers of evaluations by status, attempts, cost, and seconds."""
        statement = (
            "SELECT count(*), total(status = 0), total(status = 1), total(status = 2), total(attempts), total(cost), "
            "total(seconds) FROM evaluations"
        )
        n, ok, failed, still_open, attempts, cost, seconds = self._connection.execute(statement).fetchone()
        wall = self._connection.execute("SELECT total(seconds) FROM sessions").fetchone()[0]
        return {
            "evaluations": n,
            "ok": int(ok),
            "failed": int(failed),
            "open": int(still_open),
            "attempts": int(attempts),
            "cost": cost,
            "evaluation_seconds": seconds,
            "wall_seconds": wall,
        }

    def final(self) -> dict[str, Any] | None:
        """Return the evaluation of the final mean, if there is one."""
        statement = "SELECT max(generation) FROM evaluations WHERE candidate = -1"
        generation = self._connection.execute(statement).fetchone()[0]
        if generation is None:
            return None
        record = read_records(self._connection, self.path, generation)[-1]
        f = None if record.values is None else record.values.tolist()
        return {"generation": generation, "f": f, "error": record.error}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> RunReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def connect(path: Path, patience: float, *, write: bool) -> sqlite3.Connection:
    """Open the file without touching it."""
    mode = "rwc" if write else "ro"
    uri = path.resolve().as_uri() + f"?mode={mode}"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreError(f"{str(path)!r} cannot be opened: {error}.") from error
    return connection


def check(connection: sqlite3.Connection, path: Path, *, empty_is_fine: bool) -> bool:
    """Return whether there is a run; raise StoreError for any file that is not a good run store."""
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if empty and empty_is_fine:
            return False
        if empty:
            raise StoreError(f"{str(path)!r} holds no run yet.")
        if application != schema.APPLICATION_ID:
            raise StoreError(f"{str(path)!r} is an SQLite file of another program, no run store.")
        if version != schema.SCHEMA_VERSION:
            raise StoreError(
                f"{str(path)!r} is a run store of version {version}; this pyasmg reads version {schema.SCHEMA_VERSION}."
            )
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(f"{str(path)!r} is damaged or no run store: {error}. It was left as it is.") from error
    if verdict != "ok":
        words = " ".join(str(verdict).split())
        raise StoreError(f"{str(path)!r} is damaged: {words}. It was left as it is.")
    return True


def read_settings(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return the settings by name."""
    return {name: json.loads(value) for name, value in connection.execute("SELECT name, value FROM settings")}


def read_generations(connection: sqlite3.Connection, first: int = 0) -> list[dict[str, Any]]:
    names = (
        "generation",
        "n_evaluations",
        "n_failed",
        "mean",
        "best",
        "weights",
        "max_std",
        "stationarity",
        "finished",
    )
    statement = f"SELECT {', '.join(names)} FROM generations WHERE generation >= ? ORDER BY generation"
    rows = [dict(zip(names, row, strict=True)) for row in connection.execute(statement, (first,))]
    for row in rows:
        for name in ("mean", "best", "weights"):
            row[name] = schema.unpack(row[name])
        row["stationarity"] = np.nan if row["stationarity"] is None else row["stationarity"]
    return rows


_RECORD = (
    "SELECT generation, candidate, status, f, seconds, attempts, cost, reason, traceback, checksum FROM evaluations "
    "LEFT JOIN errors ON errors.id = evaluations.error "
)


def read_records(connection: sqlite3.Connection, path: Path, generation: int) -> dict[int, Record]:
    """Return the evaluations of one generation by candidate."""
    rows = connection.execute(_RECORD + "WHERE generation = ?", (generation,))
    return {record.candidate: record for _, record in (_record(path, row) for row in rows)}


def read_failures(connection: sqlite3.Connection, path: Path) -> Iterator[tuple[int, Record]]:
    """Yield every evaluation that failed for good."""
    for row in connection.execute(_RECORD + "WHERE status = 1 ORDER BY generation, candidate"):
        yield _record(path, row)


def _record(path: Path, row: tuple[Any, ...]) -> tuple[int, Record]:
    generation, candidate, status, f, seconds, attempts, cost, reason, traceback, check = row
    _verify(path, generation, candidate, status, f, check)
    return generation, Record(
        candidate=candidate,
        values=None if f is None else schema.unpack(f),
        error=reason or "",
        traceback=traceback or "",
        seconds=np.nan if seconds is None else seconds,
        attempts=attempts,
        cost=cost,
        open=status == schema.OPEN,
    )


def _verify(path: Path, generation: int, candidate: int, status: int, f: bytes | None, check: int) -> None:
    if schema.checksum(generation, candidate, status, f) != check:
        raise StoreError(
            f"{str(path)!r} is damaged: the values of generation {generation}, candidate {candidate} do not match "
            "their checksum. It was left as it is."
        )
