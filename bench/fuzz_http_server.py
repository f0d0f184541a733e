"""The server of ``bench.fuzz_http``: raw sockets, and an answer drawn at random for each request."""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import json
import os
import random
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np


def objective(x: Any) -> list[float]:
    """Return two values that are the same to the last bit wherever they are computed."""
    a, b, c = (float(value) for value in x)
    return [a * b + c, a - b * c]


class Hostile:
    """Answers at random; x[0] < 0 marks a request that may get wrong values."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def serve(self) -> None:
        """Accept for ever."""
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.talk, args=(connection, self.random.random()), daemon=True).start()

    def talk(self, connection: socket.socket, seed: float) -> None:
        """Serve one connection."""
        rng = random.Random(seed)
        with connection, contextlib.suppress(OSError, ValueError):
            connection.settimeout(3.0)
            if rng.random() < 0.03:
                reset(connection)
            for head, body in _requests(connection):
                if head.startswith(b"GET"):
                    connection.sendall(_metadata(head) if rng.random() < 0.9 else rng.randbytes(rng.randrange(2000)))
                    continue
                headers, valid, free = _valid_answer(head, body)
                kinds = KINDS if free else [kind for kind in KINDS if kind not in (changed, odd_json)]
                rng.choice(kinds)(connection, rng, headers, valid)


# Each of these takes connection, generator, and headers and body of the valid answer; OSError closes the connection.


def good(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_http(headers, body))


def good_packed(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_http([*headers, "Content-Encoding: gzip"], gzip.compress(body)))


def good_chunks(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_head([*headers, "Transfer-Encoding: chunked"]))
    while body:
        n = rng.randrange(1, len(body) + 1)
        c.sendall(b"%x\r\n%s\r\n" % (n, body[:n]))
        body = body[n:]
    c.sendall(b"0\r\n\r\n")


def good_until_closed(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_head(headers) + body)
    raise OSError


def good_in_pieces(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    data = _http(headers, body)
    for i in range(0, len(data), 100):
        c.sendall(data[i : i + 100])
        time.sleep(0.001)


def twice(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(2 * _http(headers, body))


def changed(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    data = bytearray(_http(headers, body))
    for _ in range(rng.randrange(1, 6)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    c.sendall(data)


def noise(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(rng.randbytes(rng.randrange(1, 5000)))
    raise OSError


def noise_in_http(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_http(headers, rng.randbytes(rng.randrange(5000))))


def odd_json(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    key = rng.choice(["f", "outputs", "status", "errors", "cost", "é"])
    c.sendall(_http([], json.dumps({key: _odd(rng, 4), "f": _odd(rng, 3)}).encode()))


def deep(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_http([], rng.choice([b"[", b'{"f":', b"[[],"]) * rng.randrange(2 * 10**5)))


def odd_status(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    status = rng.choice([100, 101, 204, 206, 301, 304, 400, 401, 404, 408, 413, 418, 429, 500, 503, 600, 999, 0])
    more = [f"Retry-After: {rng.choice(['0.01', '-1', 'x', '0', ''])}", f"Location: {rng.choice(['/', '//[', ''])}"]
    c.sendall(_http([*headers, *more], body, status=f"{status} {rng.choice(['', 'Hm', chr(233)])}"))


def odd_headers(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    more = bytes(rng.choice(b"abc:\r\n \x00\xff-;") for _ in range(rng.randrange(400)))
    c.sendall(b"HTTP/1.1 200 OK\r\nX-A: " + more + b"\r\n" + _http(headers, body)[17:])


def long_header(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * rng.randrange(10**6))
    raise OSError


def wrong_length(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    length = rng.choice([0, len(body) // 2, len(body) - 1, len(body) + 1, 10**12, -1, "x", "1, 2"])
    c.sendall(_head([*headers, f"Content-Length: {length}"]) + body)
    if rng.random() < 0.5:
        raise OSError


def broken_chunks(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_head([*headers, "Transfer-Encoding: chunked"]))
    size = rng.choice([b"zz", b"-1", b"ffffffffffffffff", b"1" * 40, b"5;" + b"a" * 10**5, b""])
    c.sendall(size + b"\r\n" + body)
    raise OSError


def bomb(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_http(["Content-Encoding: gzip"], _bomb()))


def bad_packing(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    encoding = rng.choice(["gzip", "deflate", "br", "zstd", "gzip, gzip", "\xff"])
    data = rng.choice([rng.randbytes(50), gzip.compress(body)[:-5], b""])
    c.sendall(_http([*headers, f"Content-Encoding: {encoding}"], data))


def endless(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_head(headers))
    while True:
        c.sendall(body * 100)


def single_bytes(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(_head(["Transfer-Encoding: chunked"]))
    while True:
        c.sendall(b"1\r\n[\r\n" * 500)


def informs(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    c.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n" * rng.randrange(3000) + _http(headers, body))


def drip(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    for byte in _http(headers, body)[:100]:
        c.sendall(bytes([byte]))
        time.sleep(0.02)


def silence(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    time.sleep(1.0)


def half(c: socket.socket, rng: random.Random, headers: list[str], body: bytes) -> None:
    data = _http(headers, body)
    c.sendall(data[: rng.randrange(len(data))])
    raise OSError


def reset(c: socket.socket, *_: Any) -> None:
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise OSError


@functools.cache
def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(packer.compress(b" " * 2**20) for _ in range(256)) + packer.flush()


_GOOD = [good, good_packed, good_chunks, good_until_closed, good_in_pieces]
_BAD = [
    *(twice, changed, noise, noise_in_http, odd_json, deep),
    *(odd_status, odd_headers, long_header, wrong_length, broken_chunks),
    *(bomb, bad_packing, endless, single_bytes, informs, drip),
    *(silence, half, reset),
]
KINDS = [*_GOOD * 4, *_BAD]


def _requests(connection: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Read requests; yield their headers and bodies."""
    data = b""
    while piece := connection.recv(2**16):
        data += piece
        while b"\r\n\r\n" in data:
            head, _, body = data.partition(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            length = int(lengths[0].split(b":")[1]) if lengths else 0
            if len(body) < length:
                break
            yield head, body[:length]
            data = body[length:]


def _head(headers: list[str], status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers]).encode("latin-1") + b"\r\n\r\n"


