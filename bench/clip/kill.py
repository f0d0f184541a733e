"""Tuning through a server that fails on purpose, while client and server are killed with SIGKILL again and again.

Each run must end with the bits of the run that nothing disturbed, and nothing that the store held when the client died
may be asked again; the log of the server says what was asked. Without kills, the server's log and the client's
counters must agree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import Table, one_thread

one_thread()

from bench.clip.faulty_server import KINDS  # noqa: E402
from pyasmg.clip._questions import FINAL, held_out, images  # noqa: E402
from pyasmg.clip._tune import tune  # noqa: E402
from pyasmg.clip.client import RemoteTask  # noqa: E402
from pyasmg.store import RunReader, StoreError  # noqa: E402

TINY = "pyasmg.clip:tiny"
Question = tuple[Any, str]  # which images, and the bits of the prompt
Address = tuple[int, int]  # generation and candidate


def session(url: str, store: str, queries: int, seed: int, method: str) -> None:
    """Tune, or go on, and print the bits of the result."""
    # Several requests per generation: a kill then leaves some of its answers recorded and others not.
    options = {"timeout": 10.0, "attempts": 60, "backoff": 0.02, "patience": 60.0, "concurrency": 2, "batch_size": 3}
    with RemoteTask(url, **options) as task:
        result = tune(
            task,
            method=method,
            d=32,
            popsize=10,
            max_queries=queries,
            validate_every=5,
            seed=seed,
            store=store or None,
            progress=False,
        )
    if result.start is None or result.tuned is None or result.run.fun is None:
        raise SystemExit(f"{result.run.message}; {result.problems}")
    arrays = [result.v, result.prompt if result.prompt is not None else result.offset, result.run.x, result.run.fun]
    arrays += [result.run.stds, result.run.weights, *result.start, *result.tuned]
    arrays += [array for scores in result.validations.values() for array in scores]
    bits = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()
    print(json.dumps({"bits": bits, "queries": result.queries, "counters": result.run.counters}))


class Server:
    """The server process, at one port for all its lives."""

    def __init__(self, target: str, log: Path, share: float, seed: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._target, self.log, self._share, self._seed = target, log, share, seed
        self.process: subprocess.Popen[str] | None = None
        self._faults, self._at = log.with_name(log.name + ".faults"), 0

    def start(self) -> None:
        """Start it; it can be asked at once, and answers when it is ready."""
        self._seed += 1  # or the same requests would fail for ever
        arguments = [self._target, self.port, self.log, self._share, self._seed]
        command = [sys.executable, "-m", "bench.clip.faulty_server", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def wait(self) -> None:
        """Wait until it is ready."""
        if self.process is None or not self.process.stdout.readline():  # type: ignore[union-attr]
            raise SystemExit("the server did not start")

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def asked(self) -> list[dict[str, Any]]:
        """Return the requests since the last call; the last line may be half written when the server was killed."""
        if not self.log.exists():
            return []
        text = self.log.read_text()[self._at :]
        whole = text[: text.rfind("\n") + 1]
        if self.process is None and whole != text:
            with self.log.open("a") as file:
                file.write("\n")
        self._at += len(whole)
        return [json.loads(line) for line in whole.splitlines() if line.endswith("}") and line.startswith("{")]

    def faults(self) -> Counter[str]:
        """Return how many requests went wrong in which way."""
        if not self._faults.exists():
            return Counter()
        return Counter(json.loads(line)["kind"] for line in self._faults.read_text().splitlines())


def questions(request: dict[str, Any]) -> list[Question]:
    """Return what a line of the log was about."""
    about = request["split"] or request["batch_id"]
    return [(about, prompt) for prompt in request["prompts"]]


def addresses(log: list[dict[str, Any]]) -> dict[Question, set[Address]]:
    """Return which numbers a question has in the run that nothing disturbed: one request per generation there."""
    known: dict[Question, set[Address]] = {}
    for request in log:
        generation, first = map(int, request["id"].split("/")[:2])
        split = images(generation, first).split
        for row, question in enumerate(questions(request)):
            candidate = held_out(split, row) if split else first if first == FINAL else first + row
            known.setdefault(question, set()).add((generation, candidate))
    return known


def recorded(store: Path) -> set[Address]:
    """Return what the store holds answers for."""
    try:
        with RunReader(store) as reader:
            return {(row["generation"], row["candidate"]) for row in reader.evaluations() if row["status"] == "ok"}
    except StoreError:
        return set()


def start_client(url: str, store: Path | str, options: argparse.Namespace, seed: int) -> subprocess.Popen[str]:
    """Start a session."""
    arguments = [url, str(store), str(options.queries), str(seed), options.method]
    command = [sys.executable, "-m", "bench.clip.kill", "--session", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def undisturbed(
    server: Server, folder: Path, options: argparse.Namespace, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]], float]:
    """Return the result, the server's log and the seconds of a run that nobody kills."""
    began = time.monotonic()
    client = start_client(server.url, folder / "whole.db", options, seed)
    output = client.communicate()[0]
    if client.returncode != 0:
        raise SystemExit(f"exit status {client.returncode}")
    return json.loads(output), server.asked(), time.monotonic() - began


