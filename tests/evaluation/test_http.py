"""Objective values over HTTP, against a real server process with real faults."""

import json
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pyasmg.evaluation import Job, Points
from pyasmg.evaluation._http_rate_limit import LONGEST_PAUSE, retry_after
from pyasmg.evaluation._http_text import one_line, public_url, split_url
from pyasmg.evaluation.http import HTTP
from tests.evaluation.http_calls import (  # noqa: F401
    LATE,
    ROWS,
    SECRET,
    _no_proxy,
    _nothing_is_left,
    candidates,
    check_books,
    evaluate,
    one_call,
)
from tests.evaluation.http_server import KINDS, RETRY_AFTER, ServerProcess, objectives
from tests.evaluation.raw_server import RawServer, http_answer

# --------------------------------------------------------------------------------------------------------- good


def test_values_are_those_of_the_objective_to_the_bit():
    X = candidates(37)
    with ServerProcess() as server, HTTP(server.url) as source:
        F = source(X)
        log = server.log()
    np.testing.assert_array_equal(F, objectives(X))
    assert source.failures == []
    assert sorted(entry["rows"] for entry in log) == [7, 10, 10, 10]
    assert source.counters.evaluations == 37
    check_books(source, log)


def test_the_request_names_generation_and_candidates():
    def respond(connection, request):
        connection.sendall(http_answer(b'{"f": [[1], [2]]}'))

    X = candidates(9).astype(np.float32)
    with RawServer(respond) as server, HTTP(server.url + "/evaluate?k=1", headers={"X-Run": "a"}) as source:
        points = Points(4, X.__getitem__, 5, X.dtype)
        source.start(points, [Job(7), Job(2)])
        outcomes = source.poll(20.0)
    assert sorted((outcome.job.candidate, float(outcome.values[0])) for outcome in outcomes) == [(2, 2.0), (7, 1.0)]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /evaluate?k=1 HTTP/1.1\r\n")
    assert b"x-run: a" in head.lower()
    assert b"content-type: application/json" in head.lower()
    message = json.loads(body)
    assert message["generation"] == 4
    assert message["candidates"] == [7, 2]
    np.testing.assert_array_equal(np.array(message["x"]), X[[7, 2]].astype(np.float64))


def test_one_objective_may_come_without_brackets():
    with RawServer(lambda c, _: c.sendall(http_answer(b'{"f": [1.5, 2]}'))) as server, HTTP(server.url) as source:
        outcomes = one_call(source, candidates(2))
    assert [outcome.values.tolist() for outcome in outcomes] == [[1.5], [2.0]]


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        ("[0.25, 3]", [0.25, 3.0]),
        ("0.5", [0.25, 0.25]),
        ("[1, -2]", [1.0, None]),
        ('"much"', [None, None]),
        ("[1]", [None, None]),
        ("NaN", [None, None]),
    ],
)
def test_costs(cost, expected):
    body = f'{{"f": [[1, 2], [3, 4]], "cost": {cost}}}'.encode()
    with RawServer(lambda c, _: c.sendall(http_answer(body))) as server, HTTP(server.url) as source:
        outcomes = one_call(source, candidates(2))
    assert [outcome.cost for outcome in outcomes] == expected
    assert [outcome.values.tolist() for outcome in outcomes] == [[1.0, 2.0], [3.0, 4.0]]


# ------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/", "/v2/models/quadratic"])
def test_each_fault_alone(kind, path):
    """Every row suffers the fault once; the end is as if nothing had been."""
    X = candidates(12)
    arguments = ("--faults", 1.0, "--most", 1, "--kinds", kind)
    with ServerProcess(*arguments) as server, HTTP(server.url + path, timeout=1.0, concurrency=3) as source:
        F = evaluate(source, X)
        log = server.log()
    np.testing.assert_array_equal(F, objectives(X))
    check_books(source, log)
    assert {entry["kind"] for entry in log} == {"ok", kind}
    n_hit = sum(entry["kind"] == kind for entry in log) if kind in ROWS else 12
    assert source.counters.retries == n_hit
    n_late = sum(entry["rows"] for entry in log if entry["kind"] in LATE)
    assert n_late == (12 if kind in LATE else 0)


