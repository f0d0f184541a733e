"""A prompt server in a process of its own, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

_START_SECONDS = 120.0  # importing torch from a cold disk takes its time
_STOP_SECONDS = 5.0
_PROGRAM = "import sys; from pyasmg.cli import main; sys.exit(main())"


class ServerError(RuntimeError):
    """The server process did not start."""


class Address(NamedTuple):
    """Where a server is: its URL, and the number of its process."""

    url: str
    pid: int


@contextlib.contextmanager
def server_process(options: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Iterator[Address]:
    """Run ``pyasmg clip serve`` on a free port of this machine; yield where, and end it whatever happens.

    The server also ends when its standard input is closed, which the operating system does if this process is killed.

    Parameters
    ----------
    options : sequence of str
        More options of ``pyasmg clip serve``.
    environment : mapping, optional
        More environment variables.

    Raises
    ------
    ServerError
        It ended or was silent instead of telling its address; its own words are on standard error.
    """
    command = [sys.executable, "-c", _PROGRAM, "clip", "serve", "--port", "0", "--stop-with-stdin", *options]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        start_new_session=True,  # Ctrl-C is for this process, which then ends the server
    )
    timer = threading.Timer(_START_SECONDS, process.kill)
    timer.daemon = True
    try:
        timer.start()
        line = process.stdout.readline().decode().strip() if process.stdout is not None else ""
        timer.cancel()
        if not line.startswith("http"):
            status = process.wait()
            raise ServerError(f"the server did not start (exit status {status}).")
        yield Address(line, process.pid)
    finally:
        timer.cancel()
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()
