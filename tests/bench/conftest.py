"""Results go to a folder of the test; the environment that the suites set on import is put back."""

import os

import pytest

from bench import common


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Return the folder that tables, figures and finished runs are written to."""
    folder = tmp_path / "results"
    monkeypatch.setattr(common, "RESULTS", folder)
    return folder


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "XLA_FLAGS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