@pytest.mark.parametrize("path", ["/", "/v2/models/quadratic", "/v2/models/quadratic_json"])
def test_all_faults_mixed(path):
    X = candidates(160)
    arguments = ("--faults", 0.2, "--seed", 3)
    with ServerProcess(*arguments) as server, HTTP(server.url + path, timeout=1.0, batch_size=4) as source:
        F = evaluate(source, X)
        log = server.log()
    np.testing.assert_array_equal(F, objectives(X))
    assert source.failures == []
    check_books(source, log)
    assert len({entry["kind"] for entry in log}) > 4


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("503", {"billed": False, "retry": True, "alone": False, "text": "HTTP 503 Service Unavailable"}),
        ("429", {"billed": False, "retry": True, "alone": False, "text": "retry after 0.05 s"}),
        ("500", {"billed": True, "retry": True, "alone": True, "text": "it broke"}),
        ("stall", {"billed": True, "retry": True, "alone": False, "text": "no answer within 0.5 s"}),
        ("reset", {"billed": True, "retry": True, "alone": False, "text": ""}),
        ("cut", {"billed": True, "retry": True, "alone": False, "text": "closed connection"}),
        ("malformed", {"billed": True, "retry": True, "alone": True, "text": "must be JSON"}),
        ("shape", {"billed": True, "retry": True, "alone": True, "text": "`f` with 3 rows; got 2 rows"}),
    ],
)
def test_what_a_fault_of_a_whole_request_becomes(kind, expected):
    with ServerProcess("--faults", 1.0, "--kinds", kind) as server, HTTP(server.url, timeout=0.5) as source:
        outcomes = one_call(source, candidates(3))
    for outcome in outcomes:
        assert outcome.values is None
        assert expected["text"] in outcome.error
        assert outcome.billed == expected["billed"]
        assert outcome.retry == expected["retry"]
        assert outcome.alone == expected["alone"]
        assert outcome.retry_after == (RETRY_AFTER if kind == "429" else 0.0)
    assert source.counters.unknown == 3 * expected["billed"]
    assert source.refused == 3 * (not expected["billed"])


@pytest.mark.parametrize(("kind", "text"), [("nan", "[nan, nan]"), ("status", "did not converge")])
def test_a_bad_row_costs_only_itself(kind, text):
    X = candidates(4)
    with ServerProcess("--faults", 1.0, "--kinds", kind) as server, HTTP(server.url) as source:
        outcomes = one_call(source, X)
    bad = [i for i, outcome in enumerate(outcomes) if outcome.values is None]
    assert len(bad) == 1
    for i, outcome in enumerate(outcomes):
        assert outcome.billed
        if i in bad:
            assert text in outcome.error
            assert outcome.retry
            assert outcome.alone
        else:
            np.testing.assert_array_equal(outcome.values, objectives(X)[i])
    assert source.counters.evaluations == 4
    assert source.counters.unknown == 0


def test_a_second_timeout_separates_the_rows():
    with ServerProcess("--faults", 1.0, "--kinds", "stall") as server, HTTP(server.url, timeout=0.3) as source:
        assert all(outcome.alone for outcome in one_call(source, candidates(2), attempt=2))
        assert not one_call(source, candidates(1), attempt=2)[0].alone


def test_retry_after_holds_for_the_whole_source():
    """One 429 with Retry-After: 1 (as a date, which counts whole seconds) stops every request until then."""
    X = candidates(8)
    arguments = ("--faults", 1.0, "--kinds", "429-date", "--most", 1)
    with ServerProcess(*arguments) as server, HTTP(server.url, concurrency=1) as source:
        one_call(source, X[:1])
        one_call(source, X[1:])
        log = server.log()
    assert [entry["kind"] for entry in log] == ["429-date", "429-date"]
    assert log[1]["time"] - log[0]["time"] >= 0.9


