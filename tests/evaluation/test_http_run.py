"""Whole runs against a faulty server: the same bits as without faults, and books that balance."""

import numpy as np
import pytest

import pyasmg
from pyasmg.evaluation import HTTP
from tests.evaluation.http_server import KINDS, ServerProcess

OPTIONS = {"popsize": 12, "seed": 5, "max_evaluations": 481}
START = np.full(5, 3.0)


def run(server, path="", **options):
    retry = pyasmg.Retry(attempts=8, backoff=0.01)
    with HTTP(server.url + path, batch_size=4, concurrency=3, timeout=1.0, name="quadratic") as source:
        result = pyasmg.minimize(source, START, 1.0, retry=retry, **OPTIONS, **options)
        return result, source.counters, source.refused


@pytest.fixture(scope="module")
def whole():
    with ServerProcess() as server:
        return run(server)[0]


@pytest.mark.parametrize("path", ["", "/v2/models/quadratic"])
def test_faults_change_nothing_and_the_books_balance(whole, path, tmp_path):
    with ServerProcess("--faults", "0.2", "--seed", "7", "--most", "6") as server:
        result, counters, refused = run(server, path, store=tmp_path / "run.db")
        log = server.log()
    faults = [entry["kind"] for entry in log if entry["kind"] != "ok"]
    assert len(faults) > 10
    assert len(set(faults) & set(KINDS)) >= 6  # which ones depends on the order of arrival
    for name in ("x", "fun", "stds", "weights"):
        assert getattr(result, name).tobytes() == getattr(whole, name).tobytes(), name
    assert (result.n_failed, result.n_evaluations) == (0, whole.n_evaluations)
    rows = sum(entry["rows"] for entry in log)
    assert counters.requests == len(log)
    assert counters.evaluations + counters.unknown + refused == rows
    assert rows == result.n_evaluations + counters.retries
    assert counters.retries > 10
    with pyasmg.store.RunReader(tmp_path / "run.db") as reader:
        totals = reader.totals()
        assert (totals["ok"], totals["attempts"]) == (result.n_evaluations, rows)
        assert reader.sessions()[0]["counters"]["requests"] == len(log)


def test_a_server_that_stays_away_stops_the_run_and_nothing_is_lost(whole, tmp_path):
    path = tmp_path / "run.db"
    server = ServerProcess()

    def die(opt):
        if opt.n_iterations == 6:
            server.kill()

    retry = pyasmg.Retry(attempts=2, backoff=0.01)
    with (
        HTTP(server.url, batch_size=4, timeout=1.0, name="quadratic") as source,
        pytest.raises(pyasmg.EvaluationError, match="generation 6"),
    ):
        pyasmg.minimize(source, START, 1.0, retry=retry, store=path, callback=die, **OPTIONS)
    with ServerProcess() as server:
        result = run(server, store=path)[0]
        assert sum(entry["rows"] for entry in server.log()) == whole.n_evaluations - 6 * 12
    assert result.x.tobytes() == whole.x.tobytes()
    assert result.fun.tobytes() == whole.fun.tobytes()
