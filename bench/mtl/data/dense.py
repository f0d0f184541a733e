"""NYUv2 and Cityscapes as folders of ``.npy`` files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .batches import Samples
from .layout import Findings, some, spread

OPENED = 8
SCALES = (1.0, 1.2, 1.5)


@dataclass(frozen=True)
class DenseSet:
    """A set of images with a value per pixel and task.

    Attributes
    ----------
    name
        Of the set.
    channels
        Per kind of file: the number of channels, the last dimension; 0 for the label, which has none.
    n_classes
        Labels are 0 .. n_classes - 1, or -1 to be ignored.
    size
        Height and width of the published images.
    counts
        Number of published images, per part.
    label_folders
        Where labels may be: the first that exists is read.
    """

    name: str
    channels: dict[str, int]
    n_classes: int
    size: tuple[int, int]
    counts: dict[str, int]
    label_folders: tuple[str, ...] = ("label",)

    @property
    def layout(self) -> str:
        """The layout in one line."""
        return f"root/{{train,val}}/{{{','.join(self.channels)}}}/{{i}}.npy, i = 0, 1, .."

    def folder(self, root: Path, part: str, kind: str) -> Path:
        """Return the folder of a kind of file."""
        names = self.label_folders if kind == "label" else (kind,)
        found = [name for name in names if (root / part / name).is_dir()]
        return root / part / (found or names)[0]


NYUV2 = DenseSet("NYUv2", {"image": 3, "label": 0, "depth": 1, "normal": 3}, 13, (288, 384), {"train": 795, "val": 654})
#: The public loaders read ``label`` (LibMTL) or ``label_7`` (FAMO, from a folder with ``label_19`` beside it).
CITYSCAPES = DenseSet(
    "Cityscapes",
    {"image": 3, "label": 0, "depth": 1},
    7,
    (128, 256),
    {"train": 2975, "val": 500},
    ("label", "label_7"),
)


def check(spec: DenseSet, root: Path) -> Findings:
    """Return what a folder lacks: folders, files, shapes of all files, and values of a few."""
    findings = Findings(spec.name, root, spec.layout)
    if findings.folder(root):
        for part in spec.counts:
            if findings.folder(root / part):
                _check_part(findings, spec, root, part)
    return findings


def _check_part(findings: Findings, spec: DenseSet, root: Path, part: str) -> None:
    folders = {kind: spec.folder(root, part, kind) for kind in spec.channels}
    folders = {kind: folder for kind, folder in folders.items() if findings.folder(folder)}
    numbers = {kind: {path.stem for path in folder.glob("*.npy")} for kind, folder in folders.items()}
    n = max((len(found) for found in numbers.values()), default=0)
    complete = bool(n)
    for kind, found in numbers.items():
        missing = [f"{i}.npy" for i in range(n) if str(i) not in found]
        if missing:
            complete = False
            findings.problem(
                f"{findings.relative(folders[kind])} has {len(found)} of {n} files; missing {some(missing)}"
            )
        elif not n:
            findings.problem(f"{findings.relative(folders[kind])} has no .npy file")
    if complete and n != spec.counts[part]:
        findings.note(f"{part} has {n} images; the published set has {spec.counts[part]}")
    size: tuple[int, ...] | None = None
    for kind in folders:
        size = _check_kind(findings, spec, folders[kind], kind, sorted(numbers[kind]), size)
    if size is not None and (size[0] % 32 or size[1] % 32):
        findings.problem(f"{part} has images of {size[0]} x {size[1]}; SegNet needs multiples of 32")
    elif size is not None and size != spec.size:
        findings.note(f"{part} has images of {size[0]} x {size[1]}; the published set has {spec.size}")


def _check_kind(
    findings: Findings, spec: DenseSet, folder: Path, kind: str, stems: list[str], size: tuple[int, ...] | None
) -> tuple[int, ...] | None:
    """Check the files of one folder, and return height and width."""
    opened = set(spread(len(stems), OPENED))
    for i, stem in enumerate(stems):
        path = folder / f"{stem}.npy"
        name = findings.relative(path)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            findings.problem(f"{name} cannot be read: {error}")
            continue
        channels = spec.channels[kind]
        height, width = size or array.shape[:2] if array.ndim >= 2 else (0, 0)
        expected = (height, width, channels) if channels else (height, width)
        if array.shape != expected:
            size_text = f"{size[0]}, {size[1]}" if size else "height, width"
            findings.problem(
                f"{name} has shape {array.shape}; expected ({size_text}{f', {channels}' * bool(channels)})"
            )
            continue
        size = (height, width)
        if i in opened:
            _check_values(findings, spec, name, kind, array)
    return size


def _check_values(findings: Findings, spec: DenseSet, name: str, kind: str, array: np.ndarray) -> None:
    if array.dtype.kind not in "fiu":
        findings.problem(f"{name} holds {array.dtype}; expected numbers")
    elif not np.isfinite(array).all():
        findings.problem(f"{name} holds values that are not finite")
    elif kind == "label" and (array.min() < -1 or array.max() >= spec.n_classes or (array != np.round(array)).any()):
        findings.problem(
            f"{name} has labels from {array.min():g} to {array.max():g}; expected -1 .. {spec.n_classes - 1}, whole"
        )
    elif kind == "image" and (array.min() < 0.0 or array.max() > 1.0):
        findings.problem(f"{name} has values from {array.min():g} to {array.max():g}; expected 0 .. 1")
    elif kind == "depth" and array.min() < 0.0:
        findings.problem(f"{name} has depths from {array.min():g} on; expected none below 0 (0: unknown)")


class DensePart(Samples):
    """One part: image (3, H, W), and targets label (H, W), depth (1, H, W) and, for NYUv2, normal (3, H, W).

    ``augment``: a random crop that is scaled back by 1, 1.2 or 1.5 (the depth is divided by that), and a horizontal
    flip, on the training part, as in the code of Nash-MTL and FAMO. MTAN's authors train without.
    """

    def __init__(self, spec: DenseSet, root: Path, part: str, *, augment: bool = False) -> None:
        super().__init__()
        self.folders = {kind: spec.folder(root, part, kind) for kind in spec.channels}
        self.n = len(list(self.folders["image"].glob("*.npy")))
        self.augment = augment

    def __len__(self) -> int:
        return self.n

    def sample(self, index: int, rng: np.random.Generator | None) -> tuple[Tensor, list[Tensor]]:
        """See :class:`Samples`."""
        found = {}
        for kind, folder in self.folders.items():
            array = torch.from_numpy(np.load(folder / f"{index}.npy", allow_pickle=False)).float()
            found[kind] = array.permute(2, 0, 1) if array.ndim == 3 else array[None]
        if self.augment and rng is not None:
            found = scale_and_flip(found, rng)
        label = found.pop("label")[0].long()
        image, *others = (tensor.contiguous() for tensor in found.values())
        return image, [label, *others]


def scale_and_flip(tensors: dict[str, Tensor], rng: np.random.Generator) -> dict[str, Tensor]:
    """Return a random crop of all tensors (C, H, W), scaled back to their size, and flipped half of the time."""
    height, width = tensors["image"].shape[-2:]
    scale = SCALES[rng.integers(len(SCALES))]
    h, w = int(height / scale), int(width / scale)
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    flip = rng.random() < 0.5
    found = {}
    for kind, tensor in tensors.items():
        crop = tensor[None, :, top : top + h, left : left + w]
        smooth = kind in ("image", "normal")
        mode = {"mode": "bilinear", "align_corners": True} if smooth else {"mode": "nearest"}
        result = functional.interpolate(crop, size=(height, width), **mode)[0]
        found[kind] = result.flip(-1) if flip else result
    found["depth"] = found["depth"] / scale
    if flip and "normal" in found:
        found["normal"] = found["normal"] * torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    return found
