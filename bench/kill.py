"""Runs killed with SIGKILL at random instants, each resumed until done, must end with the same bits.

Half of the kills come at a random time after the start of the process, which may be before the store exists; the
other half at a random moment within a commit, by a thread of the killed process itself. The objective's own log says
what was asked: nothing that the store held when a process died may be asked again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import pyasmg
from bench.common import Table
from bench.kill_objectives import Objective, digest, values
from pyasmg.evaluation import HTTP, Command
from pyasmg.store import RunReader, RunStore

#: What evaluates; how many queries can be in flight when the process dies; in how many commits it can die.
KINDS = {"callable": (1, 480), "threads": (8, 400), "command": (2, 450), "http": (2 * 3, 250)}
START, SIGMA, OPTIONS = [3.0] * 8, 1.0, {"popsize": 10, "max_evaluations": 401}
MOST_KILLS = 4  # per run


class Log:
    """What was asked, read bit by bit."""

    def __init__(self, path: Path, known: dict[str, tuple[int, int]]) -> None:
        self._path, self._known, self._at = path, known, 0

    def new(self) -> list[tuple[int, int]]:
        """Return the queries since the last call, as (generation, candidate) found by their bits."""
        if not self._path.exists():
            return []
        lines = self._path.read_text()[self._at :]
        self._at += len(lines)
        keys = []
        for line in lines.splitlines():
            generation, candidate, bits = line.split()
            keys.append(self._known[bits])
            if generation != "-1" and keys[-1] != (int(generation), int(candidate)):
                raise SystemExit(f"the request names {generation} {candidate}; its x is {keys[-1]}")
        return keys


def addresses(seed: int) -> dict[str, tuple[int, int]]:
    """Return generation and candidate of every x of the run, by its hash: computed by ask and tell, without a store."""
    most = OPTIONS["max_evaluations"] - 1
    opt = pyasmg.ASMG(START, SIGMA, seed=seed, popsize=OPTIONS["popsize"], max_evaluations=most)
    known = {}
    while not opt.stop():
        X = opt.ask()
        known.update({digest(x): (opt.n_iterations, i) for i, x in enumerate(X)})
        opt.tell([values(x) for x in X])
    known[digest(opt.mean)] = (opt.n_iterations, -1)
    return known


# ------------------------------------------------------------------------------------------- the process that dies


def session(kind: str, store: str, log: str, seed: int, port: int, commit: int, microseconds: float) -> None:
    """Run or resume, and print the bits of the result; die in commit number ``commit`` if that is >= 0."""
    if commit >= 0:
        _die_in_commit(commit, microseconds * 1e-6)
    options: dict[str, Any] = {**OPTIONS, "seed": seed, "store": store}
    if kind == "command":
        python = [sys.executable, "-m", "bench.kill_objectives", "command", log]
        with Command(python, workers=2, name="bench") as source:
            result = pyasmg.minimize(source, START, SIGMA, **options)
    elif kind == "http":
        with HTTP(f"http://127.0.0.1:{port}/", concurrency=2, batch_size=3, name="bench") as source:
            result = pyasmg.minimize(source, START, SIGMA, **options)
    elif kind == "threads":
        with ThreadPoolExecutor(4) as executor:
            result = pyasmg.minimize(Objective(Path(log)), START, SIGMA, executor=executor, **options)
    else:
        result = pyasmg.minimize(Objective(Path(log)), START, SIGMA, **options)
    arrays = [result.x, result.fun, result.stds, result.weights, *result.history.values()]
    bits = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
    print(json.dumps([bits, result.n_evaluations, result.n_iterations, result.message]))


def _die_in_commit(number: int, seconds: float) -> None:
    transaction, count = RunStore._transaction, [0]

    def counted(self: RunStore, *arguments: Any) -> None:
        if count[0] == number:
            end = time.perf_counter() + seconds

            def kill() -> None:
                while time.perf_counter() < end:
                    pass
                os.kill(os.getpid(), signal.SIGKILL)

            sys.setswitchinterval(1e-6)
            threading.Thread(target=kill).start()
        count[0] += 1
        transaction(self, *arguments)

    RunStore._transaction = counted  # type: ignore[method-assign]


# ------------------------------------------------------------------------------------------- the process that kills


def recorded(store: Path) -> set[tuple[int, int]]:
    """Return what the store holds answers for."""
    try:
        with RunReader(store) as reader:
            return {(row["generation"], row["candidate"]) for row in reader.evaluations() if row["status"] != "open"}
    except pyasmg.StoreError:
        return set()  # killed before there was a run


def start(kind: str, folder: Path, seed: int, port: int, commit: int = -1, us: float = 0.0) -> subprocess.Popen[str]:
    """Start a session."""
    arguments = [kind, folder / "run.db", folder / "log", seed, port, commit, us]
    command = [sys.executable, "-m", "bench.kill", "--session", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def one_run(kind: str, folder: Path, seed: int, port: int, wall: float, rng: random.Random) -> dict[str, Any]:
    """Kill and resume one run until it is done."""
    log, n_commits = Log(folder / "log", addresses(seed)), KINDS[kind][1]
    asked: list[tuple[int, int]] = []
    again: set[tuple[int, int]] = set()
    kills: Counter[str] = Counter()
    held: set[tuple[int, int]] = set()
    while True:
        plan = rng.choice(["time", "commit"]) if kills.total() < MOST_KILLS else "none"
        commit = rng.randrange(n_commits) if plan == "commit" else -1
        process = start(kind, folder, seed, port, commit, rng.uniform(0, 80))
        if plan == "time":
            try:
                process.wait(rng.uniform(0, wall))
            except subprocess.TimeoutExpired:
                process.kill()
        output = process.communicate()[0]
        time.sleep(0.1)  # what was in flight at the kill is answered, and logged, by now
        new = log.new()
        asked += new
        again |= held & set(new)
        if process.returncode == 0:
            break
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"{kind}: exit status {process.returncode}")
        kills[plan] += 1
        held = recorded(folder / "run.db")
    return {
        "result": json.loads(output),
        "kills": kills,
        "asked": len(asked),
        "twice": len(asked) - len(set(asked)),
        "again": len(again),
    }


def main() -> int:
    """Print the table; exit status 1 if a line fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.kill", description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--session", nargs=7, metavar="ARGUMENT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.session:
        kind, store, log, seed, port, commit, us = options.session
        session(kind, store, log, int(seed), int(port), int(commit), float(us))
        return 0

    rng = random.Random(options.seed)
    columns = ["objective", "runs", "kills at a time", "in a commit", "same bits", "queries", "asked twice", "recorded"]
    table = Table("kill", columns, "Runs killed with SIGKILL and resumed until done")
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        for number, (kind, (in_flight, _)) in enumerate(KINDS.items()):
            folder = Path(temporary) / kind
            folder.mkdir()
            port, http = 0, None
            if kind == "http":
                command = [sys.executable, "-m", "bench.kill_objectives", "server", str(folder / "log")]
                http = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                port = int(http.stdout.readline())  # type: ignore[union-attr]
            n_runs = options.runs // len(KINDS) + (number < options.runs % len(KINDS))
            rows = []
            for seed in range(n_runs):
                began = time.monotonic()
                whole = start(kind, _fresh(folder, "whole"), seed, port)
                expected = json.loads(whole.communicate()[0])
                wall = time.monotonic() - began
                row = {"kills": Counter()}
                while not row["kills"]:  # it was faster than its killer
                    (folder / "log").write_text("")
                    row = one_run(kind, _fresh(folder, "killed"), seed, port, wall, rng)
                row["same"] = row["result"] == expected
                row["fair"] = row["twice"] <= in_flight * row["kills"].total()
                rows.append(row)
                print(f"{kind} {seed}: {dict(row['kills'])}, same bits: {row['same']}", file=sys.stderr)
            if http is not None:
                http.communicate("")
            same = sum(row["same"] for row in rows)
            again = sum(row["again"] for row in rows)
            failed |= same < n_runs or again > 0 or not all(row["fair"] for row in rows)
            kills = sum((row["kills"] for row in rows), Counter())
            asked, twice = sum(row["asked"] for row in rows), sum(row["twice"] for row in rows)
            table.add(kind, n_runs, kills["time"], kills["commit"], same, asked, twice, again)
    table.show()
    table.save()
    print("asked twice: in flight when the process died; recorded: asked again although the store held the answer")
    n_same = sum(row[4] for row in table.rows)
    print(f"{n_same} of {options.runs} runs end with the bits of the unbroken run: {'NO' if failed else 'yes'}")
    return int(failed)


def _fresh(folder: Path, name: str) -> Path:
    """Make an empty folder for a run; the log of a server is one for all."""
    path = folder / name
    if path.exists():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    path.mkdir()
    if folder.name == "http":
        (path / "log").symlink_to(folder / "log")
    return path


if __name__ == "__main__":
    raise SystemExit(main())
