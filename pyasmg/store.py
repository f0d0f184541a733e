"""The run store: one SQLite file that a run survives in."""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _store_schema as schema
from ._settings import BUDGETS
from ._store_lock import StoreError, StoreLock
from ._store_read import RunReader, check, connect, read_failures, read_generations, read_records, read_settings
from ._version import __version__
from .evaluation import Counters, Record

if TYPE_CHECKING:
    from .asmg import ASMG

Work = Callable[[sqlite3.Connection], Any]

__all__ = ["RunReader", "RunStore", "StoreError"]

_SYNC_SHARE = 0.005  # of the time may go into waiting for the disk
_SNAPSHOT_SHARE = 0.005  # of the time may go into saving the optimizer
_PAGE_BYTES = 1024  # a commit writes whole pages, and an evaluation has about 60 bytes
_WAL_PAGES = 16_000
_SESSION_SECONDS = 1.0  # between two updates of seconds and counters


class RunStore:
    """Writes one run; see :class:`RunReader` for reading.

    Parameters
    ----------
    path : path-like
        The file; made if it does not exist.
    resume : "auto" or "never"
        Whether a run that is found there may be continued.
    patience : float
        Seconds to wait while another program holds the file locked.

    Raises
    ------
    StoreError
        The file cannot be used: it is something else, damaged, read-only, locked, or of another run. It is unchanged.

    Notes
    -----
    Every call of :meth:`record` is one transaction in write-ahead mode: killing the process at any instant loses
    nothing that was recorded. The disk is waited for as often as that takes at most 0.5 % of the time: each time where
    evaluations take seconds. A power cut loses what came after the last time.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: str = "auto", patience: float = 30.0) -> None:
        if resume not in ("auto", "never"):
            raise ValueError(f"`resume` must be 'auto' or 'never'; got {resume!r}.")
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
            raise TypeError(f"`store` must be the path of a file; got {path!r}.")
        self.path = Path(path)
        if not self.path.parent.is_dir() or self.path.is_dir():
            raise StoreError(f"`store` must be a file in a folder that exists; got {str(self.path)!r}.")
        if self.path.exists() and not os.access(self.path, os.W_OK):
            raise StoreError(f"{str(self.path)!r} cannot be written: it is read-only for this user.")
        self._lock = StoreLock(self.path)
        self._connection: sqlite3.Connection | None = None
        self._session: int | None = None
        self._writes = False
        self._started = time.monotonic()
        self._synced = self._saved = self._session_saved = -math.inf
        self._sync_cost = self._snapshot_cost = 0.0
        self._known_errors: dict[tuple[str, str], int] = {}
        try:
            self._connection = connect(self.path, patience, write=True)
            self.has_run = check(self._connection, self.path, empty_is_fine=True)
            if self.has_run and resume == "never":
                raise StoreError(f"{str(self.path)!r} holds a run already; resume='auto' continues it.")
        except BaseException:
            self.close()
            raise

    # ------------------------------------------------------------------------------------------- a run begins

    def begin(self, settings: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Write the settings and the state before the first generation: all or nothing."""

        def work(connection: sqlite3.Connection) -> None:
            for statement in schema.TABLES.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
            rows = [(name, json.dumps(value)) for name, value in settings.items()]
            connection.executemany("INSERT INTO settings VALUES (?, ?)", rows)
            connection.execute("INSERT INTO snapshots VALUES (0, ?)", (schema.state_to_bytes(dict(state)),))

        self._write(work, sync=True)
        self.has_run = True

    def settings(self) -> dict[str, Any]:
        """Return the settings of the run."""
        return read_settings(self._open)

    def begin_session(self, settings: Mapping[str, Any]) -> None:
        """Note that this process works on the run from now on, with these settings as far as they may change."""
        versions = {"pyasmg": __version__, "numpy": np.__version__, "python": platform.python_version()}
        where = socket.gethostname(), os.getpid()
        row = (time.time(), 0.0, *where, json.dumps(versions), json.dumps(asdict(Counters())))
        budgets = [(name, json.dumps(value)) for name, value in settings.items() if name in BUDGETS]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", budgets)
            fields = "started, seconds, host, process, versions, counters"
            statement = f"INSERT INTO sessions ({fields}) VALUES (?, ?, ?, ?, ?, ?)"
            self._session = connection.execute(statement, row).lastrowid

        self._started = time.monotonic()
        self._write(work)

    # ------------------------------------------------------------------------------------------- a run goes on

    def record(self, generation: int, records: Sequence[Record]) -> str:
        """Save evaluations in one transaction. Return "store" if nothing more should be started, else "".

        When the disk is full, the reserve is given back to it, the evaluations are saved there, and "store" is
        returned: what is still running can then be saved as well.

        Raises
        ------
        StoreError
            They could not be saved; its attribute ``unsaved`` holds them.
        """

        def work(connection: sqlite3.Connection) -> None:
            for record in records:
                status = schema.OK if record.values is not None else schema.OPEN if record.open else schema.FAILED
                f = None if record.values is None else schema.pack(record.values)
                seconds = record.seconds if math.isfinite(record.seconds) else None
                error = self._error_number(connection, record) if record.error else None
                check = schema.checksum(generation, record.candidate, status, f)
                row = (generation, record.candidate, status, f, seconds, record.attempts, record.cost, error, check)
                connection.execute("INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                if error is not None:
                    failure = (generation, record.candidate, record.attempts, error)
                    connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", failure)

        try:
            self._write(work, single=len(records) == 1 and not records[0].error)
        except StoreError as error:
            error.unsaved = (generation, tuple(records))
            raise
        return "" if self._lock.has_reserve else "store"

    def _error_number(self, connection: sqlite3.Connection, record: Record) -> int:
        key = _clean(record.error), _clean(record.traceback)
        number = self._known_errors.get(key)
        if number is None:
            connection.execute("INSERT OR IGNORE INTO errors (reason, traceback) VALUES (?, ?)", key)
            statement = "SELECT id FROM errors WHERE reason = ? AND traceback = ?"
            number = int(connection.execute(statement, key).fetchone()[0])
            if len(self._known_errors) < 1000:
                self._known_errors[key] = number
        return number

    def told(self, opt: ASMG, mean: npt.NDArray[np.float64], best: npt.NDArray[np.float64], counters: Counters) -> None:
        """Save the summary of the generation just told, and the optimizer if that is due."""
        weights = opt.weights
        stationarity = opt.stationarity
        row = (
            opt.n_iterations - 1,
            opt.n_evaluations,
            opt.n_failed,
            schema.pack(mean),
            schema.pack(best),
            schema.pack(np.empty(0) if weights is None else weights),
            float(opt.stds.max()),
            stationarity if np.isfinite(stationarity) else None,
            time.time(),
        )

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO generations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            if not single:
                self._update_session(connection, counters)

        single = time.monotonic() - self._session_saved < _SESSION_SECONDS
        self._write(work, single=single)
        if time.monotonic() - self._saved >= max(1.0, self._snapshot_cost / _SNAPSHOT_SHARE):
            self.save(opt)

    def save(self, opt: ASMG) -> None:
        """Save the optimizer; the start and the last two snapshots are kept."""
        start = time.monotonic()
        blob = schema.state_to_bytes(opt.state_dict())

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO snapshots VALUES (?, ?)", (opt.n_iterations, blob))
            keep = "SELECT generation FROM snapshots ORDER BY generation DESC LIMIT 2"
            connection.execute(f"DELETE FROM snapshots WHERE generation > 0 AND generation NOT IN ({keep})")

        self._write(work)
        self._saved = time.monotonic()
        self._snapshot_cost = self._saved - start

    def end_session(self, how: str, counters: Counters) -> None:
        """Note how the session ended."""

        def work(connection: sqlite3.Connection) -> None:
            self._update_session(connection, counters)
            connection.execute("UPDATE sessions SET ended = ? WHERE id = ?", (_clean(how), self._session))

        self._write(work, sync=True)

    def _update_session(self, connection: sqlite3.Connection, counters: Counters) -> None:
        seconds = time.monotonic() - self._started
        statement = "UPDATE sessions SET seconds = ?, counters = ? WHERE id = ?"
        connection.execute(statement, (seconds, json.dumps(asdict(counters)), self._session))
        self._session_saved = time.monotonic()

    # ------------------------------------------------------------------------------------------- what is known

    def records(self, generation: int) -> dict[int, Record]:
        """Return the evaluations of one generation by candidate."""
        return read_records(self._open, self.path, generation)

    def failures(self) -> Iterator[tuple[int, Record]]:
        """Yield every evaluation that failed for good, with its generation."""
        return read_failures(self._open, self.path)

    def generations(self) -> list[dict[str, Any]]:
        """Return the summaries of the generations told."""
        return read_generations(self._open)

    def snapshots(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the saved states that can be read, last first."""
        for number, blob in self._open.execute("SELECT generation, state FROM snapshots ORDER BY generation DESC"):
            with contextlib.suppress(ValueError):
                yield number, schema.state_from_bytes(blob)

    def n_means(self, before: int) -> int:
        """Return how many final means were evaluated before generation ``before``: the run was extended each time."""
        statement = "SELECT count(*) FROM evaluations WHERE candidate = -1 AND generation < ?"
        return int(self._open.execute(statement, (before,)).fetchone()[0])

    def generations_of(self, candidate: int) -> list[int]:
        """Return the generations in which a candidate, as a rule one that is no row of ``ask()``, was evaluated."""
        statement = "SELECT generation FROM evaluations WHERE candidate = ? ORDER BY generation"
        return [int(row[0]) for row in self._open.execute(statement, (candidate,))]

    def spent(self) -> dict[str, float]:
        """Return seconds and cost so far, and the most that one evaluation took of each."""
        seconds = self._open.execute("SELECT total(seconds) FROM sessions").fetchone()[0]
        statement = "SELECT total(cost), max(cost / attempts), max(seconds) FROM evaluations"
        cost, largest, longest = self._open.execute(statement).fetchone()
        return {"seconds": seconds, "cost": cost, "largest_cost": largest or 0.0, "longest": longest or 0.0}

    # ------------------------------------------------------------------------------------------- the file

    def _prepare(self) -> None:
        """Go over to writing: a store that is only looked at stays as it is, byte by byte."""
        self._writes = True
        try:
            self._open.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file only
            self._open.execute("PRAGMA journal_mode = WAL").fetchone()
            self._open.execute("PRAGMA synchronous = NORMAL")
            self._open.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        except sqlite3.Error as error:
            raise StoreError(f"{str(self.path)!r} cannot be written: {error}.") from error

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{str(self.path)!r} is closed.")
        return self._connection

    def _write(self, work: Work, *, sync: bool = False, single: bool = False) -> None:
        """Make one transaction of ``work``; when the disk is full, once more with the reserve given back to it.

        ``single``: it is one statement, hence a transaction by itself.
        """
        if not self._writes:
            self._prepare()
        try:
            self._transaction(work, sync, single)
        except sqlite3.Error as error:
            full = any(words in str(error) for words in ("full", "disk I/O"))
            if not (full and self._lock.release_reserve()):
                raise StoreError(f"{str(self.path)!r} could not be written ({error}).") from error
            try:
                self._transaction(work, False, single)
            except sqlite3.Error as again:
                raise StoreError(f"{str(self.path)!r} could not be written ({again}).") from again

    def _transaction(self, work: Work, sync: bool, single: bool) -> None:
        connection = self._open
        start = time.monotonic()
        sync = sync or start - self._synced >= self._sync_cost / _SYNC_SHARE
        if sync:
            connection.execute("PRAGMA synchronous = FULL")
        try:
            if not single:
                connection.execute("BEGIN IMMEDIATE")
            work(connection)
            if not single:
                connection.execute("COMMIT")
        except BaseException:
            self._known_errors.clear()
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise
        finally:
            if sync:
                connection.execute("PRAGMA synchronous = NORMAL")
        if sync:
            self._synced = time.monotonic()
            self._sync_cost = self._synced - start

    def full(self) -> StoreError:
        """Return the error that a run ends with when the disk was full."""
        return StoreError(
            f"the disk is full: {str(self.path)!r} holds everything that was evaluated, with the space that was kept "
            "in reserve for it. Make room and run it again; it goes on from there."
        )

    def close(self) -> None:
        """Close the file, as one that can be copied; may be called twice."""
        if self._connection is not None:
            if self._writes:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA busy_timeout = 100")
                    self._connection.execute("PRAGMA journal_mode = DELETE")  # not while somebody reads: no matter
            self._connection.close()
            self._connection = None
        self._lock.close()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _clean(text: str) -> str:
    """Make text that SQLite can store: lone surrogates of undecodable bytes cannot be encoded."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\\0")
