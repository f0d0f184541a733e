"""One process per run store, and a reserve of disk space for the last words of a run."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not on this system; then only the run store is missing
    fcntl = None  # type: ignore[assignment]

_RESERVE_BYTES = 2**20
_in_this_process: set[str] = set()


class StoreError(RuntimeError):
    """A run store that cannot be used, or no longer: what was recorded before is still in it.

    Attributes
    ----------
    unsaved : tuple
        Generation and records that came back and could not be saved; empty if there are none.
    """

    unsaved: tuple[Any, ...] = ()


class StoreLock:
    """Holds ``<path>-lock`` locked: released by the system when the process dies, however it dies.

    A record lock (``fcntl.lockf``), because it is not inherited by child processes: workers that outlive a killed run
    do not keep it from being resumed. The file says who holds it, and is padded with a megabyte that
    :meth:`release_reserve` gives back to a full disk.
    """

    def __init__(self, path: Path) -> None:
        real = path.resolve()  # where SQLite puts its own files: two names of one store share one lock
        self._path = real.with_name(real.name + "-lock")
        self._key = str(real)
        if self._key in _in_this_process:  # record locks do not exclude their own process
            raise StoreError(f"{str(path)!r} is in use by another run of this process.")
        try:
            self._file = self._open_and_lock()
        except BlockingIOError as error:
            raise StoreError(f"{str(path)!r} is in use by {error}: two runs cannot share a store.") from None
        except OSError as error:
            raise StoreError(f"{str(path)!r} cannot be written: {error}.") from error
        _in_this_process.add(self._key)
        self.has_reserve = True
        try:
            os.ftruncate(self._file, 0)
            text = f"process {os.getpid()} on {socket.gethostname()}\n".encode()
            os.pwrite(self._file, text + os.urandom(_RESERVE_BYTES), 0)  # random: some file systems compress
        except OSError as error:
            self.close()
            raise StoreError(f"{str(path)!r} cannot be written: {error}.") from error

    def _open_and_lock(self) -> int:
        while True:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # POSIX allows either
                holder = os.pread(file, 200, 0).split(b"\n")[0].decode("utf-8", "replace")
                os.close(file)
                raise BlockingIOError(holder or "another process") from None
            except OSError:
                os.close(file)
                raise
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), self._path.stat()):
                    return file
            os.close(file)  # the holder before removed it just now

    def release_reserve(self) -> bool:
        """Give the reserved space back; False if it was given back before."""
        if not self.has_reserve:
            return False
        self.has_reserve = False
        os.ftruncate(self._file, 200)
        return True

    def close(self) -> None:
        """Remove the file, which unlocks it."""
        if self._key in _in_this_process:
            _in_this_process.discard(self._key)
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._file)
