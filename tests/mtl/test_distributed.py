"""Two processes with half of the batch each take the step of one process with all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tests.mtl._cases import CASES
from tests.mtl._problems import Network, batches

M, STEPS, SIZE = 3, 3, 12
RUNS = [(name, features) for name, case in CASES.items() for features in (False, True) if case.features or not features]


def train(name: str, features: bool, rank: int | None) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Return parameters after some steps, and the last weights; without a rank, on the whole batch."""
    network, balancer = Network(M), CASES[name].make(M)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    group = None if rank is None else dist.group.WORLD
    for batch in batches(STEPS, SIZE):
        part = batch if rank is None else batch[rank::2]
        optimizer.zero_grad()
        representation, losses = network(part)
        balancer.backward(
            losses,
            shared=network.trunk.parameters(),
            heads=network.head_lists(),
            features=representation if features else None,
            group=group,
        )
        optimizer.step()
    weights = balancer.diagnostics.weights
    return [p.detach() for p in network.parameters()], None if weights is None else torch.from_numpy(weights)


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    try:
        results = {run: train(*run, rank) for run in RUNS}
    finally:
        dist.destroy_process_group()
    torch.save(results, Path(folder, f"{rank}.pt"))


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = str(tmp_path_factory.mktemp("group"))
    before = dict(os.environ)
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        mp.spawn(process, (folder,), nprocs=2)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return [torch.load(Path(folder, f"{rank}.pt"), weights_only=False) for rank in range(2)]


@pytest.mark.skipif(not dist.is_available(), reason="this PyTorch has no torch.distributed")
@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run[0]}{' on features' if run[1] else ''}")
def test_two_processes_are_one(run: tuple[str, bool], two_processes: list[dict]) -> None:
    (parameters, weights), (others, other_weights) = two_processes[0][run], two_processes[1][run]
    joined, joined_weights = train(*run, None)
    for found, other, expected in zip(parameters, others, joined, strict=True):
        torch.testing.assert_close(found, other, rtol=0, atol=0)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    if weights is not None:
        torch.testing.assert_close(weights, other_weights, rtol=0, atol=0)
        torch.testing.assert_close(weights, joined_weights, rtol=1e-8, atol=1e-11)
