"""A real server process for tests: two objectives over plain JSON and KServe v2, with injected faults.

    python -m tests.evaluation.http_server --port 0 --faults 0.2 --seed 1 [--kinds 503 reset] [--log FILE]

The first line on standard output is the port. The server lives until its standard input closes, so that it never
outlives whoever started it (``ServerProcess`` does that from Python). It answers

- ``POST /`` (any path outside of /v2): plain JSON;
- ``GET /v2/models/NAME``, ``POST /v2/models/NAME/infer`` for the models ``quadratic`` (FP64), ``quadratic32`` (FP32),
  ``quadratic_json`` (FP64, answers in JSON even where binary is asked for), each with a UINT8 status;
- ``GET /log``: ``{"requests": [...], "max_active": n}``; a request for evaluations is logged, with the number of its
  rows, of those evaluated, and what was done, as soon as it was read completely, before it is answered;
- ``GET /clear``: forgets the log and the faults of the past.

A share of ``--faults`` of the requests gets a fault, drawn from a seeded generator in the order of arrival. No row
suffers more than ``--most`` faults in total, so that a fixed number of attempts always suffices.
"""

from __future__ import annotations

import argparse
import contextlib
import email.utils
import hashlib
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

#: What can be done to a request, and how many of its n rows are evaluated.
KINDS = {
    "503": 0,
    "503-after": 0,  # with Retry-After
    "429": 0,  # with Retry-After
    "429-date": 0,  # with Retry-After as a date
    "500": 1,  # all were evaluated
    "stall": 1,
    "reset": 1,
    "cut": 1,  # the body ends before Content-Length
    "malformed": 1,
    "shape": 1,  # one row too few
    "nan": 1,
    "status": 1,
}
RETRY_AFTER = 0.05  # seconds


def objective(x):
    """Return f of shape (2,) of one candidate in float64."""
    x = np.asarray(x, np.float64)
    weights = np.arange(1.0, x.size + 1.0) / x.size
    return np.array([np.sum(weights * (x - 0.3) ** 2), np.sum((x + 0.2) ** 2) + np.cos(3.0 * x[0])])


