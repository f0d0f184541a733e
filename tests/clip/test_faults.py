"""Short forms of the benchmarks that acceptance rests on: faults and kills, fuzzing, payload."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyasmg.clip.server import create_app
from tests.clip.toy import Toy, serving

ROOT = Path(__file__).parents[2]
TOY = "tests.clip.toy:Toy"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def results(monkeypatch, tmp_path):
    from bench import common

    monkeypatch.setattr(common, "RESULTS", tmp_path)


def run_module(name, *arguments):
    command = [sys.executable, "-m", f"bench.clip.{name}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)


def test_killed_client_and_server():
    answer = run_module("kill", "--task", TOY, "--runs=1", "--kills=1", "--queries=150", "--no-save", "--seed=3")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "nothing recorded was asked again: yes" in answer.stdout


def test_payload(results, capsys, monkeypatch):
    from bench.clip import payload

    figures = payload.measure(20, 4, 512, 3)
    assert figures["request"] <= payload.LARGEST
    assert set(figures) == {"request", "answer", "encode", "decode", "encode answer", "decode answer"}


@pytest.mark.parametrize("kind", ["good", "values", "mangled", "message", "oversized", "keys", "raw"])
def test_fuzz(kind):
    from bench.clip.fuzz import KEY, Fuzz

    with serving(create_app(Toy(), api_key=KEY)) as url, Fuzz(url, seed=7) as fuzz:
        for _ in range(25):
            getattr(fuzz, kind)()
        fuzz.good()
    assert fuzz.bad == []
    assert fuzz.answers["good", 200] >= 1


def test_schemathesis():
    pytest.importorskip("schemathesis")
    from bench.clip.fuzz import KEY, schemathesis

    with serving(create_app(Toy(), api_key=KEY)) as url:
        status, words = schemathesis(url, 2, seed=1)
    assert status == 0, words
