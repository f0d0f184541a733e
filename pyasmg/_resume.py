"""Bring an optimizer back from a run store: the last snapshot, then the generations told after it, told again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from ._state import StateError
from ._store_lock import StoreError
from .asmg import ASMG
from .evaluation._driver import matrix

if TYPE_CHECKING:
    from .store import RunStore


def restore(store: RunStore, fresh: ASMG) -> ASMG:
    """Return the optimizer after the last generation that was told.

    Parameters
    ----------
    store : RunStore
        Holds a run with the settings of ``fresh``.
    fresh : ASMG
        As the user asked for it now: its limits, threads and weighting function hold from here on.

    Raises
    ------
    StoreError
        No snapshot can be read, or telling a generation again leads elsewhere than it did.
    """
    summaries = {row["generation"]: row for row in store.generations()}
    opt = _last_snapshot(store, fresh)
    while opt.n_iterations in summaries:
        generation = opt.n_iterations
        records = {i: record for i, record in store.records(generation).items() if i >= 0}
        sizes = {record.values.size for record in records.values() if record.values is not None}
        if len(records) != opt.n_candidates or len(sizes) != 1:
            raise StoreError(
                f"{str(store.path)!r} is damaged: generation {generation} must have {opt.n_candidates} evaluations "
                f"with one number of objectives; it has {len(records)} with {sorted(sizes)}. It was left as it is."
            )
        opt._open_generation()
        opt.tell(matrix(records, opt.n_candidates, sizes.pop()))
        weights = opt.weights
        if weights is None or not np.array_equal(weights, summaries[generation]["weights"]):
            raise StoreError(
                f"telling generation {generation} of {str(store.path)!r} again gives other weights than it did: it "
                "was written by another version of pyasmg, or its weighting function has changed. Nothing was asked."
            )
    opt._options = dataclasses.replace(opt._options, memory=fresh._options.memory)
    opt.n_threads = fresh.n_threads
    opt._set_limits(fresh._stopping.max_evaluations, fresh._stopping.max_iterations)
    return opt


def _last_snapshot(store: RunStore, fresh: ASMG) -> ASMG:
    reasons = []
    for _, state in store.snapshots():
        try:
            weighting = fresh._weighting if state.get("weighting") == "callable" else None
            return ASMG.from_state_dict(state, weighting=weighting)
        except StateError as error:
            reasons.append(str(error))
    raise StoreError(f"{str(store.path)!r} is damaged: no saved state can be read ({'; '.join(reasons) or 'none'}).")