@pytest.mark.parametrize(
    ("status", "retry", "text"),
    [
        ("400 Bad Request", False, "HTTP 400 Bad Request: 'x is too large'"),
        ("404 Not Found", False, "HTTP 404"),
        ("408 Request Timeout", True, "HTTP 408"),
        ("422 Unprocessable Entity", False, "x is too large"),
        ("401 Unauthorized", False, "no `auth_env` is given"),
        ("403 Forbidden", False, "refuses the login"),
        ("413 Content Too Large", False, "HTTP 413"),
        ("502 Bad Gateway", True, "HTTP 502"),
        ("599 Odd", True, "HTTP 599: 'x is too large'"),
        ("307 Temporary Redirect", False, "redirects to https://elsewhere.org/b?token=...; redirects are not"),
    ],
)
def test_statuses(status, retry, text):
    answer = http_answer(
        b"x is\n too\x00large", status=status, headers=["Location: https://me:pw@elsewhere.org/b?token=abc"]
    )
    with RawServer(lambda c, _: c.sendall(answer)) as server, HTTP(server.url) as source:
        (outcome,) = one_call(source, candidates(1))
    assert outcome.retry == retry
    assert text in outcome.error
    assert "pw" not in outcome.error
    assert outcome.billed == (status[0] == "5")
    assert outcome.fatal == (status[:3] in ("401", "403", "404", "307"))
    assert (source.counters.unknown, source.refused) == ((1, 0) if status[0] == "5" else (0, 1))
    assert len(server.requests) == 1


# ------------------------------------------------------------------------------------------------------ limits


def test_batches_are_balanced():
    source = HTTP("http://localhost:1", concurrency=4)
    assert [source.batch_size(n) for n in (0, 1, 3, 4, 5, 64, 65)] == [1, 1, 1, 1, 2, 16, 17]
    source = HTTP("http://localhost:1", concurrency=4, batch_size=10)
    assert [source.batch_size(n) for n in (8, 40, 41, 64)] == [2, 10, 6, 8]
    source = HTTP("http://localhost:1", concurrency=1, batch_size=10)
    assert [source.batch_size(n) for n in (8, 10, 11)] == [8, 10, 6]


def test_413_halves_the_batches():
    X = candidates(64)
    with ServerProcess("--max-batch", 5) as server, HTTP(server.url, concurrency=2) as source:
        F = evaluate(source, X, attempts=1)
        log = server.log()
        assert source.batch_size(64) <= 5
    np.testing.assert_array_equal(F, objectives(X))
    check_books(source, log)
    good = [entry["rows"] for entry in log if entry["kind"] == "ok"]
    assert max(good) <= 5
    assert len(log) - len(good) <= 2 * 3  # each of the two first calls: 32, 16, 8
    assert source.counters.retries == 0


def test_never_more_than_concurrency():
    with ServerProcess("--work", 0.05) as server:
        with HTTP(server.url, concurrency=3, batch_size=1) as source:
            points, X = Points.of_array(candidates(12)), candidates(12)
            for i in range(12):  # more calls than slots
                source.start(points, [Job(i)])
            outcomes = []
            while len(outcomes) < 12:
                outcomes += source.poll(20.0)
        assert server.get("/log")["max_active"] == 3
    F = objectives(X)
    for outcome in outcomes:
        np.testing.assert_array_equal(outcome.values, F[outcome.job.candidate])


