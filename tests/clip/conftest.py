"""What the tests of pyasmg.clip share."""

import os
import sys
from pathlib import Path

import pytest

STUB = str(Path(__file__).with_name("stub"))
sys.path.insert(0, STUB)
import sitecustomize  # noqa: E402

if hasattr(sitecustomize, "install"):
    sitecustomize.install()
else:  # the interpreter's own one was imported at its start
    import importlib.util

    _spec = importlib.util.spec_from_file_location("pyasmg_torchvision_stub", Path(STUB) / "sitecustomize.py")
    _module = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(_module)
sys.path.remove(STUB)


@pytest.fixture(scope="session")
def stub_environment():
    """Return environment variables for Python processes that import open_clip."""
    path = os.pathsep.join(part for part in (STUB, os.environ.get("PYTHONPATH")) if part)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
