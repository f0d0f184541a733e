"""A prompt server under fire: schemathesis on its OpenAPI document, random tensors, oversized bodies, wrong keys.

It must answer every request with 2xx or with 4xx and a reason, keep answering, and not grow. 503 with Retry-After is
an answer as well: too many requests at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

from bench.common import Table, one_thread

one_thread()

from pyasmg.clip.client import RemoteTask  # noqa: E402
from pyasmg.evaluation._http_tensors import DATATYPES, HEADER_LENGTH, Tensor, encode_request  # noqa: E402

KEY, VARIABLE = "correct-horse-battery", "PYASMG_FUZZ_KEY"
MOST_GROWTH = 16.0  # MiB, after the warm-up
_WORDS = ["prompt", "v", "batch_id", "loss", "split", "origin", "test", "start", "", "\x00", "é" * 50, "a" * 5000]
_NUMBERS = [0, 1, -1, -2, 2**31, 2**32, 2**63 - 1, -(2**63), 10**40, 1.5, float("nan"), float("inf"), 1e39, True, None]


class Fuzz:
    """Random requests, and what came back."""

    def __init__(self, url: str, seed: int) -> None:
        self.url, self._rng, self._np = url, random.Random(seed), np.random.default_rng(seed)
        self.answers: Counter[tuple[str, int]] = Counter()
        self.bad: list[str] = []
        self._client = httpx.Client(timeout=30.0, headers={"Authorization": f"Bearer {KEY}"})
        shape = self._client.get(url + "/v2/models/clip").json()["parameters"]
        self.n_ctx, self.width, self.max_batch = (shape[key] for key in ("n_ctx", "width", "max_batch"))
        self.kinds = (self.good, self.values, self.mangled, self.message, self.oversized, self.keys, self.raw)

    def __enter__(self) -> Fuzz:
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()

    def step(self) -> None:
        """Send one request."""
        self._rng.choice(self.kinds)()

    def good(self) -> None:
        """Send a request that is right."""
        body, headers = self._request(self._rng.randrange(1, 9), np.float32, self._rng.randrange(2**32))
        self._post("good", body, headers)

    def values(self) -> None:
        """Send bits that are any numbers, NaN among them, and any batch_id."""
        n = self._rng.randrange(1, 5)
        prompts = self._np.integers(0, 2**32, (n, self.n_ctx, self.width), np.uint32).view(np.float32)
        batch = self._np.integers(-(2**63), 2**63 - 1, (n, 1)) if self._rng.random() < 0.5 else np.full((n, 1), 3)
        self._post("values", *self._encode(prompts, batch))

    def mangled(self) -> None:
        """Send a right request with wrong bytes, a wrong length or a cut."""
        body, headers = self._request(2, np.float32, 1)
        data = bytearray(body)
        for _ in range(self._rng.randrange(1, 20)):
            data[self._rng.randrange(len(data) if self._rng.random() < 0.3 else min(300, len(data)))] = (
                self._rng.randrange(256)
            )
        if self._rng.random() < 0.3:
            data = data[: self._rng.randrange(len(data))]
        if self._rng.random() < 0.3:
            headers[HEADER_LENGTH] = self._rng.choice(["0", "-1", "x", str(10**30), str(len(data) + 1), "7", ""])
        self._post("mangled", bytes(data), headers)

    def message(self) -> None:
        """Send JSON of the right form with wrong things in it."""
        rng = self._rng

        def anything(depth: int = 0) -> Any:
            kind = rng.randrange(5 if depth < 3 else 2)
            if kind == 0:
                return rng.choice(_NUMBERS)
            if kind == 1:
                return rng.choice(_WORDS)
            if kind == 2:
                return [anything(depth + 1) for _ in range(rng.randrange(4))]
            if kind == 3:
                return {rng.choice(_WORDS): anything(depth + 1) for _ in range(rng.randrange(3))}
            return [rng.random() for _ in range(rng.randrange(40))]

        n = self.n_ctx * self.width
        prompt = {"name": "prompt", "datatype": "FP32", "shape": [1, self.n_ctx, self.width], "data": [0.1] * n}
        batch = {"name": "batch_id", "datatype": "INT64", "shape": [1, 1], "data": [2]}
        question: dict[str, Any] = {
            "id": "x",
            "inputs": [prompt, batch],
            "parameters": {},
            "outputs": [{"name": "loss"}],
        }
        for _ in range(rng.randrange(3)):
            place = rng.choice([question, prompt, batch, question["parameters"]])
            if isinstance(place, dict) and place:
                place[rng.choice(sorted(place, key=str))] = rng.choice([anything(), rng.choice(list(DATATYPES))])
        if rng.random() < 0.3 and isinstance(question["parameters"], dict):
            question["parameters"]["split"] = rng.choice(["validation", "test", "train", "all", 3])
        self._post("message", json.dumps(question).encode(), {"Content-Type": "application/json"})

    def oversized(self) -> None:
        """Send too many rows, a body that is too long, or only say that it is."""
        kind = self._rng.randrange(3)
        if kind == 0:
            self._post("oversized", *self._request(self.max_batch + 1, np.float32, 1), expect=413)
        elif kind == 1:
            self._post("oversized", (b"0" * 2**16 for _ in range(2**10)), {}, expect=413)
        else:
            head = f"POST /v2/models/clip/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
            self._raw("oversized", f"{head}Content-Length: {10**12}\r\n\r\n".encode(), b" 413 ")

    def keys(self) -> None:
        """Send a wrong key or none, to every place that needs one."""
        wrong = self._rng.choice(["", "Bearer", "Bearer " + KEY[:-1], "Basic " + KEY, KEY, "Bearer " + "x" * 5000])
        path = self._rng.choice(["", "/infer", "/stats", "/ready"])
        body, headers = self._request(1, np.float32, 1)
        headers["Authorization"] = wrong
        if path == "/infer":
            self._post("keys", body, headers, expect=401)
        else:
            self._note("keys", lambda: httpx.get(f"{self.url}/v2/models/clip{path}", headers=headers), expect=401)

    def raw(self) -> None:
        """Send what is not HTTP, or breaks off."""
        head = f"POST /v2/models/clip/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n".encode()
        begun = head + b"Content-Length: 500\r\n\r\n{"
        kinds = [self._rng.randbytes(200), b"GET / HTTP/9.9\r\n\r\n", begun, head]
        self._raw("raw", self._rng.choice(kinds), b"")

    def _request(self, n: int, dtype: Any, batch_id: int) -> tuple[bytes, dict[str, str]]:
        prompts = self._np.normal(size=(n, self.n_ctx, self.width)).astype(dtype)
        return self._encode(prompts, np.full((n, 1), batch_id))

    @staticmethod
    def _encode(prompts: Any, batch: Any) -> tuple[bytes, dict[str, str]]:
        parts, headers = encode_request([Tensor("prompt", "FP32", prompts), Tensor("batch_id", "INT64", batch)])
        return b"".join(parts), headers

    def _post(self, kind: str, body: Any, headers: dict[str, str], expect: int | None = None) -> None:
        self._note(
            kind, lambda: self._client.post(f"{self.url}/v2/models/clip/infer", content=body, headers=headers), expect
        )

    def _note(self, kind: str, send: Any, expect: int | None = None) -> None:
        try:
            reply = send()
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            self.answers[kind, 0] += 1  # refused before all was sent: the connection is closed
            if expect != 413:
                self.bad.append(f"{kind}: no answer")
            return
        self.answers[kind, reply.status_code] += 1
        if reply.status_code >= 500 or (expect is not None and reply.status_code != expect):
            self.bad.append(f"{kind}: HTTP {reply.status_code} {reply.text[:200]}")
        elif reply.status_code >= 400 and not _has_reason(reply):
            self.bad.append(f"{kind}: HTTP {reply.status_code} without a reason: {reply.text[:200]!r}")

    def _raw(self, kind: str, data: bytes, expect: bytes) -> None:
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5.0) as connection:
            connection.sendall(data)
            connection.settimeout(2.0 if expect else 0.02)
            try:
                reply = connection.recv(4096)
            except (TimeoutError, ConnectionError):
                reply = b""
        status = int(reply[9:12]) if reply[:5] == b"HTTP/" else 0
        self.answers[kind, status] += 1
        if status >= 500 or expect not in reply:
            self.bad.append(f"{kind}: {reply[:200]!r}")


def _has_reason(reply: httpx.Response) -> bool:
    if "application/json" not in reply.headers.get("content-type", ""):
        return reply.status_code == 400  # the HTTP library's own words about what is no HTTP
    return bool(reply.json().get("error"))


class Address(NamedTuple):
    """Where the server is."""

    url: str
    pid: int


@contextlib.contextmanager
def serving(task: str, log: Path) -> Iterator[Address]:
    """Run the server in a process of its own."""
    command = [sys.executable, "-m", "bench.clip.faulty_server", task, "0", str(log), "0", "0", VARIABLE]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()  # type: ignore[union-attr]
        if not url:
            raise SystemExit("the server did not start")
        yield Address(url, process.pid)
    finally:
        process.terminate()
        process.communicate()


def memory(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise SystemExit("no VmRSS in /proc")


def schemathesis(url: str, seconds: int, seed: int) -> tuple[int, str]:
    """Run schemathesis on the server's own document."""
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "run", f"{url}/openapi.json", "--max-time", str(seconds), "--seed", str(seed)]
    command += ["--header", f"Authorization: Bearer {KEY}", "--checks", "not_a_server_error,status_code_conformance"]
    command += ["--continue-on-failure", "--suppress-health-check", "all", "--warnings", "off", "--no-color"]
    with tempfile.TemporaryDirectory() as folder:  # it leaves a folder of its own where it runs
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 120, cwd=folder)
    return answer.returncode, answer.stdout + answer.stderr


