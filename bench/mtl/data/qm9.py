"""QM9: molecules with 11 properties."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .batches import Samples
from .layout import Findings

LAYOUT = "of torch_geometric's QM9(root): root/processed/data_v3.pt, root/raw/qm9_v3.pt, or root/raw/gdb9.sdf"
#: Columns of y; the atomisation energies U0, U, H, G (12 .. 15) in place of the energies.
TARGETS = (0, 1, 2, 3, 5, 6, 12, 13, 14, 15, 11)
NAMES = ("mu", "alpha", "homo", "lumo", "r2", "zpve", "U0", "U", "H", "G", "cv")
#: Reported in meV instead of eV.
MILLI = ("homo", "lumo", "zpve", "U0", "U", "H", "G")
HELD_OUT = 10_000
PUBLISHED = 130_831
SDF_FILES = ("gdb9.sdf", "gdb9.sdf.csv", "uncharacterized.txt")
FIELDS = {"x": 11, "edge_index": None, "edge_attr": 4, "y": 19, "pos": 3}


@dataclass
class Molecules:
    """Graphs without batching, as stacked tensors with their boundaries.

    Attributes
    ----------
    x, pos
        Per atom: 11 features; the position.
    edge_index, edge_attr
        Per bond, in both directions: the atoms, counted within the molecule; 4 features.
    y
        Per molecule: 19 properties.
    atoms, bonds
        Where the molecules start, n + 1 entries.
    """

    x: Tensor
    pos: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    y: Tensor
    atoms: Tensor
    bonds: Tensor

    def __len__(self) -> int:
        return len(self.y)


def source(root: Path) -> str | None:
    """Return what can be read: "processed" or "sdf" (with torch_geometric), or "raw" (without); None for nothing."""
    geometric = importlib.util.find_spec("torch_geometric") is not None
    if geometric and (root / "processed" / "data_v3.pt").is_file():
        return "processed"
    if (root / "raw" / "qm9_v3.pt").is_file():
        return "raw"
    sdf = all((root / "raw" / name).is_file() for name in SDF_FILES)
    return "sdf" if sdf and geometric and importlib.util.find_spec("rdkit") is not None else None


def check(root: Path) -> Findings:
    """Return what a folder lacks, and which package."""
    findings = Findings("QM9", root, LAYOUT)
    if not findings.folder(root) or source(root) is not None:
        return findings
    raw = root / "raw"
    if (root / "processed" / "data_v3.pt").is_file():
        findings.problem("processed/data_v3.pt needs torch_geometric: pip install torch_geometric")
    elif all((raw / name).is_file() for name in SDF_FILES):
        findings.problem("raw/gdb9.sdf needs torch_geometric and rdkit: pip install torch_geometric rdkit")
    else:
        there = [name for name in SDF_FILES if (raw / name).is_file()]
        if there:
            missing = [name for name in SDF_FILES if name not in there]
            findings.problem(f"raw has {', '.join(there)}; missing {', '.join(missing)}")
        else:
            findings.problem(f"missing raw/qm9_v3.pt (a list of molecules), and raw/{{{','.join(SDF_FILES)}}}")
    return findings


def load(root: Path) -> tuple[Molecules, Findings]:
    """Return all molecules and the findings.

    Raises
    ------
    LayoutError
        If the folder is not the data set; nothing is downloaded.
    """
    findings = check(root)
    findings.settle()
    graphs = _read_raw(root) if source(root) == "raw" else _read_geometric(root)
    for name, width in FIELDS.items():
        shapes = {tuple(graph[name].shape[1:]) for graph in graphs if name in graph}
        if any(name not in graph for graph in graphs):
            findings.problem(f"a molecule has no {name!r}")
        elif width is not None and shapes != {(width,)}:
            findings.problem(f"{name!r} must have {width} columns; got shapes (n, ..) of {sorted(shapes)}")
    if not graphs:
        findings.problem("there is no molecule")
    findings.settle()
    if len(graphs) != PUBLISHED:
        findings.note(f"{len(graphs)} molecules; the published set has {PUBLISHED}")
    return _stack(graphs), findings


def _read_raw(root: Path) -> list[dict[str, Tensor]]:
    found: list[dict[str, Tensor]] = torch.load(root / "raw" / "qm9_v3.pt", weights_only=True)
    return found


def _read_geometric(root: Path) -> list[dict[str, Any]]:
    from torch_geometric.datasets import QM9

    class Local(QM9):
        """Without the download, which torch_geometric begins where it misses raw files beside processed ones."""

        def download(self) -> None:
            pass

    return [graph.to_dict() for graph in Local(str(root))]


def _stack(graphs: list[dict[str, Tensor]]) -> Molecules:
    def starts(name: str, dim: int) -> Tensor:
        sizes = torch.tensor([graph[name].shape[dim] for graph in graphs])
        return torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])

    stacked = {
        name: torch.cat([graph[name] for graph in graphs], dim=1 if name == "edge_index" else 0) for name in FIELDS
    }
    return Molecules(**stacked, atoms=starts("x", 0), bonds=starts("edge_attr", 0))


@dataclass(frozen=True)
class Split:
    """The molecules of each part, and the statistics of the training part.

    Attributes
    ----------
    parts
        Numbers of molecules, per part.
    mean, std
        Of the 11 targets over the training part only. (LibMTL takes them over the whole set, test part included, and
        so does the code of Nash-MTL through ``dataset.data``.)
    """

    parts: dict[str, Tensor]
    mean: Tensor
    std: Tensor


def split(molecules: Molecules, held_out: int = HELD_OUT, seed: int = 0) -> Split:
    """Return a random split: so many molecules for the test and the validation part, the rest for training.

    10,000 and 10,000 as in the papers. Their permutations are not published; this one is NumPy's of the seed.
    """
    n = len(molecules)
    if not 0 < 2 * held_out < n - 1:
        raise ValueError(f"2 x {held_out} molecules cannot be held out of {n}.")
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    parts = {"test": order[:held_out], "validation": order[held_out : 2 * held_out], "train": order[2 * held_out :]}
    y = molecules.y[parts["train"]][:, TARGETS].double()
    return Split(parts, y.mean(dim=0).float(), y.std(dim=0).float())


class MoleculePart(Samples):
    """One part: complete graphs with distances, and 11 standardised targets of shape (1,)."""

    def __init__(self, molecules: Molecules, parts: Split, part: str) -> None:
        super().__init__()
        self.molecules, self.numbers = molecules, parts.parts[part]
        self.targets = (molecules.y[:, TARGETS] - parts.mean) / parts.std

    def __len__(self) -> int:
        return len(self.numbers)

    def sample(self, index: int, rng: np.random.Generator | None) -> tuple[dict[str, Tensor], Tensor]:
        """See :class:`Samples`."""
        m, i = self.molecules, int(self.numbers[index])
        atoms, bonds = slice(m.atoms[i], m.atoms[i + 1]), slice(m.bonds[i], m.bonds[i + 1])
        edge_index, edge_attr = complete(m.edge_index[:, bonds], m.edge_attr[bonds], m.pos[atoms])
        return {"x": m.x[atoms], "edge_index": edge_index, "edge_attr": edge_attr}, self.targets[i]

    @staticmethod
    def collate(samples: list[Any]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return one graph of many, ``batch`` saying which atom is of which; and the targets."""
        graphs, targets = zip(*samples, strict=True)
        sizes = torch.tensor([len(graph["x"]) for graph in graphs])
        shifts = sizes.cumsum(0) - sizes
        edges = [graph["edge_index"] + shift for graph, shift in zip(graphs, shifts, strict=True)]
        inputs = {
            "x": torch.cat([graph["x"] for graph in graphs]),
            "edge_index": torch.cat(edges, dim=1),
            "edge_attr": torch.cat([graph["edge_attr"] for graph in graphs]),
            "batch": torch.repeat_interleave(torch.arange(len(graphs)), sizes),
        }
        return inputs, list(torch.stack(targets).T[:, :, None])


def complete(edge_index: Tensor, edge_attr: Tensor, pos: Tensor) -> tuple[Tensor, Tensor]:
    """Return an edge between each two atoms, with the features of the bond (0 where there is none) and the distance."""
    n = len(pos)
    dense = edge_attr.new_zeros((n, n, edge_attr.shape[1]))
    dense[edge_index[0], edge_index[1]] = edge_attr
    rows, columns = torch.nonzero(~torch.eye(n, dtype=torch.bool), as_tuple=True)
    distance = (pos[rows] - pos[columns]).norm(dim=1, keepdim=True)
    return torch.stack([rows, columns]), torch.cat([dense[rows, columns], distance], dim=1)
