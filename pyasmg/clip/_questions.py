"""What a tuner asks, by the numbers that a run store knows: (generation, candidate).

=================  ==========================================================================
candidate          question
=================  ==========================================================================
0, 1, ...          the losses of a sample, on mini-batch number ``generation``
-1                 the losses of the final mean, on the whole training split
-2 and below       losses and accuracies on a whole split: see :func:`held_out`
=================  ==========================================================================

So whatever is asked again, by a resumed run too, is asked on the same images.
"""

from __future__ import annotations

from typing import NamedTuple

from ..evaluation._base import FINAL

_SPLITS = ("validation", "test", "train")
_FIRST = FINAL - 1


class Images(NamedTuple):
    """Which images a question is about: a mini-batch (-1: the whole training split), or a whole split by name."""

    batch_id: int
    split: str | None = None


def held_out(split: str, row: int = 0) -> int:
    """Return the candidate number of row ``row`` of an evaluation on a whole split."""
    return _FIRST - (row * len(_SPLITS) + _SPLITS.index(split))


def row_of(candidate: int) -> int:
    """Return the row of a candidate number: that of ``ask()``, or the one that :func:`held_out` was given."""
    return candidate if candidate >= 0 else max(0, _FIRST - candidate) // len(_SPLITS)


def images(generation: int, candidate: int) -> Images:
    """Return what a candidate is evaluated on."""
    if candidate <= _FIRST:
        return Images(-1, _SPLITS[(_FIRST - candidate) % len(_SPLITS)])
    return Images(-1 if candidate == FINAL else generation)
