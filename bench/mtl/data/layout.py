"""What a folder lacks to be a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SHOWN = 5


class LayoutError(ValueError):
    """A folder that is not the data set; the message says everything that is missing or wrong."""


class Findings:
    """What a layout checker has found: problems, with which the set cannot be used, and notes.

    Parameters
    ----------
    name : str
        Of the data set.
    root : Path
        The folder.
    layout : str
        The layout in one line.
    """

    def __init__(self, name: str, root: Path, layout: str) -> None:
        self.name, self.root, self.layout = name, root, layout
        self.problems: list[str] = []
        self.notes: list[str] = []

    def problem(self, text: str) -> None:
        """Add a problem."""
        self.problems.append(text)

    def note(self, text: str) -> None:
        """Add something that differs from the published set, and does no harm."""
        self.notes.append(text)

    def folder(self, path: Path) -> bool:
        """Whether there is such a folder; a problem if not."""
        if path.is_dir():
            return True
        self.problem(f"missing folder {self.relative(path)}")
        return False

    def file(self, path: Path) -> bool:
        """Whether there is such a file; a problem if not."""
        if path.is_file():
            return True
        self.problem(f"missing file {self.relative(path)}")
        return False

    def relative(self, path: Path) -> str:
        """Return the path as seen from the folder."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def text(self) -> str:
        """Return all of it, a line each."""
        lines = [f"{self.root} is not {self.name} in the layout {self.layout}:" if self.problems else ""]
        lines += [f"  - {problem}" for problem in self.problems]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(line for line in lines if line) or f"{self.root} is {self.name}."

    def settle(self) -> None:
        """Raise if there is a problem."""
        if self.problems:
            raise LayoutError(self.text())


def some(names: Sequence[object]) -> str:
    """Return the first few of many names."""
    rest = len(names) - SHOWN
    return ", ".join(str(name) for name in names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def spread(n: int, count: int) -> list[int]:
    """Return up to ``count`` of the numbers 0 .. n - 1, evenly spread: which files are opened."""
    return sorted({round(i * (n - 1) / max(count - 1, 1)) for i in range(min(n, count))})
