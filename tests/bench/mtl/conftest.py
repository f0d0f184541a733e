"""Tables go to a folder of the test, and one thread keeps sums in order."""

import pytest
import torch

from bench import common


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Return the folder that tables are written to."""
    folder = tmp_path / "results"
    monkeypatch.setattr(common, "RESULTS", folder)
    return folder
