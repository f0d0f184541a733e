"""``pyasmg clip serve`` and ``tune``: options, what is printed and written, exit status."""

import csv
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors import safe_open

import pyasmg.clip
from pyasmg.cli import main
from pyasmg.clip._tune import tune
from pyasmg.clip.server import create_app, serve
from tests.clip.toy import Logged, Toy, serving

SMALL = ["--dimension", "6", "--popsize", "6", "--max-queries", "80", "--validate-every", "5", "--seed", "2"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def toys(monkeypatch):
    """Let ``--model tiny`` be a toy; return those that were made."""
    made = []

    def tiny(domains=None, *, batch_size=64, seed=0):
        made.append((domains, batch_size, seed, Logged(batch_size=batch_size)))
        return made[-1][-1]

    monkeypatch.setattr(pyasmg.clip, "tiny", tiny, raising=False)
    return made


def file_of(path):
    with safe_open(path, "np") as file:
        return file.get_tensor("v"), file.metadata()


def test_tune_here(toys, capsys, tmp_path):
    options = [
        "--batch-size",
        "16",
        "--data-seed",
        "4",
        "--domains",
        "a, b",
        "--weighting",
        "pareto",
        "--step-size",
        "0.5",
    ]
    assert main(["clip", "tune", "--local", *SMALL, *options]) == 0
    assert toys[0][:3] == (["a", "b"], 16, 4)
    v, metadata = file_of(tmp_path / "pyasmg-prompt.safetensors")
    expected = tune(
        Toy(batch_size=16), d=6, popsize=6, max_queries=80, validate_every=5, seed=2, weighting="pareto", step_size=0.5
    )
    np.testing.assert_array_equal(v, expected.v)
    assert json.loads(metadata["settings"])["model"] == "tiny"
    out = capsys.readouterr().out
    for words in (*Toy.task_names, "average", "worst", "zero-shot %", "tuned %", "difference", "queries"):
        assert words in out
    assert "written: pyasmg-prompt.safetensors" in out


def test_tune_a_server(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIP_KEY", "sesame")
    with serving(create_app(Toy(), api_key="sesame", name="b-32")) as url:
        server = ["--url", url, "--name", "b-32", "--auth-env", "CLIP_KEY"]
        assert main(["clip", "tune", *server, *SMALL, "--output", "p.safetensors", "--price-per-query", "0.5"]) == 0
    v, metadata = file_of(tmp_path / "p.safetensors")
    np.testing.assert_array_equal(v, tune(Toy(), d=6, popsize=6, max_queries=80, validate_every=5, seed=2).v)
    assert "sesame" not in str(metadata)
    out = capsys.readouterr().out
    assert f"cost {0.5 * json.loads(metadata['queries'])['total']:g}" in out


def test_a_store_is_gone_on_with(toys, capfd):
    command = ["clip", "tune", "--local", *SMALL, "--store", "run.db", "--output", "p.safetensors"]
    assert main(command) == 0
    assert main(command) == 0
    assert toys[1][-1].asked == []
    assert main([*command, "--resume", "never"]) == 1
    assert "holds a run already" in capfd.readouterr().err
    assert main([*command, "--method", "es"]) == 1
    assert "other settings" in capfd.readouterr().err
    assert main(["show", "run.db"]) == 0
    assert "evaluations" in capfd.readouterr().out
    assert main(["export", "run.db", "--csv", "run.csv"]) == 0
    with open("run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    held_out = [row for row in rows if int(row["candidate"]) < -1]
    assert held_out
    for row in rows:
        assert None not in row
        assert row["status"] == "ok"
        assert (row["f6"] != "") == (row in held_out)  # accuracies behind the losses
        assert row["attempts"] == "1"


def test_ctrl_c_leaves_what_there_is(monkeypatch, tmp_path):
    class Stopped(Toy):
        def losses(self, prompts, batch_id=-1):
            if batch_id == 4:
                raise KeyboardInterrupt
            return super().losses(prompts, batch_id)

    monkeypatch.setattr(pyasmg.clip, "tiny", lambda *a, **k: Stopped(), raising=False)
    assert main(["clip", "tune", "--local", *SMALL]) == 130
    assert (tmp_path / "pyasmg-prompt.safetensors").exists()


def test_a_run_that_fails_leaves_what_there_is(monkeypatch, tmp_path, capsys):
    class Broken(Toy):
        def losses(self, prompts, batch_id=-1):
            if batch_id == 4:
                raise RuntimeError("out of memory")
            return super().losses(prompts, batch_id)

    monkeypatch.setattr(pyasmg.clip, "tiny", lambda *a, **k: Broken(), raising=False)
    assert main(["clip", "tune", "--local", *SMALL]) == 1
    v, metadata = file_of(tmp_path / "pyasmg-prompt.safetensors")
    assert v.any()
    assert "out of memory" in metadata["message"]
    assert "out of memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--max-queries", "80"], "either --url or --local"),
        (["--local", "--url", "http://x", "--max-queries", "80"], "either --url or --local"),
        (["--local"], "--max-queries"),
        (["--local", "--max-queries", "x"], "must be an integer; got 'x'"),
        (["--local", "--max-queries", "5"], "--max-queries"),
        (["--local", "--max-queries", "80", "--method", "adam"], "--method must be one of"),
        (["--local", "--max-queries", "80", "--method", "es", "--weighting", "level"], "--weighting is for ASMG"),
        (["--local", "--max-queries", "80", "--step-size", "big"], "--step-size must be auto or a number"),
        (["--local", "--max-queries", "80", "--weighting", "best"], "--weighting must be one of"),
        (["--local", "--max-queries", "80", "--data", "x"], "for other models than tiny"),
        (["--local", "--max-queries", "80", "--model", "ViT-B-32"], "--data must name"),
        (["--local", "--max-queries", "80", "--output", "none/p"], "--output must be"),
        (["--local", "--max-queries", "80", "--send-v"], "--send-v needs a server"),
        (["--url", "ftp://x", "--max-queries", "80"], "--url must be a URL"),
    ],
)
def test_options_that_make_no_sense(toys, capsys, options, words):
    assert main(["clip", "tune", *options]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_server_that_is_not_there(capsys, monkeypatch):
    monkeypatch.setattr("pyasmg._cli_clip.PATIENCE", 0.0)
    assert main(["clip", "tune", "--url", "http://127.0.0.1:9", *SMALL]) == 1
    assert "cannot reach http://127.0.0.1:9" in capsys.readouterr().err


def test_serve_hands_its_options_on(toys, capsys, monkeypatch, tmp_path):
    apps = []
    monkeypatch.setenv("CLIP_KEY", "sesame")
    monkeypatch.setattr(
        "uvicorn.Server.run", lambda self, sockets: apps.append((self.config, sockets[0].getsockname()))
    )
    options = ["--port", "0", "--auth-env", "CLIP_KEY", "--log", "log", "--dimension", "5", "--projection-seed", "9"]
    assert main(["clip", "serve", *options, "--name", "toy", "--max-waiting", "3"]) == 0
    config, (host, port) = apps[0]
    assert capsys.readouterr().out == f"http://{host}:{port}\n"
    with TestClient(config.app) as client:
        assert client.get("/v2/models/toy").status_code == 401
        metadata = client.get("/v2/models/toy", headers={"Authorization": "Bearer sesame"}).json()
    assert metadata["parameters"]["projection"] == {"d": 5, "seed": 9}
    assert (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--port", "70000"], 2, "--port"),
        (["--auth-env", "NO_SUCH_VARIABLE"], 2, "NO_SUCH_VARIABLE"),
        (["--name", "a/b"], 2, "--name"),
        (["--host", "256.1.1.1"], 1, ""),
        (["--log", "none/log"], 1, "none/log"),
    ],
)
def test_serve_options_that_make_no_sense(toys, capsys, options, status, words):
    assert main(["clip", "serve", *options]) == status
    assert words in capsys.readouterr().err


def test_an_address_that_is_taken(toys, capsys):
    with serving(create_app(Toy())) as url:
        assert main(["clip", "serve", "--port", url.rpartition(":")[2]]) == 1
    assert "in use" in capsys.readouterr().err


def test_ipv6(toys, monkeypatch):
    urls = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    try:
        serve(Toy(), host="::1", port=0, ready=urls.append)
    except OSError:
        pytest.skip("no IPv6 here")
    assert urls[0].startswith("http://[::1]:")
