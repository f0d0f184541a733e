"""What several test files share."""

import signal

import pytest

from pyasmg import _core

# A job in the background of a shell inherits that SIGINT is ignored, and would hand it on to what the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=_core.simd_levels())
def simd_level(request):
    """Run the test at each SIMD level that this machine has."""
    before = _core.simd_level()
    _core.set_simd_level(request.param)
    yield request.param
    _core.set_simd_level(before)