def main() -> int:
    """Print the table; exit status 1 if a line fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.clip.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="half of it schemathesis, half random requests")
    parser.add_argument("--task", default="pyasmg.clip:tiny", metavar="MODULE:FUNCTION", help="what is served")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ[VARIABLE] = KEY
    half = max(1, options.seconds // 2)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(serving(options.task, Path(folder) / "log"))
        fuzz = stack.enter_context(Fuzz(server.url, options.seed))
        _for(fuzz, 0.15 * half)  # warm-up: allocators and caches reach their size
        before = memory(server.pid)
        peak = [before]
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.2):
                peak[0] = max(peak[0], memory(server.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            status, words = schemathesis(server.url, half, options.seed)
            _for(fuzz, half)
        finally:
            done.set()
            watcher.join()
        time.sleep(0.5)
        after = memory(server.pid)
        with RemoteTask(server.url, auth_env=VARIABLE) as task:
            alive = bool(np.isfinite(task.losses(np.zeros((1, task.n_ctx, task.width)), 0)).all())
    table = Table("clip_fuzz", ["requests", "status", "count"], "Random requests to the server, and its answers")
    for (kind, code), count in sorted(fuzz.answers.items()):
        table.add(kind, str(code) if code else "connection closed", count)
    table.show()
    table.save()
    print("\n".join(words.strip().splitlines()[-15:] if status == 0 else words.splitlines()))
    for line in fuzz.bad[:20]:
        print("BAD:", line)
    print(f"memory: {before:.1f} MiB before, {peak[0]:.1f} at most, {after:.1f} after; alive: {alive}")
    failed = status != 0 or bool(fuzz.bad) or after - before > MOST_GROWTH or not alive
    print(f"no 5xx, a reason for each 4xx, no growth: {'NO' if failed else 'yes'}")
    return int(failed)


def _for(fuzz: Fuzz, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        fuzz.step()


if __name__ == "__main__":
    raise SystemExit(main())
