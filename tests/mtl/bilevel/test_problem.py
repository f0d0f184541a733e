"""Batches of two levels, and constraints on alpha."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyasmg import _core
from pyasmg.mtl.bilevel import Batches, Box, Free, Simplex, Softmax


def test_batches_restart_and_resume() -> None:
    batches = Batches(upper=[1, 2, 3], lower=torch.arange(2))
    assert [batches.next_upper() for _ in range(5)] == [1, 2, 3, 1, 2]
    assert [int(batches.next_lower()) for _ in range(3)] == [0, 1, 0]
    again = Batches(upper=[1, 2, 3], lower=torch.arange(2))
    again.load_state_dict(batches.state_dict())
    assert again.next_upper() == batches.next_upper() == 3
    assert int(again.next_lower()) == int(batches.next_lower()) == 1
    assert Batches().next_upper() is None


def test_batches_that_are_none() -> None:
    with pytest.raises(TypeError, match="`lower` must be an iterable of batches or None; got 3"):
        Batches(lower=3)
    with pytest.raises(ValueError, match="`upper` has no more batches; it gave 0"):
        Batches(upper=[]).next_upper()
    with pytest.raises(ValueError, match="must have the entries"):
        Batches().load_state_dict({"upper": 0})


def test_simplex() -> None:
    rng = np.random.default_rng(0)
    raw = 3.0 * rng.standard_normal((5, 4, 3))
    for dim, axis in ((1, 1), (-1, 2), (0, 0)):
        found = Simplex(dim).project(torch.from_numpy(raw)).numpy()
        expected = np.apply_along_axis(lambda row: _core.simplex_projection(row.copy()), axis, raw)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    found = Simplex().project(torch.from_numpy(raw)).numpy()
    np.testing.assert_allclose(found.ravel(), _core.simplex_projection(raw.ravel()), rtol=0, atol=1e-14)
    Simplex().check("alpha", torch.from_numpy(found))
    with pytest.raises(ValueError, match="`alpha` must lie on the simplex"):
        Simplex().check("alpha", torch.from_numpy(raw))


def test_softmax_and_box() -> None:
    raw = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Softmax(1).transform(raw), raw.softmax(dim=1))
    torch.testing.assert_close(Softmax().transform(raw).sum(), torch.tensor(1.0))
    assert Softmax().project(raw) is raw
    box = Box(-0.5, 1.0)
    torch.testing.assert_close(box.project(raw), raw.clamp(-0.5, 1.0))
    box.check("alpha", box.project(raw))
    with pytest.raises(ValueError, match=r"`alpha` must lie in \[-0.5, 1\] at the start"):
        box.check("alpha", 10.0 * raw)
    with pytest.raises(ValueError, match=r"`low` must be below `high`; got 1\.0 and 1\.0"):
        Box(1.0, 1.0)
    with pytest.raises(TypeError, match="`dim` must be an integer or None; got 'x'"):
        Simplex("x")
    assert Free().project(raw) is raw
