"""Processes and descriptors, looked at from outside."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import uuid
from pathlib import Path

HOSTILE = str(Path(__file__).with_name("hostile_child.py"))


def hostile(behaviour: str, *arguments: object) -> list[str]:
    """Return the command line of a child that misbehaves."""
    return [sys.executable, "-S", HOSTILE, behaviour, *map(str, arguments)]


def new_token() -> str:
    """Return an argument by which processes are found again."""
    return f"token-{uuid.uuid4().hex}"


def pids(token: str) -> list[int]:
    """Return the processes that have the token among their arguments; zombies have none any more."""
    if os.path.isdir("/proc/self"):
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                arguments = Path("/proc", entry, "cmdline").read_bytes()
            except OSError:  # ended meanwhile
                continue
            if token.encode() in arguments.split(b"\0"):
                found.append(int(entry))
        return found
    listing = subprocess.run(["ps", "-A", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    return [int(line.split()[0]) for line in listing.stdout.splitlines() if token in line.split()]


def descriptors() -> int:
    """Return how many this process has open."""
    gc.collect()
    return len(os.listdir("/dev/fd"))
