"""What the tests of the device backend share: they run on the emulated device always, on a CUDA device where one is."""

import numpy as np
import pytest

import pyasmg
from pyasmg import _core, _device_distribution

PLENTY = 2**30


def emulate(monkeypatch, memory_limit=PLENTY):
    """Let device="cuda" mean the kernels run on the host, block by block and thread by thread."""
    runtime = _core._device.emulated_runtime(memory_limit, True)
    monkeypatch.setattr(_device_distribution, "open_runtime", lambda device: runtime)
    return runtime


def need_cuda():
    if not pyasmg.cuda_available():
        pytest.skip(f"needs a CUDA device: {pyasmg.cuda_info()['problem']}")


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    """Run the test with device="cuda" emulated, and on a CUDA device where there is one."""
    if request.param == "cuda":
        need_cuda()
    else:
        emulate(monkeypatch)
    return "cuda"


def host(array):
    """Copy to numpy what `ask` gave."""
    if isinstance(array, np.ndarray):
        return array
    return array.numpy() if isinstance(array, pyasmg.DeviceArray) else array.detach().cpu().numpy()
