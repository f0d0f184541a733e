"""What several test files share."""

import pytest

from pyasmg import _core


@pytest.fixture(params=_core.simd_levels())
def simd_level(request):
    """Run the test at each SIMD level that this machine has."""
    before = _core.simd_level()
    _core.set_simd_level(request.param)
    yield request.param
    _core.set_simd_level(before)
