"""Prompt tasks from image folders: Office-31, Office-Home, ImageFolder-like domains and list files.

==============  ==========================================================================================
layout          folders below the root
==============  ==========================================================================================
office-31       ``amazon/images/<class>/*``, ``dslr/images/<class>/*``, ``webcam/images/<class>/*``
office-home     ``Art/<Class>/*``, ``Clipart/<Class>/*``, ``Product/<Class>/*``, ``Real World/<Class>/*``
                (``Real_World`` and ``RealWorld`` too)
folders         ``<domain>/<class>/*`` (or ``<domain>/images/<class>/*``): every folder below the root is a domain
==============  ==========================================================================================

All domains must have the same classes. Each domain is split 60/20/20 within each class by the seed, unless list files
say what belongs where: ``<domain>_train.txt``, ``<domain>_val.txt`` (or ``_validation``), ``<domain>_test.txt``, or one
``<domain>.txt`` that is split by the seed; lines are ``path label``, paths relative to the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .._validate import integer
from ._split import split_rows
from .models import Model
from .prompt import PromptEncoder
from .task import SPLITS, Domain, Part, PromptTask

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
START = "a photo of a"
_SHOWN = 5
_IMAGES_AT_ONCE = 64
_LIST_NAMES = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}

# the folder names under which a domain is found, the first one is its name
LAYOUTS: dict[str, tuple[tuple[str, ...], ...] | None] = {
    "office-31": (("amazon",), ("dslr",), ("webcam",)),
    "office-home": (("Art",), ("Clipart",), ("Product",), ("Real World", "Real_World", "RealWorld")),
    "folders": None,
}


class LayoutError(ValueError):
    """A folder that is not in the layout; the message says what is missing or wrong."""


class Files(NamedTuple):
    """The images of one domain: name, and for each split the paths and the numbers of their classes."""

    name: str
    parts: dict[str, tuple[list[Path], list[int]]]


def from_folders(
    root: str | Path,
    model: Model,
    *,
    layout: str = "folders",
    domains: Sequence[str] | None = None,
    lists: str | Path | None = None,
    n_ctx: int = 4,
    start: str | None = START,
    ending: str = "",
    split_seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> PromptTask:
    """Return the prompt task of image folders; every image goes through the image tower once, now.

    Parameters
    ----------
    root : path
        The data set.
    model : Model
        From :func:`pyasmg.clip.load`.
    layout : {"folders", "office-31", "office-home"}
        See the module.
    domains : sequence of str, optional
        Only these, in this order.
    lists : path, optional
        Folder of the list files; classes are still named by the folders of the images.
    n_ctx : int
        Tokens of the prompt.
    start : str or None
        Text of the start p0, of n_ctx tokens; None for zeros.
    ending : str
        What follows the class name in the text.
    split_seed : int
        Of the 60/20/20 split.
    progress : callable, optional
        Called with (domain, images done, images in all).
    **options
        Of :class:`PromptTask`: ``batch_size``, ``seed``, ``max_batch``, ``group``, ``n_threads``.

    Raises
    ------
    LayoutError
        If folders or files are missing, a class is not in every domain, or a file is not an image.
    """
    class_names, found = find_images(root, layout=layout, domains=domains, lists=lists, split_seed=split_seed)
    encoder = PromptEncoder(model.clip, model.tokenizer, class_names, n_ctx=n_ctx, ending=ending)
    p0 = None if start is None else encoder.embedding(start)
    tasks = [_features(files, model, encoder.device, progress) for files in found]
    return PromptTask(encoder, tasks, scale=model.scale, start=p0, **options)


def find_images(
    root: str | Path,
    *,
    layout: str = "folders",
    domains: Sequence[str] | None = None,
    lists: str | Path | None = None,
    split_seed: int = 0,
) -> tuple[tuple[str, ...], list[Files]]:
    """Return the names of the classes and the files of every domain, without opening an image."""
    if layout not in LAYOUTS:
        raise ValueError(f"`layout` must be one of {tuple(LAYOUTS)}; got {layout!r}.")
    split_seed = integer("split_seed", split_seed, 0, 2**64 - 1)
    root = Path(root)
    places = _places(root, layout, domains)
    if lists is not None:
        return _from_lists(root, Path(lists), places, split_seed)
    by_domain = {name: _classes(folder) for name, folder in places.items()}
    folders = _same_classes(root, by_domain)
    found = []
    for name, classes in by_domain.items():
        paths = [path for folder in folders for path in classes[folder]]
        labels = np.repeat(np.arange(len(folders)), [len(classes[folder]) for folder in folders])
        found.append(Files(name, _split(paths, labels, split_seed)))
    _not_empty(root, found)
    return tuple(map(readable, folders)), found


def readable(folder: str) -> str:
    """Return a class name as a text: "Alarm_Clock" is "alarm clock"."""
    return " ".join(folder.replace("_", " ").replace("-", " ").lower().split())


def _places(root: Path, layout: str, domains: Sequence[str] | None) -> dict[str, Path]:
    if not root.is_dir():
        raise LayoutError(f"{root} is no folder.")
    known = LAYOUTS[layout]
    if known is None:
        names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        spellings: dict[str, tuple[str, ...]] = {name: (name,) for name in names}
    else:
        spellings = {names[0]: names for names in known}
    if domains is not None:
        strange = [name for name in domains if name not in spellings]
        if strange:
            raise LayoutError(f"{root} has no domain {strange[0]!r}; it has {', '.join(spellings) or 'none'}.")
        spellings = {name: spellings[name] for name in domains}
    places, missing = {}, []
    for name, folders in spellings.items():
        there = [root / folder for folder in folders if (root / folder).is_dir()]
        if there:
            inner = there[0] / "images"
            places[name] = inner if inner.is_dir() else there[0]
        else:
            missing.append(" or ".join(folders))
    if missing or not places:
        raise LayoutError(
            f"{root} is not in the layout {layout!r}: missing folders {', '.join(missing) or 'of domains'}."
        )
    return places


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Return the images of each class; hidden files and other kinds of files are passed over."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {path.name: sorted(_images(path)) for path in classes}


def _images(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


def _same_classes(root: Path, by_domain: dict[str, dict[str, list[Path]]]) -> list[str]:
    everywhere = sorted(set().union(*by_domain.values()))
    lacking = [
        f"{name} lacks {_some([c for c in everywhere if not classes.get(c)])}"
        for name, classes in by_domain.items()
        if not all(classes.get(c) for c in everywhere)
    ]
    if lacking or len(everywhere) < 2:
        reason = "; ".join(lacking) or f"found {len(everywhere)} class folders"
        raise LayoutError(f"{root}: every domain needs images of the same classes, two at least: {reason}.")
    return everywhere


def _split(paths: list[Path], labels: np.ndarray[Any, Any], seed: int) -> dict[str, tuple[list[Path], list[int]]]:
    rows = split_rows(labels.astype(np.int64), seed)
    return {split: ([paths[i] for i in rows[split]], [int(labels[i]) for i in rows[split]]) for split in SPLITS}


def _from_lists(root: Path, lists: Path, places: dict[str, Path], seed: int) -> tuple[tuple[str, ...], list[Files]]:
    names: dict[int, str] = {}
    found = []
    for domain, place in places.items():
        stems = (domain, place.parent.name if place.name == "images" else place.name)
        files = {split: _list_file(lists, stems, endings) for split, endings in _LIST_NAMES.items()}
        whole = next((lists / f"{stem}.txt" for stem in stems if (lists / f"{stem}.txt").is_file()), None)
        if all(files.values()):
            parts = {split: _read_list(root, path, names) for split, path in files.items() if path is not None}
        elif whole is not None:
            paths, labels = _read_list(root, whole, names)
            parts = _split(paths, np.array(labels), seed)
        else:
            missing = ", ".join(f"{domain}_{split}.txt" for split, path in files.items() if path is None)
            raise LayoutError(f"{lists} lacks {missing} (or {domain}.txt).")
        found.append(Files(domain, parts))
    if sorted(names) != list(range(len(names))) or len(set(names.values())) < len(names):
        raise LayoutError(f"{lists}: labels must be 0 .. K - 1, a class each; got {_some(sorted(names))}.")
    _not_empty(lists, found)
    return tuple(readable(names[label]) for label in range(len(names))), found


def _list_file(lists: Path, stems: Sequence[str], endings: Sequence[str]) -> Path | None:
    candidates = (lists / f"{stem}_{ending}.txt" for stem in stems for ending in endings)
    return next((path for path in candidates if path.is_file()), None)


def _read_list(root: Path, path: Path, names: dict[int, str]) -> tuple[list[Path], list[int]]:
    """Return the paths and labels of a list file, and note the class folder of each label."""
    paths, labels = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        file, _, label = line.strip().rpartition(" ")
        where = f"{path}, line {number}"
        if not file or not label.isdigit():
            raise LayoutError(f"{where}: expected `path label`; got {line.strip()[:60]!r}.")
        image = root / file
        if not image.is_file():
            raise LayoutError(f"{where}: there is no {image}.")
        folder = image.parent.name
        if names.setdefault(int(label), folder) != folder:
            raise LayoutError(f"{where}: label {label} is both {names[int(label)]} and {folder}.")
        paths.append(image)
        labels.append(int(label))
    return paths, labels


def _not_empty(where: Path, found: list[Files]) -> None:
    empty = [f"{files.name} has none for {split}" for files in found for split in SPLITS if not files.parts[split][0]]
    if empty:
        raise LayoutError(f"{where}: too few images: {_some(empty)}.")


def _features(
    files: Files, model: Model, device: torch.device, progress: Callable[[str, int, int], None] | None
) -> Domain:
    total, done = sum(len(paths) for paths, _ in files.parts.values()), 0
    parts = {}
    for split, (paths, labels) in files.parts.items():
        pieces = []
        for first in range(0, len(paths), _IMAGES_AT_ONCE):
            images = torch.stack([_open(path, model) for path in paths[first : first + _IMAGES_AT_ONCE]])
            with torch.no_grad():
                pieces.append(functional.normalize(model.clip.encode_image(images.to(device)).float(), dim=-1))
            done += len(images)
            if progress is not None:
                progress(files.name, done, total)
        parts[split] = Part(torch.cat(pieces), torch.tensor(labels))
    return Domain(files.name, parts)


def _open(path: Path, model: Model) -> Tensor:
    from PIL import Image

    try:
        with Image.open(path) as file:
            return model.preprocess(file.convert("RGB"))
    except OSError as error:
        raise LayoutError(f"{path} is no image ({error}).") from error


def _some(values: Sequence[object]) -> str:
    rest = len(values) - _SHOWN
    return ", ".join(map(str, values[:_SHOWN])) + (f" and {rest} more" if rest > 0 else "")