def test_rate_limit():
    with ServerProcess() as server, HTTP(server.url, concurrency=8, batch_size=1, rate_limit=20.0) as source:
        begin = time.monotonic()
        evaluate(source, candidates(15))
        assert time.monotonic() - begin >= 14 / 20.0
        assert len(server.log()) == 15


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 0.0),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, 0.0),
        ({"retry-after": "nan"}, 0.0),
        ({"retry-after": "inf"}, 0.0),
        ({"retry-after": "1e300"}, LONGEST_PAUSE),
        (
            {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT", "date": "Fri, 31 Dec 1999 23:59:49 GMT"},
            10.0,
        ),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, LONGEST_PAUSE),
        ({"retry-after": "Fri, 99 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 -0000", "date": "Fri, 31 Dec 1999 23:59:58 GMT"}, 1.0),
    ],
)
def test_retry_after(headers, expected):
    assert retry_after(headers) == expected


def test_a_rate_limit_by_403():
    answer = http_answer(b"slow down", status="403 Forbidden", headers=["Retry-After: 0.1"])
    with RawServer(lambda c, _: c.sendall(answer)) as server, HTTP(server.url) as source:
        (outcome,) = one_call(source, candidates(1))
    assert (outcome.retry, outcome.fatal, outcome.retry_after) == (True, False, 0.1)


# ----------------------------------------------------------------------------------------------------- secrets


def everything_shown(source, outcomes):
    shown = [source.name, repr(source), repr(vars(source)), repr(outcomes), repr(pickle.dumps(source))]
    return "\n".join([*shown, *(outcome.error + outcome.traceback for outcome in outcomes)])


def test_the_secret_is_sent_and_never_shown(monkeypatch, caplog):
    monkeypatch.setenv("PYASMG_TEST_TOKEN", SECRET)
    caplog.set_level(logging.DEBUG)
    X = candidates(3)
    with ServerProcess("--token", f"Bearer {SECRET}") as server:
        with HTTP(server.url, auth_env="PYASMG_TEST_TOKEN") as source:
            outcomes = one_call(source, X)
            assert all(outcome.values is not None for outcome in outcomes)
            assert server.log()[0]["authorization"] == f"Bearer {SECRET}"
            shown = everything_shown(source, outcomes)
            monkeypatch.setenv("PYASMG_TEST_TOKEN", "wrong-" + SECRET)  # read again for each request
            outcomes = one_call(source, X)
            shown += everything_shown(source, outcomes)
        for outcome in outcomes:
            assert outcome.fatal
            assert not outcome.billed
            assert "PYASMG_TEST_TOKEN" in outcome.error
            assert "401" in outcome.error
    assert SECRET not in shown
    assert SECRET not in caplog.text
    assert "HTTP Request" in caplog.text  # httpx does log


@pytest.mark.parametrize("place", ["error text", "row error", "garbled", "location", "status line"])
def test_a_secret_that_the_server_repeats_is_not_shown(monkeypatch, place):
    monkeypatch.setenv("PYASMG_TEST_TOKEN", SECRET)
    padding = "x" * 110
    answer = {
        "error text": http_answer(f"{padding} {SECRET}".encode(), status="400 Bad"),
        "row error": http_answer(json.dumps({"f": [None], "errors": ["y" * 193 + SECRET]}).encode()),
        "garbled": http_answer(f"{padding} {SECRET}".encode()),
        "location": http_answer(b"", status="302 Found", headers=[f"Location: /{SECRET}"]),
        "status line": http_answer(b"", status=f"{SECRET} Hm"),
    }[place]
    with RawServer(lambda c, _: c.sendall(answer)) as server:
        with HTTP(server.url, auth_env="PYASMG_TEST_TOKEN", auth_header="X-Key", auth_scheme="") as source:
            (outcome,) = one_call(source, candidates(1))
        assert f"x-key: {SECRET}\r\n".encode() in server.requests[0].lower()
    assert outcome.error
    assert SECRET[:6] not in outcome.error