def objectives(X):
    """Return F of shape (k, 2)."""
    return np.array([objective(x) for x in X])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.lock = threading.Lock()
        self.faults = {}  # of each row, so far
        self.requests = []
        self.active = self.max_active = 0
        self.log_file = None if options.log is None else Path(options.log).open("a", encoding="utf-8")  # noqa: SIM115
        super().__init__((options.host, options.port), Handler)

    def handle_error(self, request, client_address):
        """A client that goes away is no reason to print a traceback."""

    def choose(self, X, path, authorization):
        """Decide what is done to a request, and log it; return the kind and the row that suffers."""
        options = self.options
        keys = [hashlib.sha256(x.tobytes()).digest() for x in X]
        with self.lock:
            kind, row, evaluated = "ok", 0, len(X)
            faulty = self.random.random() < options.faults
            chosen = self.random.choice(options.kinds)
            if options.max_batch is not None and len(X) > options.max_batch:
                kind, evaluated = "413", 0
            elif options.token is not None and authorization != options.token:
                kind, evaluated = "401", 0
            elif faulty:
                row = self.random.randrange(len(X))
                hit = [keys[row]] if chosen in ("nan", "status") else keys
                if all(self.faults.get(key, 0) < options.most for key in hit):
                    self.faults.update({key: self.faults.get(key, 0) + 1 for key in hit})
                    kind, evaluated = chosen, KINDS[chosen] * len(X)
            entry = {"rows": len(X), "kind": kind, "evaluated": evaluated, "time": time.time(), "path": path}
            entry.update(authorization=authorization, keys=[key.hex()[:16] for key in keys])
            self.requests.append(entry)
            if self.log_file is not None:
                print(json.dumps(entry), file=self.log_file, flush=True)
        return kind, row


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # status line, headers and body leave together

    def log_message(self, *args):
        pass

    # ------------------------------------------------------------------------------------------------ requests

    def do_GET(self):
        server = self.server
        if self.path == "/log":
            with server.lock:
                self.answer({"requests": server.requests, "max_active": server.max_active})
        elif self.path == "/clear":
            with server.lock:
                server.requests.clear()
                server.faults.clear()
                server.max_active = 0
            self.answer({})
        elif self.path.startswith("/v2/models/quadratic") and not self.path.endswith("/config"):
            name = self.path.split("/")[3]
            datatype = "FP32" if name.endswith("32") else "FP64"
            metadata = {
                "name": name,
                "platform": "python",
                "inputs": [{"name": "x", "datatype": datatype, "shape": [-1, server.options.dimension]}],
                "outputs": [
                    {"name": "f", "datatype": datatype, "shape": [-1, 2]},
                    {"name": "status", "datatype": "UINT8", "shape": [-1, 1]},
                ],
            }
            if server.options.max_batch is not None and server.options.publish:
                metadata["parameters"] = {"max_batch_size": server.options.max_batch}
            self.answer(metadata)
        else:
            self.answer({"error": "no such thing"}, status=404)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        with server.lock:
            server.active += 1
            server.max_active = max(server.max_active, server.active)
        try:
            time.sleep(server.options.work)
            kserve = self.path.startswith("/v2/")
            try:
                X = self.read_tensor(body) if kserve else np.array(json.loads(body)["x"], np.float64)
            except (ValueError, KeyError, TypeError) as error:
                self.answer({"error": f"{type(error).__name__}: {error}"}, status=400)
                return
            kind, row = server.choose(X, self.path, self.headers.get("Authorization"))
            self.act(kind, row, X, kserve)
        finally:
            with server.lock:
                server.active -= 1

    def act(self, kind, row, X, kserve):
        """Answer, or do what the fault wants."""
        if kind in ("503", "503-after"):
            later = {"Retry-After": str(RETRY_AFTER)} if kind == "503-after" else {}
            self.answer({"error": "overloaded"}, status=503, headers=later)
        elif kind == "429":
            self.answer({"error": "slow down"}, status=429, headers={"Retry-After": str(RETRY_AFTER)})
        elif kind == "429-date":
            now = time.time()
            dates = {"Date": email.utils.formatdate(now, usegmt=True)}
            dates["Retry-After"] = email.utils.formatdate(now + 1.0, usegmt=True)
            self.answer({"error": "slow down"}, status=429, headers=dates)
        elif kind == "413":
            self.answer({"error": f"at most {self.server.options.max_batch} rows"}, status=413)
        elif kind == "401":
            self.answer({"error": f"who is {self.headers.get('Authorization')}?"}, status=401)
        elif kind == "500":
            self.answer({"error": "it broke"}, status=500)
        elif kind == "stall":
            # Until the client gives up, or for a while.
            select.select([self.connection], [], [], self.server.options.stall)
            self.close_connection = True
        elif kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        else:
            self.evaluate(kind, row, X, kserve)

    def evaluate(self, kind, row, X, kserve):
        F, status = objectives(X), np.zeros(len(X), np.uint8)
        if kind == "nan":
            F[row] = np.nan
        elif kind == "status":
            F[row], status[row] = 7.0, 3
        elif kind == "shape":
            F, status = F[:-1], status[:-1]
        body, headers = (self.write_tensors if kserve else self.write_json)(F, status)
        if kind == "malformed":
            body = b'{"f": [[1.0, ' + bytes(range(200, 256)) + body[:20]
        self.answer_bytes(body[: len(body) // 2] if kind == "cut" else body, length=len(body), headers=headers)

    # ------------------------------------------------------------------------------------------------- formats

    def write_json(self, F, status):
        answer = {"f": F.tolist()}
        if status.any():
            answer["status"] = status.tolist()
            answer["errors"] = ["did not converge" if code else None for code in status]
        if self.server.options.price is not None:
            answer["cost"] = [self.server.options.price] * len(F)
        return json.dumps(answer).encode(), {"Content-Type": "application/json"}

    def read_tensor(self, body):
        """Return the input of a request; strict, because it is what tests the client."""
        length = int(self.headers["Inference-Header-Content-Length"])
        message = json.loads(body[:length])
        self.request_id = message["id"]
        (tensor,) = message["inputs"]
        datatype = "FP32" if "quadratic32" in self.path else "FP64"
        size = tensor["parameters"]["binary_data_size"]
        if (tensor["name"], tensor["datatype"]) != ("x", datatype) or size != len(body) - length:
            raise ValueError(f"unexpected input {tensor}")
        if message["parameters"] != {"binary_data_output": True}:
            raise ValueError("the outputs must be asked for in binary")
        if message["outputs"] != [{"name": name, "parameters": {"binary_data": True}} for name in ("f", "status")]:
            raise ValueError(f"unexpected outputs {message['outputs']}")
        dtype = "<f4" if datatype == "FP32" else "<f8"
        return np.frombuffer(body[length:], dtype).reshape(tensor["shape"])

    def write_tensors(self, F, status):
        name = self.path.split("/")[3]
        datatype = "FP32" if name == "quadratic32" else "FP64"
        values = F.astype("<f4" if datatype == "FP32" else "<f8")
        outputs = [
            {"name": "status", "datatype": "UINT8", "shape": [len(F), 1]},
            {"name": "f", "datatype": datatype, "shape": list(F.shape)},
        ]
        if name == "quadratic_json":
            outputs[0]["data"], outputs[1]["data"] = status.tolist(), values.ravel().tolist()
            return json.dumps({"model_name": name, "id": self.request_id, "outputs": outputs}).encode(), {
                "Content-Type": "application/json"
            }
        arrays = [status, values]
        for output, array in zip(outputs, arrays, strict=True):
            output["parameters"] = {"binary_data_size": array.nbytes}
        header = json.dumps({"model_name": name, "id": self.request_id, "outputs": outputs}).encode()
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(header))}
        return header + b"".join(array.tobytes() for array in arrays), headers

    def answer(self, message, *, status=200, headers=None):
        self.answer_bytes(json.dumps(message).encode(), status=status, headers=headers)

    def answer_bytes(self, body, *, length=None, status=200, headers=None):
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body) if length is None else length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        if length is not None and length != len(body):
            self.close_connection = True


