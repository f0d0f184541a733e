"""NORMAL's benchmark: its data, its networks, and what its tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from tests.mtl.test_bench import run

pytest.importorskip("sklearn")
pytest.importorskip("torchdiffeq")

from bench.bilevel import normal
from bench.bilevel.domains_data import NAMES, PARTS, domains


def test_domains() -> None:
    """Images of each domain are its own; the same seed gives the same split."""
    data, again, other = domains(0), domains(0), domains(1)
    for part in PARTS:
        for k in range(len(NAMES)):
            assert torch.equal(data.inputs[part][k], again.inputs[part][k])
            assert not torch.equal(data.inputs[part][k], other.inputs[part][k])
            assert len(data.inputs[part][k]) == len(data.targets[part][k])
    sizes = [[len(images) for images in data.inputs[part]] for part in PARTS]
    assert np.sum(sizes) == 1797
    assert np.ptp(sizes, axis=1).max() <= 1
    for images in data.inputs["train"]:
        assert float(images.mean().abs()) < 1e-3
        assert 0.8 < float(images.std()) < 1.001


def test_the_other_models_have_as_many_parameters() -> None:
    counts = {
        name: sum(p.numel() for p in normal.ROWS[name][0]().parameters())
        for name in ("NORMAL", "more task-shared layers", "more task-specific layers", "hard sharing (EW)")
    }
    assert counts["more task-shared layers"] == pytest.approx(counts["NORMAL"], rel=1e-3)
    assert counts["more task-specific layers"] == pytest.approx(counts["NORMAL"], rel=1e-2)
    assert counts["hard sharing (EW)"] < 0.5 * counts["NORMAL"]
    assert len(normal.ROWS["constant but different positions"]) == 6


def test_distances() -> None:
    """Of positions (digit, parity, above 4, loop, turned digit, turned parity, copy)."""
    positions = np.array([1.0, 2.0, 3.0, 4.0, 0.0, 5.0, 1.5])
    copies, unrelated, nearest = normal.distances(positions, 0)
    assert copies == 0.5
    assert unrelated == pytest.approx(np.mean([1, 4, 2, 3, 3, 2, 4, 1]))
    assert nearest == 1.0
    assert normal.distances(positions, 5)[0] == 3.5
    assert normal.distances(positions, 5)[2] == 0.5


def test_copies_of_a_task_end_close() -> None:
    """A run of the benchmark in short: closer than unrelated tasks on average."""
    history = normal.relations(3, seed=0, epochs=15)
    assert history.shape == (16, 7)
    np.testing.assert_array_equal(history[0], 1.0)
    copies, unrelated, _ = normal.distances(history[-1], 3)
    assert copies < 0.5 * unrelated


def test_training_learns() -> None:
    validation, test, n_parameters = normal.train(normal.ROWS["NORMAL"][0], 0, 25)
    assert validation > 60.0
    assert test.shape == (3,)
    assert test.mean() > 55.0
    model = normal.ROWS["NORMAL"][0]()
    assert isinstance(model, mtl.NormalMTL)
    assert n_parameters == sum(p.numel() for p in model.parameters())


def test_a_table(tmp_path: Path) -> None:
    rows = run("bench.bilevel.normal", tmp_path, "--quick", "--parts", "ablation")
    assert [row["model"] for row in rows] == list(normal.ROWS)
    assert float(rows[-1]["NORMAL is better by"]) == 0.0
    for row in rows:
        own = [float(row[name]) for name in NAMES]
        assert float(row["mean"]) == pytest.approx(np.mean(own))
