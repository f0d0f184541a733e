"""A command that misbehaves in every way at random, for a while.

    python -m bench.fuzz_command [--seconds 60] [--seed 1]

The children (``hostile_child.py fuzz``) answer rightly, wrongly, in random bytes, endlessly, byte by byte, not at all;
they die, hang, close their pipes, leave processes behind. Beside, they are killed from outside, requests are cancelled,
the source is closed and used again, and nobody looks for a while. Checked: every request comes back exactly once unless
it was cancelled, and in time; values are right; reasons are one printable line; the counters add up; no process, zombie
or file descriptor is left. The exit status is 0 if all of it holds.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import logging
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.hostile_child import right
from bench.processes import descriptors, hostile, new_token, pids
from pyasmg.evaluation._base import Job, Outcome, Points
from pyasmg.evaluation.command import Command

ROUND = 6.0  # seconds with one source
SLACK = 20.0  # seconds that an answer may come later than it should, on a machine that is busy with else
DIMENSIONS = (1, 2, 10, 1000, 50_000)
FREQUENCY = (4, 10, 10, 5, 1)

KINDS = [
    ("answer too long", r"^expected an answer of at most"),
    ("not an answer", r"^expected a line"),
    ("another id", r"^expected the answer to"),
    ("answer of a wrong form", r'^expected "'),
    ("answered too early", r"^expected the whole request"),
    ("half a line came in time", r"^no answer within .* with a line unfinished"),
    ("nothing came in time", r"^no answer within"),
    ("request not read in time", r"^the request was not read within"),
    ("exited", r"^the command exited with status"),
    ("killed by a signal", r"^the command was killed by"),
    ("closed a pipe", r"^the command closed its standard"),
    ("error, as reported", r"^(the mesh is tangled|outside the domain|Traceback: frame|too long)"),
]


@dataclass
class Findings:
    """What came back, and what should not have been."""

    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    n_cancelled: int = 0
    n_killed: int = 0
    longest: float = 0.0

    def count(self, kind: str, example: str = "") -> None:
        self.kinds[kind] += 1
        self.examples.setdefault(kind, example)

    def check(self, outcome: Outcome, x: np.ndarray) -> None:
        """Put an outcome in its class, or complain of it."""
        if outcome.values is not None:
            self._check_values(outcome.values, x)
            if outcome.error:
                self.wrong.append(f"values and an error: {outcome.error}")
            return
        error = outcome.error
        kind = next((name for name, pattern in KINDS if re.search(pattern, error)), None)
        if kind is None:
            self.wrong.append(f"an unknown reason: {error!r}")
            return
        self.count(kind, error)
        if not error.isprintable() or len(error) > 600 or len(outcome.traceback) > 40_000:
            self.wrong.append(f"a reason of {len(error)} characters: {error[:100]!r}")

    def _check_values(self, values: np.ndarray, x: np.ndarray) -> None:
        if values.size == 2 and np.isfinite(values).all():
            if values.tolist() == right(x.tolist()):
                self.count("right values")
            else:
                self.wrong.append(f"values that are not right: {values}")
        elif values.tolist() in ([1.5], [0.5] * 1000):
            self.count("another number of values")
        elif values.size == 2:
            self.count("values that are not finite", str(values))
        else:
            self.wrong.append(f"{values.size} values that nobody sent")


class Fuzz:
    """One source, for a few seconds."""

    def __init__(self, chance: random.Random, findings: Findings, token: str) -> None:
        self.chance, self.findings, self.token = chance, findings, token
        self.timeout = chance.choice([0.2, 0.5, 1.0])
        seed = chance.randrange(2**32)
        self.source = Command(hostile("fuzz", seed, token), workers=chance.randint(1, 12), timeout=self.timeout)
        self.n_cancelled = 0
        self.new_points()
        self.running: dict[Job, tuple[np.ndarray, float]] = {}
        self.n_started = 0

    def new_points(self) -> None:
        d = self.chance.choices(DIMENSIONS, FREQUENCY)[0]
        X = np.random.default_rng(self.chance.randrange(2**32)).standard_normal((100, d))
        self.X, self.points = X, Points(self.chance.randrange(1000), X.__getitem__, d, X.dtype)

    def run(self, end: float) -> None:
        while time.monotonic() < end:
            while len(self.running) < self.source.n_slots:
                self.start()
            self.take(self.source.poll(self.chance.choice([None, 0.0, 0.01, 1.0])))
            self.disturb()
        drained = time.monotonic() + SLACK
        while self.running and time.monotonic() < drained:
            self.take(self.source.poll(0.5))
        for job in self.running:
            self.findings.wrong.append(f"{job} did not come back")
        counters = self.source.counters
        lost = counters.requests - counters.evaluations - counters.unknown
        if not 0 <= lost <= self.n_cancelled:
            self.findings.wrong.append(f"{counters} do not add up with {self.n_cancelled} cancelled")
        self.source.close()

    def start(self) -> None:
        self.n_started += 1
        job = Job(self.n_started % len(self.X), self.n_started)
        self.source.start(self.points, [job])
        self.running[job] = self.X[job.candidate], time.monotonic()

    def take(self, outcomes: list[Outcome]) -> None:
        now = time.monotonic()
        for outcome in outcomes:
            if outcome.job not in self.running:
                self.findings.wrong.append(f"{outcome.job} came back, but is not running")
                continue
            x, began = self.running.pop(outcome.job)
            self.findings.longest = max(self.findings.longest, now - began)
            self.findings.check(outcome, x)
        for job, (_, began) in self.running.items():
            if now - began > SLACK:
                self.findings.wrong.append(f"{job} has been running for {now - began:.0f} s")

    def disturb(self) -> None:
        what = self.chance.random()
        if what < 0.02:
            self.n_cancelled += len(self.running)
            self.findings.n_cancelled += len(self.running)
            self.running.clear()
            self.source.close() if self.chance.random() < 0.3 else self.source.cancel()
        elif what < 0.08:
            for pid in pids(self.token)[:1]:
                self.findings.n_killed += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, self.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP]))
        elif what < 0.12:
            time.sleep(self.chance.uniform(0, 2 * self.timeout))
        elif what < 0.3:
            self.new_points()


def check_leaks(findings: Findings, token: str, before: int) -> None:
    deadline = time.monotonic() + SLACK
    while pids(token) and time.monotonic() < deadline:
        time.sleep(0.02)
    if left := pids(token):
        findings.wrong.append(f"{len(left)} processes are left")
    if (after := descriptors()) != before:
        findings.wrong.append(f"{after - before:+} descriptors are left")
    with contextlib.suppress(ChildProcessError):
        findings.wrong.append(f"a zombie is left: {os.waitpid(-1, os.WNOHANG)}")


def report(console: Console, findings: Findings, seconds: float) -> None:
    total = sum(findings.kinds.values())
    table = Table(title=f"{total} requests came back in {seconds:.0f} s, the slowest after {findings.longest:.1f} s")
    table.add_column("outcome")
    table.add_column("number", justify="right")
    table.add_column("share", justify="right")
    table.add_column("example", overflow="ellipsis", no_wrap=True, max_width=80)
    for kind, number in findings.kinds.most_common():
        table.add_row(kind, str(number), f"{number / total:.1%}", escape(findings.examples[kind]))
    table.add_section()
    table.add_row("cancelled", str(findings.n_cancelled))
    table.add_row("signals from outside", str(findings.n_killed))
    table.add_row("wrong", str(len(findings.wrong)))
    console.print(table)
    for words in findings.wrong[:20]:
        console.print(f"[red]wrong:[/red] {escape(words)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.getLogger("pyasmg").setLevel(logging.ERROR)
    faulthandler.dump_traceback_later(options.seconds + 6 * SLACK, exit=True)  # the watchdog
    chance, findings = random.Random(options.seed), Findings()
    begin = time.monotonic()
    while time.monotonic() < begin + options.seconds:
        token, before = new_token(), descriptors()
        fuzz = Fuzz(chance, findings, token)
        try:
            fuzz.run(min(time.monotonic() + ROUND, begin + options.seconds))
        except Exception as error:  # a source never raises
            findings.wrong.append(f"{type(error).__name__}: {error}")
            fuzz.source.close()
        check_leaks(findings, token, before)
    if not findings.kinds["right values"]:
        findings.wrong.append("no right values came at all")
    report(Console(width=None if sys.stdout.isatty() else 160), findings, time.monotonic() - begin)
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