def killed(
    server: Server, folder: Path, known: dict[Question, set[Address]], wall: float, options: Any, seed: int, rng: Any
) -> dict[str, Any]:
    """Kill client and server until ``options.kills`` of each are dead; return what came of it."""
    store = folder / "killed.db"
    kills: Counter[str] = Counter()
    asked: list[Question] = []
    again: set[Address] = set()
    held: set[Address] = set()
    while True:
        client = start_client(server.url, store, options, seed)
        while client.poll() is None:
            if kills.total() >= 2 * options.kills:
                client.wait()
                break
            try:
                client.wait(rng.uniform(0.3, 1.0) * wall / (1 + options.kills))
            except subprocess.TimeoutExpired:
                victim = rng.choice([name for name in ("client", "server") if kills[name] < options.kills])
                kills[victim] += 1
                if victim == "server":
                    server.kill()
                    server.start()
                    continue
                client.kill()
                break
        output = client.communicate()[0]
        time.sleep(0.3)  # what was in flight is answered, and logged, by now
        new = [question for request in server.asked() for question in questions(request)]
        strange = [question for question in new if question not in known]
        if strange:
            raise SystemExit(f"{len(strange)} questions that the undisturbed run did not ask, such as {strange[0]}")
        asked += new
        # A question with several numbers was asked again only if all of them were recorded.
        again |= {min(known[question]) for question in new if known[question] <= held}
        if client.returncode == 0:
            break
        if client.returncode != -signal.SIGKILL:
            raise SystemExit(f"exit status {client.returncode}")
        held = recorded(store)
    return {
        "result": json.loads(output),
        "kills": kills,
        "asked": len(asked),
        "twice": len(asked) - len(set(asked)),
        "again": len(again),
    }


def agree(result: dict[str, Any], log: list[dict[str, Any]]) -> bool:
    """Say whether client and server have counted the same prompts."""
    rows = sum(len(request["prompts"]) for request in log)
    return rows == result["counters"]["evaluations"] + result["counters"]["unknown"]


def main() -> int:
    """Print the table; exit status 1 if a line fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.clip.kill", description=__doc__)
    parser.add_argument("--task", default=TINY, metavar="MODULE:FUNCTION", help="what is served")
    parser.add_argument("--method", nargs="+", default=["asmg", "cma-es"], help="for the runs, in turn")
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--kills", type=int, default=3, help="of the client and of the server, in each run")
    parser.add_argument("--queries", type=int, default=600)
    parser.add_argument("--faults", type=float, default=0.2, help="share of the requests that go wrong")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-save", action="store_true", help="write no CSV")
    parser.add_argument("--session", nargs=5, metavar="ARGUMENT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.session:
        url, store, queries, seed, method = options.session
        session(url, store, int(queries), int(seed), method)
        return 0

    rng, methods = random.Random(options.seed), options.method
    columns = ["method", "seed", "faults", "agree", "same bits", "client kills", "server kills", "same bits, killed"]
    table = Table(
        "clip_kill", [*columns, "asked", "asked twice", "recorded, asked again"], "Tuning, killed and resumed"
    )
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        for run in range(options.runs):
            options.method, seed = methods[run % len(methods)], options.seed + run
            folder = Path(temporary) / str(run)
            folder.mkdir()
            results, servers = [], []
            for name, share in (("clean", 0.0), ("faulty", options.faults), ("killed", options.faults)):
                server = Server(options.task, folder / f"{name}.log", share, 100 * seed)
                server.start()
                try:
                    server.wait()
                    if name == "killed":
                        known = addresses(results[0][1])
                        outcome = killed(server, folder, known, results[1][2], options, seed, rng)
                    else:
                        results.append(undisturbed(server, _fresh(folder / name), options, seed))
                finally:
                    server.kill()
                servers.append(server)
            (clean, log, _), (faulty, faulty_log, _) = results
            line = {
                "agree": agree(clean, log) and agree(faulty, faulty_log),
                "same": faulty["bits"] == clean["bits"],
                "killed": outcome["result"]["bits"] == clean["bits"],
            }
            faults = servers[1].faults()
            shown = " ".join(f"{kind} {faults[kind]}" for kind in KINDS)
            words = {name: "yes" if good else "NO" for name, good in line.items()}
            kills = outcome["kills"]
            failed |= not all(line.values()) or outcome["again"] > 0
            figures = (outcome["asked"], outcome["twice"], outcome["again"])
            table.add(
                options.method, seed, shown, words["agree"], words["same"], kills["client"], kills["server"],
                words["killed"], *figures,
            )  # fmt: skip
            print(f"{options.method} {seed}: {words}, {dict(kills)}, {figures}", file=sys.stderr)
    table.show()
    if not options.no_save:
        table.save()
    print("agree: the prompts in the server's log are those that the client counts, answered or unknown")
    print("asked twice: the answer was lost, or in flight at a kill; recorded: the store held the answer already")
    print(f"all runs end with the same bits, and nothing recorded was asked again: {'NO' if failed else 'yes'}")
    return int(failed)


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    raise SystemExit(main())
