"""The demo, and the server process that it starts: real ones, which never outlive who started them."""

import io
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from rich.console import Console

from pyasmg.clip._server_process import ServerError, server_process
from pyasmg.clip.demo import run_demo
from tests.clip.conftest import STUB

# Starts a server, says where, and waits to be killed.
PARENT = """
import sys, time
from pyasmg.clip._server_process import server_process
with server_process() as server:
    print(server.url, server.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Let the server's process import open_clip, as in conftest."""
    path = os.pathsep.join(part for part in (str(STUB), os.environ.get("PYTHONPATH"), os.getcwd()) if part)
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("NO_PROXY", "*")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid, seconds=30.0):
    end = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < end, f"process {pid} is still alive"
        time.sleep(0.05)


def test_demo():
    console = Console(record=True, width=120, file=io.StringIO())
    result = run_demo(max_queries=1000, d=32, console=console, progress=False)
    text = console.export_text()
    assert result.queries["total"] <= 1000
    assert result.run.counters["evaluations"] == result.queries["total"]
    assert result.tuned.losses.mean() < result.start.losses.mean()
    for words in (*result.task_names, "average", "worst", "zero-shot %", "tuned %", "difference"):
        assert words in text
    url = next(word for word in text.split() if word.startswith("http://"))
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v2/health/live")


def test_the_server_ends_when_its_starter_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    url, pid = parent.stdout.readline().split()
    assert httpx.get(f"{url}/v2/health/ready").json() == {"ready": True}
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    wait_until_gone(int(pid))


def test_a_server_that_does_not_start(capfd):
    with pytest.raises(ServerError, match="exit status 2"), server_process(["--port", "70000"]):
        pass
    assert "--port must be" in capfd.readouterr().err