class ServerProcess:
    """The server as a child process.

    ``ServerProcess("--faults", "0.2")`` has ``url``, ``port``, :meth:`log`, :meth:`close` and :meth:`kill`.
    """

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "tests.evaluation.http_server", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        line = self.process.stdout.readline()
        if not line.strip().isdigit():
            self.close()
            raise RuntimeError(f"the server did not start: {line!r}")
        self.port = int(line)
        self.url = f"http://127.0.0.1:{self.port}"

    def get(self, path):
        """Return the JSON at a path."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.url + path, timeout=30.0) as response:
            return json.load(response)

    def log(self):
        """Return all requests so far."""
        return self.get("/log")["requests"]

    def kill(self):
        """End it by SIGKILL."""
        self.process.kill()
        self.close()

    def close(self):
        """End it; may be called twice."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait(30.0)
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--faults", type=float, default=0.0, help="share of requests")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of faults; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=3, help="faults that one row suffers at most")
    parser.add_argument("--stall", type=float, default=30.0, help="seconds that a stalled request is held")
    parser.add_argument("--work", type=float, default=0.0, help="seconds that each request takes")
    parser.add_argument("--max-batch", type=int, default=None, help="rows per request; more are answered by 413")
    parser.add_argument("--publish", action="store_true", help="put --max-batch into the KServe metadata")
    parser.add_argument("--dimension", type=int, default=-1, help="of x in the KServe metadata")
    parser.add_argument("--token", default=None, help="value of Authorization without which the answer is 401")
    parser.add_argument("--price", type=float, default=None, help="cost that is reported for each row (plain JSON)")
    parser.add_argument("--log", default=None, metavar="FILE", help="append each log entry as a line of JSON")
    with Server(parser.parse_args()) as server:
        print(server.server_address[1], flush=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            while sys.stdin.buffer.read(2**16):
                pass
        os._exit(0)  # requests in progress are dropped


if __name__ == "__main__":
    main()
