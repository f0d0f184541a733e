"""The Office harness of the bilevel methods and of NORMAL, end to end on fabricated images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import pyasmg.mtl as mtl
from bench import common
from bench.bilevel import office
from bench.mtl.data.office import OFFICE_31, OFFICE_HOME
from tests.bench.mtl import fabricated
from tests.bench.mtl.sets import read_table


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    folder = tmp_path / "results"
    monkeypatch.setattr(common, "RESULTS", folder)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(before)


def arguments(folder: Path, name: str = "office31", model: str = "bilevel") -> list[str]:
    fabricated.office(folder, folder, OFFICE_31 if name == "office31" else OFFICE_HOME)
    size = ["--batch-size", "3", "--image-size", "32"]
    return [name, model, "--root", str(folder), *size]


@pytest.mark.parametrize("method", office.METHODS)
def test_every_bilevel_method(method, tmp_path, results):
    more = ["--epochs", "1", "--method", method, "--option", "lower_learning_rate=0.01"]
    assert office.main([*arguments(tmp_path / "data"), *more]) == 0
    rows = read_table(results / f"mtl_office31_bilevel_{method}.csv")
    assert [row["part"] for row in rows] == ["train", "validation", "test", "test"]
    assert all(float(rows[0][f"loss {name}"]) > 0.0 for name in OFFICE_31.domains)
    weights = [float(rows[0][f"weight {name}"]) for name in OFFICE_31.domains]
    assert sum(weights) == pytest.approx(1.0, rel=1e-6)
    assert len(set(weights)) == 3
    assert rows[-1]["delta_p"]


def test_the_training_part_in_the_upper_level(tmp_path, results):
    more = ["--epochs", "2", "--method", "MOML", "--upper", "train", "--upper-batch-size", "2"]
    assert office.main([*arguments(tmp_path / "data"), *more]) == 0
    rows = read_table(results / "mtl_office31_bilevel_MOML.csv")
    test = [row["accuracy amazon"] for row in rows[:-1] if row["part"] == "test"]
    assert rows[-1]["accuracy amazon"] in test


def test_a_resumed_run_is_the_same(tmp_path, results):
    """And what is reported is the mean over the last epochs, as the validation part trains the network."""
    given = [*arguments(tmp_path / "data"), "--epochs", "2", "--option", "lower_steps=1"]
    assert office.main(given) == 0
    path = results / "mtl_office31_bilevel_FORUM.csv"
    expected = read_table(path)
    for name in OFFICE_31.domains:
        test = [float(row[f"accuracy {name}"]) for row in expected[:-1] if row["part"] == "test"]
        assert float(expected[-1][f"accuracy {name}"]) == pytest.approx(np.mean(test))
    checkpoint = ["--checkpoint", str(tmp_path / "{seed}.pt")]
    assert office.main([*given, *checkpoint, "--stop-after", "1"]) == 0
    assert office.main([*given, *checkpoint]) == 0
    assert read_table(path) == expected


@pytest.mark.parametrize("variant", [[], ["--variant", "fixed", "--positions", "1", "1.25", "1.5", "1.75"]])
def test_normal(variant, tmp_path, results):
    given = arguments(tmp_path / "data", "office_home", "normal")
    assert office.main([*given, "--epochs", "1", "--method", "MGDA", *variant]) == 0
    rows = read_table(results / "mtl_office_home_normal_MGDA.csv")
    assert rows[-1]["epoch"] == "reported"
    assert all(0.0 <= float(rows[-1][f"accuracy {name}"]) <= 100.0 for name in OFFICE_HOME.domains)


def test_normal_at_the_true_size() -> None:
    """The block of width 512 behind ResNet-18; positions belong to their domains."""
    network = office.NormalNetwork(3, 31, hidden_layer=False)
    assert network.block.velocity[0].weight.shape == network.block.flow.function.network[2].weight.shape == (512, 512)
    own = network.head_parameters()
    assert [id(found[-1]) for found in own] == [id(p) for p in network.block.coordinates]
    shared = {id(parameter) for parameter in network.shared_parameters()}
    assert not shared & {id(parameter) for found in own for parameter in found}
    images = torch.zeros(2, 3, 32, 32)
    outputs = network([images, None, images])
    assert outputs[1] is None
    assert outputs[0].shape == outputs[2].shape == (2, 31)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--features"], "a bilevel method has neither"),
        (["--method", "EW"], "invalid choice: 'EW'"),
        (["--option", "speed=3"], "speed"),
        (["--option", "lower_steps=0"], "`lower_steps` must be an integer >= 1; got 0."),
    ],
)
def test_bad_options(more, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        office.main([*arguments(tmp_path / "data"), *more])
    assert message in capsys.readouterr().err


def test_other_names(tmp_path, capsys):
    assert office.main(["office32", "--root", str(tmp_path)]) == 2
    assert "the first argument must be office31 or office_home; got 'office32'." in capsys.readouterr().err
    assert office.main(["office31", "--root", str(tmp_path / "nothing")]) == 1
    assert issubclass(office.SETS["office31", "normal"], office.Office31)
    assert mtl.bilevel.METHODS.keys() >= office.METHODS.keys()
