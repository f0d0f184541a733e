"""CelebA: aligned faces with 40 attributes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batches import Samples
from .images import image_problem, read_image
from .layout import Findings, some, spread

LAYOUT = "root/img_align_celeba/*.jpg, root/list_attr_celeba.txt, root/list_eval_partition.txt"
N_ATTRIBUTES = 40
COUNTS = {"train": 162_770, "validation": 19_867, "test": 19_962}
PARTS = ("train", "validation", "test")  # 0, 1, 2 in list_eval_partition.txt
SIZE = (64, 64)
OPENED = 8
#: Where the files stand in the archive of the authors; the root itself comes first.
PLACES = {
    "img_align_celeba": ("img_align_celeba", "Img/img_align_celeba"),
    "list_attr_celeba.txt": ("list_attr_celeba.txt", "Anno/list_attr_celeba.txt"),
    "list_eval_partition.txt": ("list_eval_partition.txt", "Eval/list_eval_partition.txt"),
}


def place(root: Path, name: str) -> Path:
    """Return where a file or folder is."""
    found = [root / path for path in PLACES[name] if (root / path).exists()]
    return found[0] if found else root / name


def read_attributes(path: Path) -> tuple[list[str], dict[str, list[int]]]:
    """Return the names of the attributes, and 1 or -1 for each by file name.

    The first line is the number of images, the second the names, then a line per image.
    """
    lines = path.read_text().splitlines()
    if len(lines) < 2 or not lines[0].strip().isdigit():
        raise ValueError("its first line must be the number of images, its second the names of the attributes")
    names, n = lines[1].split(), int(lines[0])
    rows: dict[str, list[int]] = {}
    for number, line in enumerate(lines[2:], start=3):
        file, *values = line.split() or [""]
        if not file:
            continue
        if len(values) != len(names) or not set(values) <= {"1", "-1"}:
            raise ValueError(f"line {number} must be a file name and {len(names)} times 1 or -1; it is {line[:60]!r}")
        rows[file] = [int(value) for value in values]
    if len(rows) != n:
        raise ValueError(f"its first line announces {n} images; it has {len(rows)}")
    return names, rows


def read_partition(path: Path) -> dict[str, int]:
    """Return 0 (training), 1 (validation) or 2 (test) by file name; a line per image."""
    rows: dict[str, int] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise ValueError(f"line {number} must be a file name and 0, 1 or 2; it is {line[:60]!r}")
        rows[fields[0]] = int(fields[1])
    return rows


def check(root: Path) -> Findings:
    """Return what a folder lacks: files, lines, images; a few images are opened."""
    findings = Findings("CelebA", root, LAYOUT)
    if not findings.folder(root):
        return findings
    images = place(root, "img_align_celeba")
    lists = {name: place(root, name) for name in ("list_attr_celeba.txt", "list_eval_partition.txt")}
    present = [findings.folder(images), *(findings.file(path) for path in lists.values())]
    attributes, partition = (
        _table(findings, path, read)
        for path, read in zip(lists.values(), (read_attributes, read_partition), strict=True)
    )
    if attributes is not None and len(attributes[0]) != N_ATTRIBUTES:
        findings.problem(f"list_attr_celeba.txt names {len(attributes[0])} attributes; expected {N_ATTRIBUTES}")
    if not all(present) or attributes is None or partition is None:
        return findings
    unknown = sorted(set(attributes[1]) ^ set(partition))
    if unknown:
        findings.problem(f"only one of the lists has {some(unknown)}")
    there = {path.name for path in images.iterdir()}
    missing = sorted(set(partition) - there)
    if missing:
        findings.problem(
            f"{findings.relative(images)} lacks {len(missing)} of {len(partition)} images: {some(missing)}"
        )
    files = sorted(set(partition) & there)
    for i in spread(len(files), OPENED):
        reason = image_problem(images / files[i])
        if reason is not None:
            findings.problem(f"{findings.relative(images / files[i])} is no image ({reason})")
    for number, part in enumerate(PARTS):
        n = sum(value == number for value in partition.values())
        if n == 0:
            findings.problem(f"list_eval_partition.txt gives no image to the {part} part ({number})")
        elif n != COUNTS[part]:
            findings.note(f"the {part} part has {n} images; the published set has {COUNTS[part]}")
    return findings


def _table(findings: Findings, path: Path, read: Callable[[Path], Any]) -> Any:
    try:
        return read(path) if path.is_file() else None
    except ValueError as error:
        findings.problem(f"{findings.relative(path)}: {error}")
        return None


class CelebAPart(Samples):
    """One part: image (3, 64, 64) in [0, 1], and 40 targets 0 or 1 of shape (1,).

    64 x 64 and no standardisation as in FAMO's code; the papers do not say.
    """

    def __init__(self, root: Path, part: str, size: tuple[int, int] = SIZE) -> None:
        super().__init__()
        _, attributes = read_attributes(place(root, "list_attr_celeba.txt"))
        partition = read_partition(place(root, "list_eval_partition.txt"))
        self.images, self.size = place(root, "img_align_celeba"), size
        self.files = [file for file, number in partition.items() if number == PARTS.index(part)]
        self.targets = np.array([attributes[file] for file in self.files], dtype=np.float32) > 0

    def __len__(self) -> int:
        return len(self.files)

    def sample(self, index: int, rng: np.random.Generator | None) -> tuple[Tensor, list[Tensor]]:
        """See :class:`Samples`."""
        targets = torch.from_numpy(self.targets[index]).float()
        return read_image(self.images / self.files[index], self.size), list(targets[:, None])
