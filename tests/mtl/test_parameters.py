"""Lists of parameters: what the core reads in one pass is what the checks in Python say."""

import gc
import sys

import pytest
import torch
from torch import nn

from pyasmg import _core
from pyasmg.mtl import _parameters
from pyasmg.mtl._parameters import parameter_lists


class Named(nn.Parameter):
    """A class of its own may have rules of its own."""


def parameters(*shapes):
    return [nn.Parameter(torch.zeros(shape)) for shape in shapes]


def ids(lists):
    return [None if one is None else [id(entry) for entry in one] for one in lists]


def test_one_pass_gives_what_the_checks_give(monkeypatch):
    trunk, heads = parameters(3, (2, 2)), [parameters(1, 2), [], tuple(parameters(4))]
    frozen = [*parameters(2), nn.Parameter(torch.zeros(2), requires_grad=False)]
    cases = [
        (trunk, heads),
        (iter(trunk), [iter(head) for head in heads]),
        (trunk[0], [head[:1] for head in heads]),
        (None, heads),
        (trunk, None),
        (None, None),
        (nn.ParameterList(trunk), heads),
        (trunk, [*heads[:2], frozen]),
        (frozen, heads),
        ([torch.zeros(2, requires_grad=True), Named(torch.zeros(2))], heads),
    ]

    def copied(one):
        return list(one) if hasattr(one, "__next__") else one

    for shared, own in cases:
        shared, own = copied(shared), None if own is None else [copied(head) for head in own]
        fast = parameter_lists(shared, own, 3)
        with monkeypatch.context() as patch:
            patch.setattr(_parameters._core, "distinct_leaves", lambda kind, first, others: False)
            slow = parameter_lists(shared, own, 3)
        assert ids([fast.shared, fast.every]) == ids([slow.shared, slow.every])
        assert (fast.heads is None) == (slow.heads is None)
        assert ids(fast.heads or []) == ids(slow.heads or [])
        assert all(entry.requires_grad for entry in fast.every)


def test_what_one_pass_takes():
    first, second, third = parameters(1, 2, 3)
    frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    for lists in (
        [[first], [(second, third), []]],
        [None, ([first, second], (third,))],
        [(first, second, third), None],
    ):
        assert _core.distinct_leaves(nn.Parameter, *lists)
        assert _core.distinct(nn.Parameter, *lists)
    assert _core.distinct_leaves(nn.Parameter, None, None)
    assert _core.distinct(nn.Parameter, None, None)
    assert _core.distinct(nn.Parameter, [frozen], [[first]])
    assert not _core.distinct_leaves(nn.Parameter, [frozen], [[first]])
    unusual = [
        ([first], [[first]]),  # twice
        ([first, second, first], None),
        (None, [[first], [second, first]]),
        ([torch.zeros(1, requires_grad=True)], None),
        ([Named(torch.zeros(1))], None),
        ([None], None),
        (None, [None]),
        (iter([first]), None),  # no lists
        (None, iter([[first]])),
        (None, [iter([first])]),
        (first, None),
        (None, [first]),
        (nn.ParameterList([first]), None),
    ]
    for lists in unusual:
        assert not _core.distinct_leaves(nn.Parameter, *lists)
        assert not _core.distinct(nn.Parameter, *lists)
    with pytest.raises(TypeError):
        _core.distinct_leaves("Parameter", [first], None)


def test_references_are_counted():
    entries = parameters(1, 2)
    before = [sys.getrefcount(entry) for entry in entries]
    for lists in ((entries, None), (None, [entries]), (entries, [entries]), (entries, [None]), (None, entries)):
        for _ in range(100):
            _core.distinct_leaves(nn.Parameter, *lists)
    gc.collect()
    assert [sys.getrefcount(entry) for entry in entries] == before
