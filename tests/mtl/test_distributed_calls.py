"""Calls that only some methods have, in two processes with half of the batch each: the steps of one with all of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import pyasmg.mtl as mtl
from tests.mtl._problems import Network, batches

M, STEPS = 3, 3
RUNS = ("FAMO with its update", "BiLB4MTL with a router", "BiLB4MTL with the double loop")
SPARSE = ("EW", "MGDA", "GradDrop", "MoCo")
REFUSED = (("EW", "loss"), ("FAMO", "loss"), ("MGDA", "loss"), ("MGDA", "gradient"), ("MoCo", "gradient"))


def train(name: str, rank: int | None) -> list[torch.Tensor]:
    """Return the parameters after some steps; without a rank, on the whole batch."""
    torch.manual_seed(0)
    network = Network(M)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    group = None if rank is None else dist.group.WORLD
    famo = mtl.FAMO(M, learning_rate=0.5)
    router = mtl.BiLB4MTL(M, tau="sigma", router=nn.Linear(5, M).double(), learning_rate=0.5)
    double = mtl.BiLB4MTL(M, tau="sigma", inner_steps=2, inner_learning_rate=0.1, learning_rate=0.5)
    for batch in batches(STEPS):
        part = batch if rank is None else batch[rank::2]
        optimizer.zero_grad()
        features, losses = network(part)
        trunk, heads = list(network.trunk.parameters()), network.head_lists()
        if name == RUNS[0]:
            famo.backward(losses, shared=trunk, heads=heads, group=group)
        elif name == RUNS[1]:
            router.backward(losses, shared=trunk, heads=heads, features=features, group=group)
        else:
            closure = lambda part=part: network(part)[1]  # noqa: E731
            double.backward(losses, shared=trunk, heads=heads, group=group, closure=closure)
        optimizer.step()
        if name == RUNS[0]:
            with torch.no_grad():
                famo.update(network(part)[1], group=group)
    return [p.detach() for p in [*network.parameters(), *router.parameters(), *double.parameters()]]


class Lookup(nn.Module):
    """A table with sparse gradients before a trunk, and one in each head: ids of a batch of shape (n, 2)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(7, 4, sparse=True, dtype=torch.float64)
        self.layer = nn.Linear(4, 3, dtype=torch.float64)
        self.heads = nn.ModuleList(nn.Embedding(5, 3, sparse=True, dtype=torch.float64) for _ in range(M))

    def forward(self, ids: torch.Tensor) -> list[torch.Tensor]:
        features = self.layer(self.table(ids[:, 0])).tanh()
        return [((features * head(ids[:, 1])).sum(1) - i).square().mean() for i, head in enumerate(self.heads)]


def look_up(name: str, rank: int | None) -> list[torch.Tensor]:
    """Return the parameters after some steps with sparse gradients."""
    model, balancer = Lookup(), mtl.METHODS[name](M)
    ids = torch.stack(
        [torch.randint(n, (STEPS, 8), generator=torch.Generator().manual_seed(2)) for n in (7, 5)], dim=-1
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for batch in ids:
        optimizer.zero_grad()
        losses = model(batch if rank is None else batch[rank::2])
        balancer.backward(
            losses,
            shared=[*model.table.parameters(), *model.layer.parameters()],
            heads=[head.parameters() for head in model.heads],
            group=None if rank is None else dist.group.WORLD,
        )
        optimizer.step()
    return [p.detach() for p in model.parameters()]


def refused(name: str, what: str, rank: int) -> tuple[str, list[torch.Tensor | None]]:
    """Return the error, and `.grad` after it, where the loss or the gradient of task 1 is bad on the second process."""
    network, balancer = Network(M), mtl.METHODS[name](M)
    losses = list(network(batches(1)[0][rank::2])[1])
    if rank == 1 and what == "loss":
        losses[1] = losses[1] * torch.nan
    elif rank == 1:
        losses[1] = (losses[1] - losses[1].detach()).sqrt()
    try:
        balancer.backward(losses, shared=network.trunk.parameters(), heads=network.head_lists(), group=dist.group.WORLD)
    except ValueError as error:
        return str(error), [parameter.grad for parameter in network.parameters()]
    return "", []


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        results = {name: train(name, rank) for name in RUNS}
        sparse = {name: look_up(name, rank) for name in SPARSE}
        errors = {case: refused(*case, rank) for case in REFUSED}
    finally:
        dist.destroy_process_group()
    torch.save((results, sparse, errors), Path(folder, f"{rank}.pt"))


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    if not dist.is_available():
        pytest.skip("this PyTorch has no torch.distributed")
    folder = str(tmp_path_factory.mktemp("group"))
    before = dict(os.environ)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        mp.spawn(process, (folder,), nprocs=2)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return [torch.load(Path(folder, f"{rank}.pt"), weights_only=True) for rank in range(2)]


def assert_one(found: list[torch.Tensor], others: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    """The same parameters on both processes, those of a single one but for rounding."""
    for mine, other, alone in zip(found, others, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
        torch.testing.assert_close(mine, alone, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_are_one(name: str, two_processes: list[Any]) -> None:
    assert_one(two_processes[0][0][name], two_processes[1][0][name], train(name, None))


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_gradients(name: str, two_processes: list[Any]) -> None:
    assert_one(two_processes[0][1][name], two_processes[1][1][name], look_up(name, None))


@pytest.mark.parametrize("case", REFUSED, ids=" ".join)
def test_all_processes_refuse_what_is_bad_on_one(case: tuple[str, str], two_processes: list[Any]) -> None:
    """Or the others would wait for the one that raised."""
    expected = {
        "loss": "`losses` must be finite; task 1 has the loss nan on a process of the group.",
        "gradient": "the gradients must be finite; that of task 1 is not.",
    }
    for results in two_processes:
        message, gradients = results[2][case]
        assert message == expected[case[1]]
        assert gradients == [None] * len(gradients)
