"""Office-31 and Office-Home: one domain per task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .batches import Samples
from .images import IMAGENET, image_problem, read_image
from .layout import Findings, some, spread

SIZE = (224, 224)
PARTS = ("train", "validation", "test")
SUFFIX = {"train": "train", "validation": "val", "test": "test"}
OPENED = 4


@dataclass(frozen=True)
class OfficeSet:
    """The domains, and the published sizes (training, validation, test) of RLW's split."""

    name: str
    sizes: dict[str, tuple[int, int, int]]
    n_classes: int
    layout: str

    @property
    def domains(self) -> tuple[str, ...]:
        """The tasks."""
        return tuple(self.sizes)


LISTS = "list files <domain>_{train,val,test}.txt with lines `relative/path.jpg label`"
OFFICE_31 = OfficeSet(
    "Office-31",
    {"amazon": (1680, 552, 585), "dslr": (287, 89, 122), "webcam": (466, 149, 180)},
    31,
    f"root/{{amazon,dslr,webcam}}/images/<class>/*.jpg, {LISTS}",
)
OFFICE_HOME = OfficeSet(
    "Office-Home",
    {
        "Art": (1435, 465, 527),
        "Clipart": (2596, 846, 923),
        "Product": (2635, 860, 944),
        "Real_World": (2586, 846, 925),
    },
    65,
    f"root/{{Art,Clipart,Product,Real_World}}/<Class>/*.jpg, {LISTS}",
)


def read_list(path: Path) -> list[tuple[str, int]]:
    """Return the relative paths and labels of a list file."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        file, _, label = line.strip().rpartition(" ")
        if not file or not label.isdigit():
            raise ValueError(f"line {number} must be a relative path and a label; it is {line[:60]!r}")
        rows.append((file, int(label)))
    return rows


def check(spec: OfficeSet, root: Path, lists: Path) -> Findings:
    """Return what the folders lack: domains, list files, images that a list names; a few images are opened."""
    findings = Findings(spec.name, root, spec.layout)
    if not findings.folder(root) or not findings.folder(lists):
        return findings
    for domain in spec.domains:
        findings.folder(root / domain)
        for part, published in zip(PARTS, spec.sizes[domain], strict=True):
            path = lists / f"{domain}_{SUFFIX[part]}.txt"
            if findings.file(path):
                _check_list(findings, spec, path, published)
    return findings


def _check_list(findings: Findings, spec: OfficeSet, path: Path, published: int) -> None:
    try:
        rows = read_list(path)
    except ValueError as error:
        findings.problem(f"{findings.relative(path)}: {error}")
        return
    if not rows:
        findings.problem(f"{findings.relative(path)} is empty")
    wrong = [file for file, label in rows if label >= spec.n_classes]
    if wrong:
        findings.problem(f"{findings.relative(path)} has labels above {spec.n_classes - 1}: {some(wrong)}")
    missing = [file for file, _ in rows if not (findings.root / file).is_file()]
    if missing:
        findings.problem(f"{findings.relative(path)} names {len(missing)} missing files: {some(missing)}")
    there = [file for file, _ in rows if (findings.root / file).is_file()]
    for i in spread(len(there), OPENED):
        reason = image_problem(findings.root / there[i])
        if reason is not None:
            findings.problem(f"{there[i]} is no image ({reason})")
    if rows and len(rows) != published:
        findings.note(f"{path.name} has {len(rows)} lines; the published split has {published}")


class DomainPart(Samples):
    """One part of one domain: image (3, 224, 224), standardised as ImageNet's, and its class."""

    def __init__(self, root: Path, path: Path, size: tuple[int, int] = SIZE) -> None:
        super().__init__()
        self.root, self.rows, self.size = root, read_list(path), size

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, index: int, rng: np.random.Generator | None) -> tuple[Tensor, int]:
        """See :class:`Samples`."""
        file, label = self.rows[index]
        return read_image(self.root / file, self.size, IMAGENET), label


class OfficePart:
    """One part of all domains; each task has inputs of its own.

    A training step sees a batch of each domain; an epoch is as long as the largest domain, and the others start again
    (in a new order), as in LibMTL, on which the papers build. In evaluation, one domain comes after the other, and
    the inputs and targets of the others are None.
    """

    def __init__(self, spec: OfficeSet, root: Path, lists: Path, part: str, size: tuple[int, int] = SIZE) -> None:
        self.domains = [DomainPart(root, lists / f"{name}_{SUFFIX[part]}.txt", size) for name in spec.domains]

    def __len__(self) -> int:
        return max(len(domain) for domain in self.domains)

    def batches(self, size: int, *, order: tuple[int, int] | None = None, workers: int = 0) -> Iterator[Any]:
        """See :class:`bench.mtl.data.batches.Part`."""
        if order is None:
            for task, domain in enumerate(self.domains):
                for image, label in domain.loader(size, None, workers):
                    batch: list[Any] = [None] * len(self.domains)
                    target = list(batch)
                    batch[task], target[task] = image, label
                    yield batch, target
            return
        small = [len(domain) for domain in self.domains if len(domain) < size]
        if small:
            raise ValueError(f"a batch has {size} images of each domain; one has only {small[0]} for training.")
        n_steps = max(len(domain) // size for domain in self.domains)
        streams = [_endless(domain, size, (*order, task), workers) for task, domain in enumerate(self.domains)]
        for _ in range(n_steps):
            drawn = [next(stream) for stream in streams]
            yield [image for image, _ in drawn], [label for _, label in drawn]


def _endless(domain: DomainPart, size: int, order: tuple[int, ...], workers: int) -> Iterator[Any]:
    turn = 0
    while True:
        yield from domain.loader(size, (*order, turn), workers, drop_last=True)
        turn += 1
