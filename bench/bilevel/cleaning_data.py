"""Data sets of several domains with half of the training labels corrupted: MNIST files, and scikit-learn's digits."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.mtl.data.layout import Findings, LayoutError

#: Sizes of training, first and second validation, and test set of each domain (thesis, sec. 3.7.1).
SIZES = {"train": 5000, "validation": 1000, "selection": 1000, "test": 5000}
DIGITS_SIZES = {"train": 900, "validation": 200, "selection": 200, "test": 497}
DOMAINS = ("MNIST", "FashionMNIST")
CORRUPTED = 0.5
LAYOUT = "{MNIST,FashionMNIST}[/raw]/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]"
MAGIC = {"images-idx3": (2051, 3), "labels-idx1": (2049, 1)}


@dataclass(frozen=True)
class Cleaning:
    """Domains with one split each.

    Attributes
    ----------
    inputs
        Per split: (m, n, d).
    labels
        Per split: (m, n); those of "train" partly corrupted.
    clean
        Which labels of "train" are right, (m, n).
    names
        Of the domains.
    """

    inputs: dict[str, Tensor]
    labels: dict[str, Tensor]
    clean: Tensor
    names: tuple[str, ...]

    @property
    def n_domains(self) -> int:
        return len(self.names)

    @property
    def n_train(self) -> int:
        return self.labels["train"].shape[1]


def digits(seed: int) -> Cleaning:
    """Return scikit-learn's digits as they are, and turned by 90 degrees with noise; one split for both domains."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng([seed, 2])
    images, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(images))
    images, labels = images[order] / 16.0, labels[order]
    turned = np.rot90(images.reshape(-1, 8, 8), axes=(1, 2)).reshape(-1, 64)
    noisy = turned + 0.2 * rng.standard_normal(turned.shape)
    return _cleaning([images, noisy], [labels, labels], DIGITS_SIZES, ("digits", "turned digits"), rng)


def mnist(root: Path, seed: int) -> Cleaning:
    """Return random samples of MNIST and FashionMNIST from their IDX files.

    Raises
    ------
    LayoutError
        That names all files which are missing or not what they should be.
    """
    check(root).settle()
    rng = np.random.default_rng([seed, 3])
    images, labels = [], []
    total = sum(SIZES.values())
    for domain in DOMAINS:
        parts = [
            (read_idx(_find(root, domain, part, "images-idx3")), read_idx(_find(root, domain, part, "labels-idx1")))
            for part in ("train", "t10k")
        ]
        held = SIZES["train"] + SIZES["validation"] + SIZES["selection"]
        rows = [rng.permutation(len(parts[0][1]))[:held], rng.permutation(len(parts[1][1]))[: total - held]]
        chosen = [(pixels[row], label[row]) for (pixels, label), row in zip(parts, rows, strict=True)]
        images.append(np.concatenate([pixels.reshape(len(pixels), -1) for pixels, _ in chosen]) / 255.0)
        labels.append(np.concatenate([label for _, label in chosen]).astype(np.int64))
    return _cleaning(images, labels, SIZES, DOMAINS, rng)


def check(root: Path) -> Findings:
    """Return what a folder lacks."""
    findings = Findings("MNIST and FashionMNIST", root, LAYOUT)
    if not findings.folder(root):
        return findings
    needed = {"train": SIZES["train"] + SIZES["validation"] + SIZES["selection"], "t10k": SIZES["test"]}
    for domain in DOMAINS:
        for part, least in needed.items():
            lengths = {}
            for kind in MAGIC:
                path = _find(root, domain, part, kind)
                if path is None:
                    findings.problem(f"missing file {domain}/{part}-{kind}-ubyte (or .gz, or under {domain}/raw)")
                    continue
                try:
                    found = read_idx(path)
                except (OSError, EOFError, ValueError) as error:
                    findings.problem(f"{findings.relative(path)}: {error}")
                    continue
                lengths[kind] = len(found)
                if kind == "labels-idx1" and found.size and found.max() > 9:
                    findings.problem(f"{findings.relative(path)} has the label {found.max()}; expected 0 to 9")
                if len(found) < least:
                    findings.problem(f"{findings.relative(path)} has {len(found)} entries; at least {least} are needed")
            if len(set(lengths.values())) > 1:
                findings.problem(f"{domain}/{part}: {lengths['images-idx3']} images, {lengths['labels-idx1']} labels")
    return findings


def read_idx(path: Path | None) -> np.ndarray:
    """Return the array of an IDX file of bytes, also a compressed one.

    Raises
    ------
    ValueError
        If it is none: another magic number, or another length than its header says.
    """
    if path is None:
        raise LayoutError(f"a file of the layout {LAYOUT} is missing.")
    kind = next((kind for kind in MAGIC if kind in path.name), None)
    if kind is None:
        raise ValueError(f"the name must contain one of {', '.join(MAGIC)}; got {path.name}")
    magic, n_dimensions = MAGIC[kind]
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    header = 4 * (1 + n_dimensions)
    if len(content) < header:
        raise ValueError(f"an IDX file has a header of {header} bytes; got {len(content)} bytes")
    found, *shape = struct.unpack(f">{1 + n_dimensions}I", content[:header])
    if found != magic:
        raise ValueError(f"the magic number must be {magic}; got {found}")
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(content) != expected:
        raise ValueError(f"its header says {expected} bytes; got {len(content)}")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _find(root: Path, domain: str, part: str, kind: str) -> Path | None:
    for folder in (root / domain, root / domain / "raw"):
        for suffix in ("", ".gz"):
            path = folder / f"{part}-{kind}-ubyte{suffix}"
            if path.is_file():
                return path
    return None


def _cleaning(
    images: list[np.ndarray],
    labels: list[np.ndarray],
    sizes: dict[str, int],
    names: tuple[str, ...],
    rng: np.random.Generator,
) -> Cleaning:
    """Split what is in random order already, standardise by the training set, and corrupt its labels."""
    inputs: dict[str, list[Tensor]] = {part: [] for part in sizes}
    targets: dict[str, list[Tensor]] = {part: [] for part in sizes}
    clean = []
    for pixels, label in zip(images, labels, strict=True):
        n = sizes["train"]
        mean, std = float(pixels[:n].mean()), float(pixels[:n].std())
        start = 0
        for part, size in sizes.items():
            inputs[part].append(torch.from_numpy((pixels[start : start + size] - mean) / std).float())
            targets[part].append(torch.from_numpy(np.array(label[start : start + size])).long())
            start += size
        wrong = rng.permutation(n)[: int(CORRUPTED * n)]
        moved = torch.from_numpy(rng.integers(1, 10, len(wrong)))
        rows = torch.from_numpy(wrong)
        targets["train"][-1][rows] = (targets["train"][-1][rows] + moved) % 10
        clean.append(torch.ones(n, dtype=torch.bool).index_fill(0, rows, False))
    return Cleaning(
        {part: torch.stack(found) for part, found in inputs.items()},
        {part: torch.stack(found) for part, found in targets.items()},
        torch.stack(clean),
        names,
    )
