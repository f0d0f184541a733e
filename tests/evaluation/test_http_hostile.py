"""An HTTP source against answers that no honest server gives."""

import gzip
import json
import socket
import threading
import time

import numpy as np
import pytest

from pyasmg.evaluation import Job, Points
from pyasmg.evaluation.http import HTTP
from tests.evaluation.http_calls import _no_proxy, _nothing_is_left, candidates, evaluate, one_call  # noqa: F401
from tests.evaluation.http_server import ServerProcess, objectives
from tests.evaluation.raw_server import RawServer, http_answer

# ------------------------------------------------------------------------------------------- hostile answers


def endless(connection, request):
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(b"[" * 2**16)


def drip(connection, request):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(200):
        connection.sendall(b" ")
        time.sleep(0.05)


def early_reports(connection, request):
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def single_bytes(connection, request):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1\r\n[\r\n" * 2000)


def bomb(connection, request):
    body = gzip.compress(b" " * 2**28)
    connection.sendall(http_answer(body, headers=["Content-Encoding: gzip"]))


HOSTILE = {
    "nothing": lambda c, _: time.sleep(1.5),
    "closed": lambda c, _: c.shutdown(socket.SHUT_RDWR),
    "garbage": lambda c, _: c.sendall(bytes(range(256)) * 400),
    "another protocol": lambda c, _: c.sendall(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "header without end": lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 2**20),
    "endless": endless,
    "slow": drip,
    "100 for ever": early_reports,
    "single bytes": single_bytes,
    "bomb": bomb,
    "broken gzip": lambda c, _: c.sendall(http_answer(b"no gzip", headers=["Content-Encoding: gzip"])),
    "short gzip": lambda c, _: c.sendall(http_answer(gzip.compress(b"{}")[:-9], headers=["Content-Encoding: gzip"])),
    "brotli": lambda c, _: c.sendall(http_answer(b"?", headers=["Content-Encoding: br"])),
    "bad length": lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}"),
    "bad chunk": lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
    "no content": lambda c, _: c.sendall(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "upgrade": lambda c, _: c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "empty": lambda c, _: c.sendall(http_answer(b"")),
    "deep": lambda c, _: c.sendall(http_answer(b"[" * 500_000)),
    "deep object": lambda c, _: c.sendall(http_answer(b'{"f":' * 100_000)),
    "list": lambda c, _: c.sendall(http_answer(b"[1, 2]")),
    "nul": lambda c, _: c.sendall(http_answer(b"\x00\xff\xfe")),
    "no rows": lambda c, _: c.sendall(http_answer(b'{"f": null}')),
    "one row": lambda c, _: c.sendall(http_answer(b'{"f": [[1, 2]]}')),
    "bad status": lambda c, _: c.sendall(http_answer(b'{"f": [[1], [2]], "status": [0]}')),
    "a text as status": lambda c, _: c.sendall(http_answer(b'{"f": [[1], [2]], "status": [0, "bad"]}')),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_answers_become_errors_that_may_have_been_billed(kind):
    with RawServer(HOSTILE[kind]) as server, HTTP(server.url, timeout=1.0) as source:
        outcomes = one_call(source, candidates(2))
        for outcome in outcomes:
            assert outcome.values is None
            assert outcome.error
        if kind != "upgrade":  # which is a refusal
            assert all(outcome.billed and outcome.retry for outcome in outcomes)
            assert source.counters.unknown == 2
        assert source.counters.evaluations == 0


@pytest.mark.parametrize(
    "row",
    ['"1"', "[]", "[[1]]", "null", "[true]", '["1", "2"]', "[1e999, 0]", "[NaN]", "{}", "[" + "9" * 100_000 + "]"],
)
def test_hostile_rows_fail_alone(row):
    body = f'{{"f": [{row}, [1, 2]], "errors": {{}}}}'.encode()
    with RawServer(lambda c, _: c.sendall(http_answer(body))) as server, HTTP(server.url) as source:
        bad, good = one_call(source, candidates(2))
    assert bad.values is None
    assert bad.retry
    assert bad.alone
    assert good.values.tolist() == [1.0, 2.0]
    assert source.counters.evaluations == 2


def test_gzip_that_was_not_asked_for_is_read():
    def respond(connection, request):
        assert b"accept-encoding: identity" in request.lower()
        connection.sendall(http_answer(gzip.compress(b'{"f": [[1, 2]]}'), headers=["Content-Encoding: gzip"]))

    with RawServer(respond) as server, HTTP(server.url) as source:
        (outcome,) = one_call(source, candidates(1))
    assert outcome.values.tolist() == [1.0, 2.0]


def test_nobody_listens():
    with RawServer(endless) as server:
        url = server.url
    with HTTP(url) as source:
        (outcome,) = one_call(source, candidates(1))
    assert outcome.retry
    assert not outcome.billed
    assert outcome.error.startswith(f"cannot reach {url}: ConnectError")
    assert (source.counters.requests, source.counters.unknown, source.refused) == (0, 0, 0)


def test_a_server_that_is_killed_and_comes_back():
    X = candidates(60)
    with ServerProcess("--work", 0.05) as first, HTTP(first.url, batch_size=2, timeout=5.0) as source:
        result = []
        thread = threading.Thread(target=lambda: result.append(evaluate(source, X, attempts=30, backoff=0.05)))
        thread.start()
        while len(first.log()) < 8:
            time.sleep(0.02)
        first.kill()
        time.sleep(0.3)
        with ServerProcess("--port", first.port) as second:
            thread.join(60.0)
            assert not thread.is_alive()
            assert len(second.log()) > 0
    np.testing.assert_array_equal(result[0], objectives(X))
    assert source.counters.evaluations == 60


def test_an_answer_to_another_question_is_not_believed():
    def twice(connection, request):
        message = json.loads(request.partition(b"\r\n\r\n")[2])
        message["f"] = [[candidate] for candidate in message["candidates"]]
        connection.sendall(2 * http_answer(json.dumps(message).encode()))

    X = candidates(4)
    with RawServer(twice) as server, HTTP(server.url, concurrency=1, batch_size=1) as source:
        for i in range(4):
            source.start(Points.of_array(X), [Job(i)])
            (outcome,) = source.poll(20.0)
            if outcome.values is None:
                assert "must belong to" in outcome.error
            else:
                assert outcome.values.tolist() == [i]