def _http(headers: list[str], body: bytes, status: str = "200 OK") -> bytes:
    return _head([*headers, f"Content-Length: {len(body)}"], status) + body


def _metadata(head: bytes) -> bytes:
    if b"/config" in head:
        return _http([], b"{}", status="404 Not Found")
    tensor = {"datatype": "FP64", "shape": [-1, -1]}
    return _http([], json.dumps({"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "f", **tensor}]}).encode())


def _valid_answer(head: bytes, body: bytes) -> tuple[list[str], bytes, bool]:
    """Return headers and body of the right answer, and whether it may be changed at random."""
    if b"/infer" not in head.partition(b"\r\n")[0]:
        message = json.loads(body)
        F = [objective(x) for x in message["x"]]
        answer = {"f": F, "generation": message["generation"], "candidates": message["candidates"]}
        return ["Content-Type: application/json"], json.dumps(answer).encode(), message["x"][0][0] < 0
    name = b"inference-header-content-length:"
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(name))
    message = json.loads(body[:length])
    X = np.frombuffer(body[length:], "<f8").reshape(message["inputs"][0]["shape"])
    values = np.array([objective(x) for x in X])
    output = {"name": "f", "datatype": "FP64", "shape": list(values.shape)}
    output["parameters"] = {"binary_data_size": values.nbytes}
    header = json.dumps({"id": message["id"], "outputs": [output]}).encode()
    headers = ["Content-Type: application/octet-stream", f"Inference-Header-Content-Length: {len(header)}"]
    return headers, header + values.tobytes(), bool(X[0, 0] < 0)


def _odd(rng: random.Random, depth: int) -> Any:
    """Return a random value of JSON."""
    kind = rng.randrange(8 if depth else 6)
    if kind == 6:
        return [_odd(rng, depth - 1) for _ in range(rng.randrange(5))]
    if kind == 7:
        return {rng.choice(["name", "shape", "data", "f"]): _odd(rng, depth - 1) for _ in range(rng.randrange(4))}
    return [None, True, "text\u202e" * rng.randrange(200), rng.gauss(0, 1e200), 10 ** rng.randrange(400), -1][kind]


def main() -> None:
    """Print the port, then serve until standard input closes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    hostile = Hostile(parser.parse_args().seed)
    print(hostile.listener.getsockname()[1], flush=True)
    threading.Thread(target=hostile.serve, daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main()
