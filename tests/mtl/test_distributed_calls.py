"""Calls that only some methods have, in two processes with half of the batch each: the steps of one with all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import pyasmg.mtl as mtl
from tests.mtl._problems import Network, batches

M, STEPS = 3, 3
RUNS = ("FAMO with its update", "BiLB4MTL with a router", "BiLB4MTL with the double loop")


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


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        results = {name: train(name, rank) for name in RUNS}
    finally:
        dist.destroy_process_group()
    torch.save(results, Path(folder, f"{rank}.pt"))


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[torch.Tensor]]]:
    folder = str(tmp_path_factory.mktemp("group"))
    before = dict(os.environ)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        mp.spawn(process, (folder,), nprocs=2)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return [torch.load(Path(folder, f"{rank}.pt"), weights_only=True) for rank in range(2)]


@pytest.mark.skipif(not dist.is_available(), reason="this PyTorch has no torch.distributed")
@pytest.mark.parametrize("name", RUNS)
def test_two_processes_are_one(name: str, two_processes: list[dict[str, list[torch.Tensor]]]) -> None:
    for found, other, expected in zip(*(result[name] for result in two_processes), train(name, None), strict=True):
        torch.testing.assert_close(found, other, rtol=0, atol=0)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
