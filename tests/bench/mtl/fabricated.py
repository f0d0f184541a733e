"""Small sets in the formats that the true ones have on disk; seeded noise, with targets that follow from the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.mtl.celeba import ATTRIBUTES
from bench.mtl.data.dense import DenseSet
from bench.mtl.data.office import OfficeSet


def dense(root: Path, spec: DenseSet, n: dict[str, int], size=(32, 32)) -> Path:
    """``root/{train,val}/{image,label,depth,normal}/{i}.npy``: float32, the label as float64 as in the true sets."""
    rng = np.random.default_rng(0)
    for part, count in n.items():
        for kind in spec.channels:
            (root / part / kind).mkdir(parents=True)
        for i in range(count):
            image = rng.random((*size, 3)).astype(np.float32)
            label = np.floor(image[..., 0] * spec.n_classes).astype(np.float64)
            label[:2] = -1
            depth = image[..., 1:2] + 0.5
            depth[:, :3] = 0.0
            normal = image - 0.5
            normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
            normal[-2:] = 0.0
            arrays = {"image": image, "label": label, "depth": depth, "normal": normal}
            for kind in spec.channels:
                np.save(root / part / kind / f"{i}.npy", arrays[kind])
    return root


def jpg(path: Path, rng: np.random.Generator, size=(218, 178)) -> None:
    """One image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


def celeba(root: Path, parts=(8, 4, 4)) -> Path:
    """``list_attr_celeba.txt`` with its count, header and padded columns, ``list_eval_partition.txt``, and images."""
    rng = np.random.default_rng(0)
    n = sum(parts)
    files = [f"{i:06d}.jpg" for i in range(1, n + 1)]
    for file in files:
        jpg(root / "img_align_celeba" / file, rng)
    values = rng.choice([-1, 1], (n, 40))
    lines = [" ".join([file, *(f"{value:2d}" for value in row)]) for file, row in zip(files, values, strict=True)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(n), " ".join(ATTRIBUTES) + " ", *lines]) + "\n")
    numbers = np.repeat([0, 1, 2], parts)
    rows = [f"{file} {number}" for file, number in zip(files, numbers, strict=True)]
    (root / "list_eval_partition.txt").write_text("\n".join(rows) + "\n")
    return root


def office(root: Path, lists: Path, spec: OfficeSet, n=(5, 3, 3)) -> Path:
    """Images under the domains, and list files ``<domain>_{train,val,test}.txt``; the domains differ in size."""
    rng = np.random.default_rng(0)
    lists.mkdir(parents=True, exist_ok=True)
    for number, domain in enumerate(spec.domains):
        folder = Path(domain) / "images" if spec.name == "Office-31" else Path(domain)
        for part, count in zip(("train", "val", "test"), n, strict=True):
            rows = []
            for i in range(count + number * (part == "train")):
                label = int(rng.integers(spec.n_classes))
                file = folder / f"class_{label}" / f"{part}_{i:04d}.jpg"
                jpg(root / file, rng, (40, 48 + 4 * number))
                rows.append(f"{file} {label}")
            (lists / f"{domain}_{part}.txt").write_text("\n".join(rows) + "\n")
    return root


def molecules(n: int) -> list[dict]:
    """Molecules as in ``qm9_v3.pt``: bonds in both directions, one-hot features, 19 properties of various scales."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(n):
        atoms = int(rng.integers(3, 7))
        chain = np.stack([np.arange(atoms - 1), np.arange(1, atoms)])
        edges = np.concatenate([chain, chain[::-1]], axis=1)
        kinds = rng.integers(0, 5, atoms)
        x = np.zeros((atoms, 11), dtype=np.float32)
        x[np.arange(atoms), kinds] = 1.0
        bonds = np.zeros((edges.shape[1], 4), dtype=np.float32)
        bonds[:, 0] = 1.0
        y = (rng.standard_normal((1, 19)) * 10.0 ** np.linspace(-2, 3, 19) + atoms).astype(np.float32)
        found.append(
            {
                "x": torch.from_numpy(x),
                "z": torch.from_numpy(kinds),
                "pos": torch.from_numpy(rng.standard_normal((atoms, 3)).astype(np.float32)),
                "edge_index": torch.from_numpy(edges.copy()),
                "edge_attr": torch.from_numpy(bonds),
                "y": torch.from_numpy(y),
                "name": f"gdb_{i + 1}",
                "idx": i,
            }
        )
    return found


def qm9(root: Path, n: int = 20) -> Path:
    """``root/raw/qm9_v3.pt``."""
    (root / "raw").mkdir(parents=True)
    torch.save(molecules(n), root / "raw" / "qm9_v3.pt")
    return root