def test_user_and_password_in_the_url(caplog):
    caplog.set_level(logging.DEBUG)
    answer = http_answer(b"who is bWU6aHVzaC1odXNo? hush-hush!", status="401 Unauthorized")
    with RawServer(lambda c, _: c.sendall(answer)) as server:
        url = server.url.replace("//", "//me:hush-hush@") + "/a?key=sotto-voce&n=3#top"
        with HTTP(url) as source:
            (outcome,) = one_call(source, candidates(1))
        assert source.name == server.url + "/a?key=...&n=..."
        assert b"authorization: Basic bWU6aHVzaC1odXNo\r\n" in server.requests[0].replace(b"Auth", b"auth")
        assert server.requests[0].startswith(b"POST /a?key=sotto-voce&n=3 HTTP/1.1")
    for word in ("hush", "bWU6aHVzaC1odXNo"):
        assert word not in source.name + repr(source) + outcome.error + caplog.text
    assert "sotto" not in source.name + repr(source) + outcome.error


def test_a_missing_or_impossible_secret(monkeypatch):
    monkeypatch.delenv("PYASMG_TEST_TOKEN", raising=False)
    with pytest.raises(ValueError, match="PYASMG_TEST_TOKEN must hold the secret"):
        HTTP("http://localhost:1", auth_env="PYASMG_TEST_TOKEN")
    monkeypatch.setenv("PYASMG_TEST_TOKEN", f"{SECRET}\r\nX-Other: 1")
    with pytest.raises(ValueError, match="one line of printable ASCII") as caught:
        HTTP("http://localhost:1", auth_env="PYASMG_TEST_TOKEN")
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("PYASMG_TEST_TOKEN", SECRET)
    with HTTP("http://localhost:1", auth_env="PYASMG_TEST_TOKEN") as source:
        monkeypatch.delenv("PYASMG_TEST_TOKEN")
        (outcome,) = one_call(source, candidates(1))
    assert outcome.fatal
    assert not outcome.billed
    assert "PYASMG_TEST_TOKEN" in outcome.error


# ----------------------------------------------------------------------------------------- processes and threads


def test_ctrl_c_while_waiting():
    with ServerProcess("--faults", 1.0, "--kinds", "stall") as server, HTTP(server.url) as source:
        source.start(Points.of_array(candidates(2)), [Job(0), Job(1)])
        timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            source.poll(None)
        timer.join()
        assert source.poll(0.0) == []
        source.cancel()
        assert source.poll(None) == []  # nothing to wait for
        assert server.get("/log")["requests"][0]["kind"] == "stall"


def test_cancel_forgets_and_the_source_still_works():
    X = candidates(4)
    with ServerProcess("--faults", 1.0, "--kinds", "stall", "--most", 1) as server, HTTP(server.url) as source:
        source.start(Points.of_array(X), [Job(i) for i in range(4)])
        while not server.log():
            time.sleep(0.01)
        source.cancel()
        assert source.poll(0.0) == []
        outcomes = one_call(source, X)
        source.close()
        source.close()
        np.testing.assert_array_equal([outcome.values for outcome in outcomes], objectives(X))
        assert source.counters.requests == 2
        outcomes = one_call(source, X)  # opens again
        assert all(outcome.values is not None for outcome in outcomes)


def test_cancel_while_metadata_is_fetched():
    with RawServer(lambda c, _: time.sleep(0.5)) as server, HTTP(server.url, model="a", timeout=5.0) as source:
        source.start(Points.of_array(candidates(1)), [Job(0)])
        while not server.requests:
            time.sleep(0.01)
        source.cancel()
    with ServerProcess() as server, HTTP(server.url, model="quadratic") as source:
        source.start(Points.of_array(candidates(1)), [Job(0)])
        source.cancel()
        assert one_call(source, candidates(1))[0].values is not None


def test_a_source_that_nobody_closes_ends_with_its_last_reference():
    with ServerProcess() as server:
        source = HTTP(server.url)
        one_call(source, candidates(1))
        assert any(thread.name == "pyasmg-http" for thread in threading.enumerate())
        del source
        end = time.monotonic() + 30.0
        while any(thread.name == "pyasmg-http" for thread in threading.enumerate()):
            assert time.monotonic() < end
            time.sleep(0.01)


