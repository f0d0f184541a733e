"""Whether somebody works on a run store: asked without taking its lock."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path

from . import _store_lock

# C's struct flock: type and whence come first on Linux, last on macOS and the BSDs.
_LINUX = sys.platform.startswith("linux")
_FLOCK, _TYPE = ("hhqqi0q", 0) if _LINUX else ("qqihh0q", 3)


def is_held(path: Path) -> bool | None:
    """Return whether a process works on the store right now; None if that cannot be told.

    A killed process leaves the lock file behind, but not the lock. Asking (``F_GETLK``) instead of trying to lock
    never stands in the way of a process that starts at this moment.
    """
    if str(path.resolve()) in _store_lock._in_this_process:
        return True  # and the file must not even be opened: closing it would release this process's own lock
    answers = [_is_locked(file) for file in {_lock_file(path), _lock_file(path.resolve())}]
    if True in answers:
        return True
    return None if None in answers else False


def _lock_file(path: Path) -> Path:
    return path.with_name(path.name + "-lock")


def _is_locked(path: Path) -> bool | None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fields = [0] * 5
        fields[_TYPE] = fcntl.F_RDLCK
        answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(_FLOCK, *fields))
        return bool(struct.unpack(_FLOCK, answer)[_TYPE] != fcntl.F_UNLCK)
    except OSError:  # a file system without locks
        return None
    finally:
        os.close(file)
