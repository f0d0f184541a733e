"""Following a run that another process makes."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from ._cli_show import (
    clean,
    console,
    failures_table,
    generation_line,
    generations_table,
    printable,
    state_words,
    totals_line,
    totals_table,
)
from ._store_lock import StoreError
from ._store_read import RunReader, check, connect
from .report import reading, summarize

_PATIENCE = 5  # readings in a row that may fail for a reason that passes
_SHARE = 10  # of the time at most one part in so many is spent reading
_N_SHOWN = 8  # generations on a terminal


class _View(Protocol):
    def show(self, run: dict[str, Any]) -> None:
        """Show a reading."""

    def wait(self, words: str) -> None:
        """Say why there is nothing to show."""


def watch(path: Path, interval: float, *, once: bool = False) -> None:
    """Show a run until it has ended.

    The file is opened anew for each reading: an open reader would keep the writer from leaving one whole file behind.
    """
    begun = once  # with --once there is nothing to wait for: an error says so
    n_seen, n_failures = 0, 0
    with _view() as view:
        while True:
            start = time.monotonic()
            try:
                begun = begun or _has_run(path)
                run = _read(path, n_seen) if begun else None
                n_failures = 0
            except StoreError as error:
                n_failures += 1
                passing = isinstance(error.__cause__, sqlite3.OperationalError) or not path.exists()
                if once or not passing or n_failures > _PATIENCE:
                    raise
                run, begun = None, begun and path.exists()
            if run is not None:
                n_seen = run["progress"]["generations"]
                view.show(run)
                if once or (run["state"] == "ended" and not run["held"]):
                    return
            elif not begun:
                view.wait(f"waiting: there is no run in {str(path)!r} yet")
            time.sleep(max(interval, _SHARE * (time.monotonic() - start)))


def _has_run(path: Path) -> bool:
    if not path.exists():
        return False
    if not path.is_file():
        raise StoreError(f"a run store must be a file; got {str(path)!r}.")
    with contextlib.closing(connect(path, 30.0, write=False)) as connection:
        return check(connection, path, empty_is_fine=True)


def _read(path: Path, n_seen: int) -> dict[str, Any]:
    """Return the run with the generations that were not seen yet, and with as many as a terminal shows."""
    with reading(path), RunReader(path) as reader:
        n_new = len(reader.generations(n_seen)) if n_seen else 0
        return summarize(reader, n_generations=max(n_new, _N_SHOWN))


@contextlib.contextmanager
def _view() -> Iterator[_View]:
    """Yield a live picture on a terminal, else lines."""
    screen = console()
    if not screen.is_terminal:
        yield _Lines()
        return
    from rich.live import Live

    with Live(console=screen, auto_refresh=False) as live:
        yield _Picture(live)


class _Picture:
    """Tables that are drawn anew each time."""

    def __init__(self, live: Any) -> None:
        self._live = live

    def show(self, run: dict[str, Any]) -> None:
        from rich.console import Group

        parts = [
            printable(f"{run['path']}  {state_words(run)}"),
            totals_table(run),
            generations_table(run["generations"][-_N_SHOWN:], run["progress"]["generations"]),
            failures_table(run["failures"], 5),
        ]
        self._live.update(Group(*(part for part in parts if part is not None)), refresh=True)

    def wait(self, words: str) -> None:
        self._live.update(printable(words), refresh=True)


class _Lines:
    """One plain line per new generation on standard output; what is waited for on standard error."""

    def __init__(self) -> None:
        self._n_seen = -1
        self._said = ""
        self._silent_until = 0.0

    def show(self, run: dict[str, Any]) -> None:
        n_told = run["progress"]["generations"]
        if self._n_seen < 0 or n_told < self._n_seen:  # the first reading, or another run in the same place
            self._n_seen = max(0, n_told - 1)
        for row in run["generations"]:
            if row["generation"] >= self._n_seen:
                print(generation_line(row, run), flush=True)
        self._n_seen = n_told
        if run["state"] == "ended":
            if self._said != "ended":  # its process may need a moment to leave
                print(clean(state_words(run)), totals_line(run), sep="\n", flush=True)
            self._said = "ended"
        elif run["state"] == "running":
            self._said = ""
        else:
            old = max(0.0, time.time() - run["progress"]["last_entry"])
            if self._said != "stopped" or old >= self._silent_until:  # again each time it is twice as old
                self._said, self._silent_until = "stopped", 2.0 * max(old, 30.0)
                print(clean(state_words(run)), file=sys.stderr, flush=True)

    def wait(self, words: str) -> None:
        if self._said != words:
            self._said = words
            print(words, file=sys.stderr, flush=True)