def test_pickle():
    X = candidates(3)
    with ServerProcess() as server:
        with HTTP(server.url, timeout=7.0, concurrency=2, name="mine") as source:
            one_call(source, X)
            copy = pickle.loads(pickle.dumps(source))
        with copy:
            assert (copy.name, copy.n_slots) == ("mine", 2)
            assert copy.counters == source.counters
            assert all(outcome.values is not None for outcome in one_call(copy, X))
            assert copy.counters.evaluations == 6
            assert source.counters.evaluations == 3


def _evaluate_in_child(source, X, queue):
    queue.put([outcome.values.tolist() for outcome in one_call(source, X)])
    source.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # Python 3.12 warns of every such fork
def test_fork():
    """A child has its own connections, and the parent's go on working."""
    X = candidates(3)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    with ServerProcess() as server, HTTP(server.url) as source:
        one_call(source, X)
        child = context.Process(target=_evaluate_in_child, args=(source, X, queue))
        child.start()
        child.join(30.0)
        assert child.exitcode == 0
        assert queue.get() == objectives(X).tolist()
        assert all(outcome.values is not None for outcome in one_call(source, X))
    queue.close()


# ------------------------------------------------------------------------------------------------------ options


def test_httpx_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ImportError, match=r'pip install "pyasmg\[http\]"'):
        HTTP("http://localhost:1")


@pytest.mark.parametrize(
    ("url", "options", "error", "text"),
    [
        ("localhost:80", {}, ValueError, "http://host:port/path"),
        ("ftp://localhost", {}, ValueError, "'ftp'"),
        ("http://", {}, ValueError, "host"),
        ("http://a:b", {}, ValueError, "url"),
        ("http://a/\nb", {}, ValueError, "url"),
        (b"http://a", {}, TypeError, "`url` must be a string"),
        ("http://a", {"protocol": "soap"}, ValueError, "soap"),
        ("http://a", {"protocol": "kserve"}, ValueError, "`model` must be given"),
        ("http://a/v2/models/b", {"model": "c"}, ValueError, "'b'; got 'c'"),
        ("http://a", {"protocol": "json", "model": "c"}, ValueError, "KServe"),
        ("http://a", {"dtype": "float32"}, ValueError, "KServe"),
        ("http://a", {"model": "b", "dtype": "int8"}, ValueError, "int8"),
        ("http://a", {"batch_size": 0}, ValueError, "batch_size"),
        ("http://a", {"concurrency": 0}, ValueError, "concurrency"),
        ("http://a", {"rate_limit": 0}, ValueError, "rate_limit"),
        ("http://a", {"timeout": 0}, ValueError, "timeout"),
        ("http://a", {"headers": {"Content-Length": "3"}}, ValueError, "Content-Length"),
        ("http://a", {"headers": {"a b": "3"}}, ValueError, "a b"),
        ("http://a", {"headers": {"X-A": "3\r\nX-B: 4"}}, ValueError, "X-A"),
        ("http://a", {"auth_header": "a b"}, ValueError, "a b"),
        ("http://u:p@a", {"auth_env": "HOME"}, ValueError, "exclude"),
    ],
)
def test_wrong_options(url, options, error, text):
    with pytest.raises(error, match=text):
        HTTP(url, **options)


def test_texts():
    assert one_line("a\n\x1b[31m b\t" + "c" * 300) == "a [31m b " + "c" * 188 + "..."
    assert split_url("https://u%40:p%3A@h:1/a?b=c#d") == ("https://h:1/a?b=c", ("u@", "p:"))
    assert split_url("http://[::1]:8/a") == ("http://[::1]:8/a", None)
    assert public_url("http://u:p@h/a?b=c&d") == "http://h/a?b=...&d=..."
    assert public_url("http://[") == "an invalid address"


def test_three_seconds_of_fuzzing():
    command = [sys.executable, "-W", "error", "-m", "bench.fuzz_http", "--seconds", "3", "--seed", "1"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "values" in answer.stdout
