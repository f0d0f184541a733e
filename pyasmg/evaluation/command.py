"""Objective values from a command: child processes that read and write lines of JSON."""

from __future__ import annotations

import errno
import itertools
import math
import os
import select
import shlex
import time
import weakref
from collections.abc import Mapping, Sequence
from functools import partial

from .._validate import describe, integer, number
from ._base import Job, Outcome, Points, Source
from ._command_child import Child
from ._command_lines import request_line
from ._command_worker import PASSING, Call, Worker

_FAREWELL = 2.0  # seconds that children have to exit by themselves in `close`
_LONGEST_WAIT = 3600.0  # seconds of one system call


class Command(Source):
    """Evaluates with a command: one long-lived child process per worker, spoken to in lines of JSON.

    The child reads a request from its standard input, one line,
    ``{"id": 17, "x": [0.25, -1.5], "generation": 3, "candidate": 5}`` (candidate -1 is the final mean), and writes one
    line to its standard output: ``{"id": 17, "f": [1.0, 2.0]}`` (or a bare number for a single objective), or
    ``{"id": 17, "error": "why"}``, with ``"retry": false`` if asking again is of no use; ``"cost": 0.02`` may be added
    to either. It gets the next request when it has answered, and must end when its input does. It must flush every
    line, write nothing else to standard output, and may write what it likes to standard error, whose end is quoted when
    it fails. ``NaN`` and ``Infinity`` are read as numbers.

    A child that dies, is late, or writes anything else fails the candidate that it works on, and another takes its
    place. Children run in sessions of their own: Ctrl-C does not reach them, and what they have started themselves (and
    not sent into another session) is killed with them. None outlives this process, except that after SIGKILL of this
    process a child goes on until it looks at its input or output. Not to be used by several threads at once; a forked
    copy of the process starts its own children.

    Parameters
    ----------
    command : str or sequence of str
        Program and arguments; a string is split as a shell would (``shlex``), but no shell runs it.
    workers : int
        Number of children; they are started when needed.
    timeout : float, optional
        Seconds for an answer, from when the child has the whole request (reading it may take as long again); the first
        answer of a child includes its own start. Default: patience without end.
    environment : mapping of str to str, optional
        Added to the environment. ``PYTHONUNBUFFERED=1`` is set unless it is there, since Python would otherwise keep
        answers back in a buffer.
    folder : str or path, optional
        Where the command runs; a relative program is looked up there.
    name : str, optional
        What a later run compares; default: the command line.

    Raises
    ------
    TypeError, ValueError
        If a parameter is none of the above; from :meth:`start` if the command cannot be started at all.
    """

    def __init__(
        self,
        command: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        workers: int = 1,
        timeout: float | None = None,
        environment: Mapping[str, str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        self.arguments = _arguments(command)
        self.workers = integer("workers", workers, 1)
        self.timeout = None if timeout is None else number("timeout", timeout, low=0.0, strict=True)
        self._name = shlex.join(self.arguments) if name is None else name
        where = None if folder is None else os.fspath(folder)
        self._launch = partial(Child, self.arguments, _environment(environment), where)
        self._numbers = itertools.count(1)
        self._outcomes: list[Outcome] = []
        self._workers = _workers(self)
        self._launched = False
        self._left = -math.inf  # when `poll` was left
        self._finalizer = weakref.finalize(self, _end_all, self._workers)
        _commands.add(self)

    @property
    def name(self) -> str:
        """The command line, or the name that was given."""
        return self._name

    @property
    def n_slots(self) -> int:
        """One per child."""
        return self.workers

    def start(self, points: Points, jobs: Sequence[Job]) -> None:
        """Send one request, to a child that is started if need be.

        Raises
        ------
        ValueError
            The first time only: if there is no such command, or it is not executable.
        """
        if len(jobs) != 1:
            raise ValueError(f"`jobs` must hold one job; got {len(jobs)}.")
        free = [worker for worker in self._workers if worker.call is None]
        if not free:
            raise ValueError(f"`start` needs a free worker; all {self.workers} are busy.")
        job = jobs[0]
        x = points.get(job.candidate)
        worker = next((worker for worker in free if worker.child is not None), free[0])
        if not self._launched:
            worker.child = self._first_child()
            self._launched = worker.child is not None
        request = next(self._numbers)
        try:
            line = request_line(request, x, points.generation, job.candidate)
        except ValueError as error:
            self._outcomes.append(Outcome(job, error=str(error), seconds=0.0, billed=False, retry=False))
            return
        worker.begin(Call(job, request, line, time.monotonic()))

    def _first_child(self) -> Child | None:
        """Start a child, or say that none will ever start: at once, and not as one failed evaluation after another."""
        try:
            return self._launch()
        except OSError as error:
            if error.errno in PASSING:
                return None
            hint = " (does the script begin with #!?)" if error.errno == errno.ENOEXEC else ""
            what = f" {error.filename!r}" if error.filename else ""
            raise ValueError(f"`command` cannot be started: {error.strerror or error}{what}{hint}.") from error

    def poll(self, timeout: float | None) -> list[Outcome]:
        """Return outcomes; wait until there is one or ``timeout`` seconds have passed (None: while any is running)."""
        now = time.monotonic()
        end = math.inf if timeout is None else now + timeout
        for worker in self._workers:
            worker.excuse(self._left, now)
        try:
            while True:
                running = any(worker.call is not None for worker in self._workers)
                at_once = self._outcomes or (timeout is None and not running)
                self._exchange(0.0 if at_once else end - time.monotonic())
                if at_once or self._outcomes or time.monotonic() >= end:
                    break
        finally:
            self._left = time.monotonic()
        outcomes = self._outcomes[:]
        self._outcomes.clear()
        return outcomes

    def _exchange(self, wait: float) -> None:
        """Wait until a child writes or reads, or needs attention; then see to it."""
        now = time.monotonic()
        for worker in self._workers:
            needed = worker.patience(now)
            wait = wait if needed is None else min(wait, needed)
        # A new poll object each time: there is no state to keep in step, and none that a forked process would share.
        poller = select.poll()
        owners = {}
        for worker in self._workers:
            for descriptor, events in worker.ports():
                poller.register(descriptor, events)
                owners[descriptor] = worker
        ready = poller.poll(math.ceil(1000 * min(max(wait, 0.0), _LONGEST_WAIT)))
        for worker in {id(owners[descriptor]): owners[descriptor] for descriptor, _ in ready}.values():
            worker.exchange()
        now = time.monotonic()
        for worker in self._workers:
            worker.attend(now)

    def cancel(self) -> None:
        """Kill the children that are busy; the others stay."""
        for worker in self._workers:
            worker.cancel()
        self._outcomes.clear()

    def close(self) -> None:
        """Cancel, let the children end by themselves for 2 s, and kill them; the next request would start new ones."""
        self.cancel()
        children = [worker.child for worker in self._workers if worker.child is not None]
        try:
            for child in children:
                child.close_stdin()
            deadline = time.monotonic() + _FAREWELL
            pause = 0.001
            while not all(child.has_exited() for child in children) and time.monotonic() < deadline:
                time.sleep(pause)
                pause = min(2 * pause, 0.05)
                for child in children:
                    child.drain()
        finally:
            _end_all(self._workers)


def _workers(command: Command) -> list[Worker]:
    """Return the workers, which know parts of the command but not the command: it can be collected."""
    launch, counters, outcomes = command._launch, command.counters, command._outcomes
    return [Worker(launch, command.timeout, counters, outcomes) for _ in range(command.workers)]


def _arguments(command: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str]:
    expected = "a command line or a sequence of strings"
    if isinstance(command, str):
        try:
            arguments = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"`command` must be {expected}; got {describe(command)} ({error}).") from None
    elif isinstance(command, os.PathLike):
        arguments = [os.fspath(command)]
    else:
        try:
            arguments = [os.fspath(argument) for argument in command]
        except TypeError:
            raise TypeError(f"`command` must be {expected}; got {describe(command)}.") from None
    if not all(isinstance(argument, str) for argument in arguments):
        raise TypeError(f"`command` must be {expected}; got {describe(command)}.")
    if not arguments or not arguments[0] or any("\0" in argument for argument in arguments):
        raise ValueError(f"`command` must be {expected}, not empty, without null characters; got {describe(command)}.")
    return arguments


def _environment(environment: Mapping[str, str] | None) -> dict[str, str]:
    result = dict(environment or {})
    for key, value in result.items():
        if not isinstance(key, str) or not isinstance(value, str) or not key or "=" in key or "\0" in key + value:
            raise TypeError(f"`environment` must map names to strings; got {describe(key)} (value not shown).")
    return result


def _end_all(workers: list[Worker]) -> None:
    """Kill all children: by :meth:`Command.close`, when a command is collected, or when Python exits."""
    for worker in workers:
        worker.call = None
        if worker.child is not None:
            worker.child.end()
        worker.child = None


_commands: weakref.WeakSet[Command] = weakref.WeakSet()


def _abandon_all() -> None:
    """In a forked process: close the pipes to children of another, which could not see otherwise that it has died."""
    for command in list(_commands):
        for worker in command._workers:
            worker.abandon()
        command._outcomes.clear()


os.register_at_fork(after_in_child=_abandon_all)
