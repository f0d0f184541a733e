"""The benchmarks: IDX files, corrupted data, scores, and short runs of each."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.bilevel import cleaning_data, synthetic
from bench.bilevel.cleaning_data import DOMAINS, check, mnist, read_idx
from bench.bilevel.cleaning_problem import HyperCleaning, Network, Samples
from bench.bilevel.hyper_cleaning import Settings, acceptance, auc, macro_f1
from bench.bilevel.memory import peak_bytes
from bench.mtl.data.layout import LayoutError
from tests.mtl.test_bench import run

SMALL = {"train": 12, "validation": 4, "selection": 4, "test": 8}


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes."""
    header = struct.pack(f">{1 + array.ndim}I", {3: 2051, 1: 2049}[array.ndim], *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write(root: Path, *, compressed: bool = False, raw: bool = False) -> None:
    """Both sets with 3 x 3 images, 24 for training and 10 for tests."""
    for i, domain in enumerate(DOMAINS):
        rng = np.random.default_rng(i)
        folder = root / domain / "raw" if raw else root / domain
        folder.mkdir(parents=True)
        for part, n in (("train", 24), ("t10k", 10)):
            arrays = {"images-idx3": rng.integers(0, 256, (n, 3, 3)), "labels-idx1": rng.integers(0, 10, n)}
            for kind, array in arrays.items():
                name = f"{part}-{kind}-ubyte"
                if compressed:
                    (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
                else:
                    (folder / name).write_bytes(idx(array))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaning_data, "SIZES", SMALL)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("layout", [{}, {"compressed": True}, {"raw": True}])
def test_idx_files(tmp_path: Path, layout: dict[str, bool]) -> None:
    """Of the training files the training and validation sets, of the test files the test set."""
    write(tmp_path, **layout)
    data = mnist(tmp_path, 0)
    for part, n in SMALL.items():
        assert data.inputs[part].shape == (2, n, 9)
        assert data.labels[part].shape == (2, n)
    assert data.names == DOMAINS
    assert data.clean.sum(dim=1).tolist() == [6, 6]
    torch.testing.assert_close(data.inputs["train"].mean(dim=(1, 2)), torch.zeros(2), rtol=0, atol=1e-6)
    rng = np.random.default_rng(1)
    originals, labels = rng.integers(0, 256, (24, 3, 3)), rng.integers(0, 10, 24)
    rows = [row_of(row, originals) for row in data.inputs["train"][1].numpy()]
    assert len(set(rows)) == 12
    assert (labels[rows] == data.labels["train"][1].numpy()).tolist() == data.clean[1].tolist()
    torch.testing.assert_close(mnist(tmp_path, 0).inputs["test"], data.inputs["test"], rtol=0, atol=0)
    assert not torch.equal(mnist(tmp_path, 1).labels["train"], data.labels["train"])


def row_of(row: np.ndarray, originals: np.ndarray) -> int:
    """Which image a standardised row is: the one it is a line through."""
    flat = originals.reshape(len(originals), -1).astype(float)
    correlations = [np.corrcoef(row, image)[0, 1] for image in flat]
    assert max(correlations) > 1.0 - 1e-5
    return int(np.argmax(correlations))


@pytest.mark.usefixtures("small")
def test_a_folder_that_is_not_the_set(tmp_path: Path) -> None:
    """All problems at once, each with its file."""
    assert "missing folder" in check(tmp_path / "nowhere").text()
    write(tmp_path)
    assert not check(tmp_path).problems
    first = tmp_path / DOMAINS[0]
    content = (first / "train-images-idx3-ubyte").read_bytes()
    (first / "train-images-idx3-ubyte").write_bytes(content[:-3])
    (first / "train-labels-idx1-ubyte").write_bytes(idx(np.full(24, 11)))
    (first / "t10k-images-idx3-ubyte").write_bytes(b"\0" * 100)
    (first / "t10k-labels-idx1-ubyte").unlink()
    second = tmp_path / DOMAINS[1]
    (second / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(21)))
    (second / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(3)))
    with pytest.raises(LayoutError) as caught:
        mnist(tmp_path, 0)
    text = str(caught.value)
    for expected in (
        "MNIST/train-images-idx3-ubyte: its header says 232 bytes; got 229",
        "MNIST/train-labels-idx1-ubyte has the label 11; expected 0 to 9",
        "MNIST/t10k-images-idx3-ubyte: the magic number must be 2051; got 0",
        "missing file MNIST/t10k-labels-idx1-ubyte",
        "FashionMNIST/train: 24 images, 21 labels",
        "FashionMNIST/t10k-labels-idx1-ubyte has 3 entries; at least 8 are needed",
    ):
        assert expected in text
    (first / "train-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(OSError, match=r"[Nn]ot a gzipped file"):
        read_idx(first / "train-labels-idx1-ubyte.gz")


def test_digits_with_half_of_the_labels_wrong() -> None:
    pytest.importorskip("sklearn")
    data, again = cleaning_data.digits(0), cleaning_data.digits(0)
    assert data.inputs["train"].shape == (2, 900, 64)
    assert sum(labels.shape[1] for labels in data.labels.values()) == 1797
    assert data.clean.sum(dim=1).tolist() == [450, 450]
    for part in ("validation", "selection", "test"):  # the same digits in both domains, and right
        assert torch.equal(data.labels[part][0], data.labels[part][1])
    both = data.clean.all(dim=0)
    assert torch.equal(data.labels["train"][0][both], data.labels["train"][1][both])
    only_first = data.clean[0] & ~data.clean[1]
    assert bool((data.labels["train"][0] != data.labels["train"][1])[only_first].all())
    assert torch.equal(data.inputs["train"], again.inputs["train"])


def test_the_weighted_loss() -> None:
    pytest.importorskip("sklearn")
    data = cleaning_data.digits(0)
    network = Network((64, 8), 2)
    problem = HyperCleaning(data, network)
    omega = dict(network.named_parameters())
    batch = next(iter(Samples(900, 2, 5, 0)))
    alpha = torch.randn(2, 900)
    total = 0.0
    for i in range(2):
        logits = network.heads[i](network.trunk(data.inputs["train"][i, batch[i]]))
        losses = torch.nn.functional.cross_entropy(logits, data.labels["train"][i, batch[i]], reduction="none")
        total = total + (torch.sigmoid(alpha[i, batch[i]]) * losses).mean()
    torch.testing.assert_close(problem.lower(alpha, omega, batch), total)
    assert all(len(set(rows.tolist())) == 5 for rows in batch)
    assert torch.equal(batch, next(iter(Samples(900, 2, 5, 0))))


def test_scores() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    assert macro_f1(labels, guesses) == pytest.approx(100.0 * metrics.f1_score(labels, guesses, average="macro"))
    weights, clean = np.round(rng.standard_normal(60), 1), rng.random(60) < 0.5
    expected = metrics.roc_auc_score(clean, weights)
    assert auc(torch.from_numpy(weights), torch.from_numpy(clean)) == pytest.approx(expected)


def test_memory_is_counted() -> None:
    def use() -> torch.Tensor:
        first = torch.zeros(1000)
        second = first + 1.0
        del first
        return second * 2.0

    assert peak_bytes(use, torch.device("cpu")) == pytest.approx(8000, abs=600)


def test_settings_of_the_thesis() -> None:
    settings = Settings()
    assert (settings.hidden, settings.batch, settings.lower_steps, settings.iterations) == ((512, 256), 100, 64, 1200)
    assert (settings.alpha_rate, settings.omega_rate, settings.lower_rate, settings.rho) == (10.0, 0.3, 0.3, 0.5)
    assert (synthetic.UPPER_RATE, synthetic.LOWER_RATE, synthetic.LOWER_STEPS, synthetic.RHO) == (0.3, 0.05, 50, 0.3)


def test_short_runs(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    rows = run("bench.bilevel.hyper_cleaning", tmp_path, "--quick", "--seeds", "1", "--methods", "FORUM", "clean, EW")
    assert [row["method"] for row in rows] == ["FORUM", "clean, EW"]
    assert 0.0 <= float(rows[0]["AUC"]) <= 1.0
    assert float(rows[1]["accuracy"]) > 20.0


def test_short_run_of_the_synthetic_problem(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = run("bench.bilevel.synthetic", tmp_path, "--iterations", "80", "--methods", "FORUM")
    assert [row["method"] for row in rows] == ["FORUM"] * 3
    assert all(float(row["distance"]) < 1e-3 for row in rows)


def test_acceptance_is_judged() -> None:
    """Of nothing nothing is said."""
    assert acceptance({}) == []
    assert synthetic.acceptance({}) == []
