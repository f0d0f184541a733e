"""The objective of ``bench.kill`` in its three forms: a function, a command, an HTTP server.

Each answered query is one line in a log, written before the answer is given: generation, candidate (-1 -1 where it is
not told) and a hash of x.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 3e-4  # of one evaluation


def digest(x: Any) -> str:
    """Return a hash of the bits of x."""
    return hashlib.blake2b(np.asarray(x, dtype=np.float64).tobytes(), digest_size=8).hexdigest()


def values(x: Any) -> list[float]:
    """Return two objectives, summed in a fixed order."""
    f = [0.0, 0.0]
    for i, xi in enumerate(np.asarray(x, dtype=np.float64).tolist()):
        f[0] += (i + 1) * (xi - 1.0) ** 2
        f[1] += abs(xi + 1.0) / (i + 1)
    return f


class Objective:
    """The objective with its log."""

    def __init__(self, log: Path) -> None:
        self._file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __call__(self, x: Any, generation: int = -1, candidate: int = -1) -> list[float]:
        time.sleep(SECONDS)
        f = values(x)
        os.write(self._file, f"{generation} {candidate} {digest(x)}\n".encode())
        return f


def command(log: Path) -> None:
    """Answer lines of JSON."""
    objective = Objective(log)
    for line in sys.stdin:
        question = json.loads(line)
        f = objective(question["x"], question["generation"], question["candidate"])
        print(json.dumps({"id": question["id"], "f": f}), flush=True)


def server(log: Path) -> None:
    """Answer HTTP requests until the standard input is closed; the port is the first line of the output."""
    import threading

    objective = Objective(log)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            """Evaluate one batch."""
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            numbers = zip(question["x"], question["candidates"], strict=True)
            f = [objective(x, question["generation"], candidate) for x, candidate in numbers]
            body = json.dumps({"f": f}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client was killed

    with Server(("127.0.0.1", 0), Handler) as http:
        print(http.server_address[1], flush=True)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        sys.stdin.read()
        http.shutdown()


if __name__ == "__main__":
    {"command": command, "server": server}[sys.argv[1]](Path(sys.argv[2]))
