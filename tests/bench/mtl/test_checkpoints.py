"""A run that is interrupted and resumed is the run that is not, bit for bit."""

from __future__ import annotations

import pytest
import torch

from .sets import SETS, read_table, run, trained

CASES = [
    ("nyuv2", ["--method", "PIVRG"]),
    ("nyuv2", ["--method", "STL", "--task", "normal"]),
    ("cityscapes", ["--method", "FAMO"]),
    ("celeba", ["--method", "RLW"]),
    ("qm9", ["--method", "GradNorm", "--pi"]),
    ("qm9", ["--method", "DWA"]),
    ("qm9", ["--method", "RotoGrad", "--option", "size=4", "--features"]),
    ("qm9", ["--method", "MoCo"]),
    ("qm9", ["--method", "BiLB4MTL", "--option", "router=8", "--option", "normalization=logarithmic"]),
    ("office31", ["--method", "GradDrop", "--hidden-layer"]),  # with dropout
]


def leaves(state, path=()):
    """Iterate over (path, value) of nested dicts and lists."""
    if isinstance(state, (dict, list, tuple)):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from leaves(value, (*path, key))
    else:
        yield path, state


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return one == other or (one != one and other != other)  # a missing metric is no number


@pytest.mark.parametrize(("name", "more"), CASES, ids=[f"{name} {' '.join(more)}" for name, more in CASES])
def test_resume_is_exact(name, more, tmp_path, results):
    arguments = [*SETS[name][1](tmp_path / "data"), "--epochs", "3", *more]
    whole, pieces = tmp_path / "whole.pt", tmp_path / "pieces.pt"
    assert run(name, arguments, "--checkpoint", str(whole)) == 0
    (table,) = results.iterdir()
    expected = read_table(table)
    for epochs in (1, 2, 3):
        torch.rand(7)  # the state of the random numbers comes from the file
        assert run(name, arguments, "--checkpoint", str(pieces), "--stop-after", "1") == 0
        complete = read_table(table)[-1]["epoch"] == "reported"
        assert complete == (epochs == 3)
    assert read_table(table) == expected
    one, other = (torch.load(path, weights_only=True) for path in (whole, pieces))
    found = dict(leaves(other))
    for path, value in leaves(one):
        assert same(value, found.pop(path)), path
    assert not found
    assert one["state"]["epoch"] == 3


def test_the_best_epoch_is_remembered(tmp_path):
    arguments = [*SETS["qm9"][1](tmp_path / "data"), "--checkpoint", str(tmp_path / "file.pt")]
    first, _ = trained("qm9", arguments)
    first.best = (1e9, 0)
    first.save(first.path)
    second, before = trained("qm9", arguments)
    assert (second.epoch, second.best) == (2, (1e9, 0))
    assert all(torch.equal(before[key], value) for key, value in first.network.state_dict().items())
    assert second.reported() == {**first.rows[-1], "epoch": "reported"}


def test_a_finished_run_is_not_run_again(tmp_path, results, capsys):
    arguments = [*SETS["qm9"][1](tmp_path / "data"), "--seeds", "0", "1", "--epochs", "1"]
    checkpoint = ["--checkpoint", str(tmp_path / "seed {seed}.pt")]
    assert run("qm9", arguments, *checkpoint) == 0
    expected = read_table(results / "mtl_qm9_EW.csv")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    assert sorted(before) == ["seed 0.pt", "seed 1.pt"]
    capsys.readouterr()
    assert run("qm9", arguments, *checkpoint) == 0
    assert "seed 1: resumed after 1 epochs" in capsys.readouterr().out
    assert read_table(results / "mtl_qm9_EW.csv") == expected
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == before


def test_more_epochs_can_follow(tmp_path, results):
    arguments = SETS["qm9"][1](tmp_path / "data")
    checkpoint = ["--checkpoint", str(tmp_path / "file.pt")]
    assert run("qm9", arguments, "--epochs", "2") == 0
    expected = read_table(results / "mtl_qm9_EW.csv")
    assert run("qm9", arguments, "--epochs", "1", *checkpoint) == 0
    assert run("qm9", arguments, "--epochs", "2", *checkpoint) == 0
    assert read_table(results / "mtl_qm9_EW.csv") == expected


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("with method = 'EW', not 'MGDA'", ["--method", "MGDA"]),
        ("with learning_rate = 0.001, not 0.1", ["--learning-rate", "0.1", "--method-learning-rate", "0.001"]),
        ("with width = 8, not 16", ["--width", "16"]),
        ("with held_out = 4, not 3", ["--held-out", "3"]),
    ],
)
def test_another_run(message, more, tmp_path, results, capsys):
    arguments = SETS["qm9"][1](tmp_path / "data")
    checkpoint = ["--checkpoint", str(tmp_path / "file.pt")]
    assert run("qm9", arguments, "--epochs", "1", *checkpoint) == 0
    with pytest.raises(SystemExit):
        run("qm9", arguments, "--epochs", "1", *more, *checkpoint)
    assert message in capsys.readouterr().err


def test_not_a_checkpoint(tmp_path, results, capsys):
    arguments = SETS["qm9"][1](tmp_path / "data")
    torch.save({"a": 1}, tmp_path / "file.pt")
    with pytest.raises(SystemExit):
        run("qm9", arguments, "--checkpoint", str(tmp_path / "file.pt"))
    assert "is no checkpoint of version 1" in capsys.readouterr().err


def test_training_stops_for_losses_that_are_no_numbers_and_keeps_the_checkpoint(tmp_path, results):
    arguments = SETS["qm9"][1](tmp_path / "data")
    checkpoint = ["--checkpoint", str(tmp_path / "file.pt"), "--learning-rate", "1e30"]
    with pytest.raises(ValueError, match="task"):
        run("qm9", arguments, "--epochs", "9", *checkpoint)
    assert list(tmp_path.glob("*.part")) == []
