"""A child process and its three pipes, none of which ever blocks."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from ._command_lines import ProtocolError, one_line, printable

_log = logging.getLogger("pyasmg.evaluation")

LONGEST_LINE = 2**24  #: bytes of an answer
_CHUNK = 2**16
_CHUNKS = 32  # read in one go, so that who never stops writing does not hold up the others
_TAIL_BYTES, _TAIL_LINES = 4000, 20


class Child:
    """A command that runs, in a session of its own.

    So Ctrl-C in the terminal does not reach it, and what it has started itself can be killed with it. If this process
    dies without a chance to clean up, the child finds its input at an end. (``PR_SET_PDEATHSIG`` is not used: it would
    have to be set between fork and exec, which is not safe beside threads, and it fires when the *thread* that
    started the child ends.)

    Parameters
    ----------
    arguments : sequence of str
        The program and its arguments.
    environment : mapping
        Added to ours. ``PYTHONUNBUFFERED`` is set unless we have it, since a Python program would otherwise keep its
        answers in a buffer.
    folder : str, optional
        Where it runs.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], folder: str | None) -> None:
        self._process = subprocess.Popen(
            arguments,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PYTHONUNBUFFERED": "1", **os.environ, **environment},
            cwd=folder,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.born = time.monotonic()
        self.n_answers = 0
        self.at_end = False  #: whether its standard output is
        self._streams = [s for s in (self._process.stdin, self._process.stdout, self._process.stderr) if s is not None]
        self._stdin, self._stdout, self._stderr = (stream.fileno() for stream in self._streams)
        for stream in self._streams:
            os.set_blocking(stream.fileno(), False)
        self._unsent = memoryview(b"")
        self._unfinished = bytearray()  # a line of which the end has not come
        self._tail = b""  # of standard error
        self._stderr_at_end = False
        self._owner = os.getpid()
        self._killed = self._reaped_elsewhere = False

    # ------------------------------------------------------------------------------------------------------- talk

    def ports(self) -> list[tuple[int, int]]:
        """Return what to wait for: descriptors and event masks of ``select.poll``."""
        ports = []
        if len(self._unsent):
            ports.append((self._stdin, select.POLLOUT))
        if not self.at_end:
            ports.append((self._stdout, select.POLLIN))
        if not self._stderr_at_end:
            ports.append((self._stderr, select.POLLIN))
        return ports

    def send(self, line: bytes) -> None:
        """Take a request; :meth:`write` sends it."""
        self._unsent = memoryview(line)

    def write(self) -> bool:
        """Write as much of the request as the pipe takes; return whether all of it is written.

        Raises
        ------
        OSError
            If the child has closed its input.
        """
        try:
            while len(self._unsent):
                self._unsent = self._unsent[os.write(self._stdin, self._unsent) :]
        except BlockingIOError:
            return False
        self._unsent = memoryview(b"")  # an empty slice would keep the whole line
        return True

    def read_lines(self) -> list[bytes]:
        """Return the lines that have come.

        Raises
        ------
        ProtocolError
            If a line is longer than any answer.
        """
        lines: list[bytes] = []
        for _ in range(_CHUNKS):
            chunk = self._read(self._stdout)
            if chunk is None:
                break
            if not chunk:
                self.at_end = True
                break
            self._unfinished += chunk
            if b"\n" in chunk:
                *complete, rest = bytes(self._unfinished).split(b"\n")
                lines += complete
                self._unfinished = bytearray(rest)
            if len(self._unfinished) > LONGEST_LINE:
                raise ProtocolError(f"expected an answer of at most {LONGEST_LINE >> 20} MiB; got a longer line")
        return lines

    @property
    def unfinished(self) -> bytes:
        """The beginning of a line of which the end has not come."""
        return bytes(self._unfinished)

    def drain_stderr(self) -> None:
        """Read what has come on standard error, so that the pipe is never full; keep the end of it."""
        for _ in range(_CHUNKS):
            chunk = self._read(self._stderr)
            if chunk is None:
                return
            if not chunk:
                self._stderr_at_end = True
                return
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("%d says: %s", self.pid, printable(chunk.decode("utf-8", "backslashreplace").rstrip()))
            self._tail = (self._tail + chunk)[-_TAIL_BYTES:]

    def drain(self) -> None:
        """Read what has come, so that no pipe is full, and forget it."""
        self.drain_stderr()
        for _ in range(_CHUNKS):
            if not self._read(self._stdout):
                return

    def last_words(self) -> tuple[str, str]:
        """Return the end of standard error: its last line, and all that was kept."""
        lines = self._tail.decode("utf-8", "backslashreplace").splitlines()[-_TAIL_LINES:]
        spoken = [line for line in lines if line.strip()]
        return one_line(spoken[-1], end=True) if spoken else "", printable("\n".join(lines))

    @staticmethod
    def _read(descriptor: int) -> bytes | None:
        """Return bytes, nothing at the end, None if there is nothing yet."""
        try:
            return os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return None

    # -------------------------------------------------------------------------------------------------------- end

    def has_exited(self) -> bool:
        """Look whether it has; where possible without reaping it, so that its number stays its own."""
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        if self._process.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # someone waits for all children, or SIGCHLD is ignored
            self._reaped_elsewhere = True
            return True

    def close_stdin(self) -> None:
        """Tell it that nothing more will be asked."""
        self._unsent = memoryview(b"")
        self._streams[0].close()

    def how_it_ended(self, patience: float) -> str:
        """End it, but give it ``patience`` seconds to do so itself; return in words how it did, "" if it did not."""
        deadline = time.monotonic() + patience
        while not (exited := self.has_exited()) and time.monotonic() < deadline:
            self.drain_stderr()
            time.sleep(0.005)
        self._kill()
        self.drain_stderr()
        self._close()
        status = self._process.returncode
        if not exited or status is None:
            return ""
        if status < 0:
            return f"was killed by {_signal_name(-status)}"
        shell = f" (128 + {_signal_name(status - 128)})" if 128 < status < 128 + 32 else ""
        return f"exited with status {status}{shell}"

    def end(self) -> None:
        """Kill it and all that it has started; may be called twice."""
        self._kill()
        self._close()

    def abandon(self) -> None:
        """Forget it, in a forked copy of the process that it belongs to."""
        self._process.returncode = 0  # or `subprocess` would wait for it one day
        self._close()

    def _kill(self) -> None:
        if self._owner != os.getpid():
            return
        if not self._killed:
            self._killed = True
            self.has_exited()
            if not self._reaped_elsewhere:  # else the number may be someone else's by now
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
        # Whoever cannot be killed (another user's, or asleep in the kernel) is left to `subprocess`.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)

    def _close(self) -> None:
        self._unsent = memoryview(b"")
        self.at_end = self._stderr_at_end = True
        for stream in self._streams:
            stream.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
