"""What the tests of pyasmg.clip share."""

import importlib.util
import os
from pathlib import Path

import pytest

STUB = Path(__file__).with_name("stub")
_spec = importlib.util.spec_from_file_location("torchvision_stub", STUB / "sitecustomize.py")
_spec.loader.exec_module(importlib.util.module_from_spec(_spec))


@pytest.fixture(scope="session")
def stub_environment():
    """Return environment variables for Python processes that import open_clip."""
    path = os.pathsep.join(part for part in (str(STUB), os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
