"""Backward passes straight through the engine: the same as those of ``torch.autograd``, which stay the way out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import pyasmg.mtl as mtl
from pyasmg.mtl import _engine
from tests.mtl._problems import Network, batches


class Marked(nn.Parameter):
    """A class of its own, as quantised or distributed parameters are."""


def found(name: str) -> list[np.ndarray]:
    network = Network(3)
    losses = network(batches(1)[0])[1]
    mtl.METHODS[name](3).backward(losses, shared=network.trunk.parameters(), heads=network.head_lists())
    return [parameter.grad.numpy().copy() for parameter in network.parameters()]


@pytest.mark.parametrize("name", ["EW", "MGDA", "MoCo"])
def test_without_the_engine(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _engine._run is not None
    expected = found(name)
    monkeypatch.setattr(_engine, "_run", None)
    for one, other in zip(found(name), expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("features", [False, True])
def test_other_classes_of_parameters_take_the_public_functions(features: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for function in ("grad", "backward"):
        original = getattr(torch.autograd, function)

        def counted(*arguments: object, original=original, function=function, **options: object) -> object:
            calls.append(function)
            return original(*arguments, **options)

        monkeypatch.setattr(torch.autograd, function, counted)
    parameter = Marked(torch.ones(2))
    representation = parameter * 2.0
    losses = [(representation * (i + 1.0)).square().sum() for i in range(2)]
    chosen = {"features": representation} if features else {}
    mtl.MGDA(2).backward(losses, shared=[parameter], heads=[[], []], **chosen)
    assert parameter.grad is not None
    assert calls == (["backward"] if features else ["grad", "grad"])


def test_an_empty_list_is_refused_as_in_torch() -> None:
    root = nn.Parameter(torch.ones(()))
    with pytest.raises(RuntimeError, match="cannot be empty"):
        _engine.accumulate([root * 1.0], [torch.ones(())], [], False)
