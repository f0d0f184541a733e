"""The benchmark on a GPU says in words that there is none, and ends well."""

import subprocess
import sys
from pathlib import Path

import pytest

import pyasmg


def test_without_a_gpu():
    if pyasmg.cuda_available():
        pytest.skip("there is a CUDA device: run python -m bench.gpu")
    command = [sys.executable, "-m", "bench.gpu", "--quick"]
    out = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    assert out.startswith("No CUDA device to measure on: ")
