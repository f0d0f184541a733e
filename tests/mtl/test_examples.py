"""The examples run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

import pyasmg.mtl as mtl

EXAMPLES = Path(__file__).parents[2] / "bench" / "mtl" / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pytorch() -> None:
    pytest.importorskip("sklearn")
    example = load("plain_pytorch")
    example.EPOCHS = 1
    tasks = list(example.labels)[:3]
    balancer = mtl.PIVRG(3, performance=mtl.Performance([0.9, 0.9, 0.9], higher_is_better=True))
    accuracies = example.fit(tasks, balancer)
    assert all(0.1 < accuracy < 1.0 for accuracy in accuracies)
    assert balancer.preference is not None
    assert balancer.diagnostics.weights.shape == (3,)


def test_lightning() -> None:
    pytest.importorskip("sklearn")
    lightning = pytest.importorskip("pytorch_lightning")
    example = load("with_lightning")
    model = example.MultiTask()
    before = [parameter.detach().clone() for parameter in model.trunk.parameters()]
    batch = [torch.rand(20, 64), *(torch.zeros(20, dtype=torch.long) for _ in range(3))]
    trainer = lightning.Trainer(max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(model, torch.utils.data.DataLoader(list(zip(*batch, strict=True)), batch_size=10))
    assert all((p != b).any() for p, b in zip(model.trunk.parameters(), before, strict=True))
