"""One place at which a command runs: a child, the request that it works on, and what is done when either fails."""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from ._base import Counters, Job, Outcome
from ._command_child import Child
from ._command_lines import Answer, ProtocolError, quote, read_answer

_log = logging.getLogger("pyasmg.evaluation")

PASSING = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  #: the machine's fault, not the command's
_TICK = 0.25  # seconds between looks whether a busy child is alive, where no end of its output tells it
_LAST_WORDS = 0.2  # seconds that a child without output has to exit before it is killed
_YOUNG = 1.0  # a child that ends within this time without any answer is started again a little later,
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # that is, after this many seconds, doubled each time


@dataclass
class Call:
    """A request and its fate.

    Attributes
    ----------
    job : Job
        The candidate.
    number : int
        The request's id.
    line : bytes
        The request.
    began : float
        When it was given to a child.
    deadline : float or None
        When patience ends: with the writing at first, then with the answer.
    sent : bool
        Whether the child has the whole line, and so may have begun.
    """

    job: Job
    number: int
    line: bytes
    began: float
    deadline: float | None = None
    sent: bool = False


class Worker:
    """Keeps one child running and gives it one request at a time.

    Parameters
    ----------
    launch : callable
        Starts a child, or raises OSError. (Holds no reference to who owns this worker, which could not be collected
        otherwise.)
    timeout : float or None
        Seconds for a child to read a request, and again to answer it.
    counters : Counters
        Counted in.
    outcomes : list of Outcome
        Written to.
    """

    def __init__(
        self, launch: Callable[[], Child], timeout: float | None, counters: Counters, outcomes: list[Outcome]
    ) -> None:
        self.child: Child | None = None
        self.call: Call | None = None
        self._launch, self._timeout = launch, timeout
        self._counters, self._outcomes = counters, outcomes
        self._n_early_ends = 0  # in a row
        self._not_before = 0.0
        self._has_warned = False

    # ------------------------------------------------------------------------------------------------------- work

    def begin(self, call: Call) -> None:
        """Give a request to the child; to a new one if there is none, or if it has ended or spoken unasked."""
        if self.child is not None:
            self._hear()
            if self.child is not None and self.child.has_exited():
                self._drop()
        self.call = call
        if self.child is not None:
            self._send()
        else:
            self.attend(time.monotonic())

    def ports(self) -> list[tuple[int, int]]:
        """Return the descriptors to wait for."""
        return [] if self.child is None else self.child.ports()

    def patience(self, now: float) -> float | None:
        """Return the seconds after which :meth:`attend` has something to do; None for never."""
        if self.call is None:
            return None
        if self.child is None:
            return self._not_before - now
        return _TICK if self.call.deadline is None else min(_TICK, self.call.deadline - now)

    def exchange(self) -> None:
        """Read and write what can be."""
        if self.child is not None:
            self.child.drain_stderr()
            self._hear()
        if self.child is not None:
            self._write()

    def attend(self, now: float) -> None:
        """See to what no event tells: a child to be started, one that is late, one that died but left a pipe open."""
        if self.call is None:
            return
        if self.child is None:
            if now >= self._not_before:
                self._offer()
        elif self.call.deadline is not None and now >= self.call.deadline:
            self._late()
        elif self.child.has_exited():
            self._hear()
            if self.call is not None:
                self._gone()

    def excuse(self, since: float, now: float) -> None:
        """Move the deadline by the time in which nobody read what the child may have written."""
        if self.call is not None and self.call.deadline is not None:
            self.call.deadline += max(0.0, now - max(since, self.call.began) - _TICK)

    def cancel(self) -> None:
        """Kill a busy child, whose answer would come too late."""
        if self.call is not None:
            self.call = None
            if self.child is not None:
                self._end()

    def abandon(self) -> None:
        """Forget the child, in a forked copy of the process that it belongs to."""
        if self.child is not None:
            self.child.abandon()
        self.child = self.call = None

    # --------------------------------------------------------------------------------------------------- requests

    def _offer(self) -> None:
        """Start a child for the request."""
        try:
            self.child = self._launch()
        except OSError as error:
            self._pause()
            what = f" {error.filename!r}" if error.filename else ""
            reason = f"the command could not be started: {error.strerror or error}{what}"
            self._fail(reason, fatal=error.errno not in PASSING)
            return
        self._send()

    def _send(self) -> None:
        child, call = self.child, self.call
        if child is not None and call is not None:
            child.send(call.line)
            call.line, call.began = b"", time.monotonic()
            if self._timeout is not None:
                call.deadline = time.monotonic() + self._timeout
            self._write()

    def _write(self) -> None:
        child, call = self.child, self.call
        if child is None or call is None or call.sent:
            return
        try:
            call.sent = child.write()
        except OSError:  # it does not read any more; perhaps it says why
            self._hear()
            if self.call is not None:
                self._gone("closed its standard input")
            return
        if call.sent:
            self._counters.requests += 1
            if self._timeout is not None:
                call.deadline = time.monotonic() + self._timeout

    # ---------------------------------------------------------------------------------------------------- answers

    def _hear(self) -> None:
        """Read what the child has written, and judge it."""
        child = self.child
        if child is None:
            return
        try:
            for line in child.read_lines():
                if line.strip():
                    self._judge(line)
                    if self.child is not child:
                        return
        except ProtocolError as error:
            self._fault(str(error))
            return
        if child.at_end:
            self._gone()

    def _judge(self, line: bytes) -> None:
        if self.call is None:
            raise ProtocolError(f"expected nothing before the next request; got {quote(line)}")
        answer = read_answer(line, self.call.number)
        if self.call.sent:
            self._answered(answer)
        elif answer.values is not None:
            raise ProtocolError(f"expected the whole request to be read before the answer; got {quote(line)}")
        else:  # refused at half, so that the rest would be taken for the next request
            self._counters.requests += 1
            self._answered(answer)
            self._drop()

    def _answered(self, answer: Answer) -> None:
        call, child = self.call, self.child
        if call is None or child is None:
            return
        self._counters.evaluations += 1
        child.n_answers += 1
        self._n_early_ends = 0
        self._outcomes.append(
            Outcome(
                call.job,
                values=answer.values,
                error=answer.error,
                traceback=answer.traceback,
                seconds=time.monotonic() - call.began,
                cost=answer.cost,
                retry=answer.retry,
            )
        )
        self.call = None  # last: an interrupt in between loses nothing

    # --------------------------------------------------------------------------------------------------- failures

    def _fault(self, reason: str) -> None:
        """End a child that does not keep to the protocol: it may be out of step."""
        if self.call is None:
            level = logging.DEBUG if self._has_warned else logging.WARNING
            _log.log(level, "the command is restarted after an answer: %s", reason)
            self._has_warned = True
        else:
            self._fail(f"{reason}; the command was restarted")
        self._drop()

    def _late(self) -> None:
        child, call = self.child, self.call
        if child is None or call is None:
            return
        what = "no answer" if call.sent else "the request was not read"
        reason = f"{what} within {self._timeout:g} s; the command was killed"
        if child.unfinished:
            reason += f" with a line unfinished: {quote(child.unfinished)}"
        elif call.sent and child.n_answers == 0:
            reason += " (it had not answered anything yet: does it flush its output?)"
        self._fail(reason)
        self._drop()

    def _gone(self, what: str = "closed its standard output") -> None:
        """See to a child that has ended, or closed a pipe."""
        child, call = self.child, self.call
        if child is None:
            return
        if call is None:
            self._drop()
            return
        unfinished = child.unfinished
        if unfinished.strip():  # an answer may lack its newline
            with contextlib.suppress(ProtocolError):
                self._judge(unfinished)
            if self.call is None:
                self._drop()
                return
        end = child.how_it_ended(_LAST_WORDS)
        reason = f"the command {end or what} before it answered"
        if end == "exited with status 0":
            reason += " (it must go on until its input ends)"
        if unfinished.strip():
            reason += f", with a line unfinished: {quote(unfinished)}"
        words, _ = child.last_words()
        if words:
            reason += f"; its last words: {words}"
        self._fail(reason)
        self._drop()

    def _fail(self, reason: str, *, fatal: bool = False) -> None:
        """Report that there is no answer."""
        call, child = self.call, self.child
        if call is None:
            return
        self._counters.unknown += call.sent
        details = "" if child is None else child.last_words()[1]
        seconds = time.monotonic() - call.began
        self._outcomes.append(
            Outcome(call.job, error=reason, traceback=details, seconds=seconds, billed=call.sent, fatal=fatal)
        )
        self.call = None

    def _drop(self) -> None:
        """End the child, and wait a little before the next if it ended before it had done anything."""
        child = self.child
        if child is None:
            return
        if child.n_answers == 0 and time.monotonic() - child.born < _YOUNG:
            self._pause()
        self._end()

    def _pause(self) -> None:
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._n_early_ends, 60))
        self._n_early_ends += 1
        self._not_before = time.monotonic() + pause

    def _end(self) -> None:
        if self.child is not None:
            self.child.end()
        self.child = None
