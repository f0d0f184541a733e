"""The tables of a run store, and how values are written into them."""

from __future__ import annotations

import io
import json
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

APPLICATION_ID = 0x70794153  # "pyAS": what `file` and SQLite's own tools show
SCHEMA_VERSION = 1

OK, FAILED, OPEN = 0, 1, 2  #: status of an evaluation; open: failed, to be asked for again

TABLES = """
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL                 -- JSON
) WITHOUT ROWID;
CREATE TABLE evaluations (
    generation INTEGER NOT NULL,
    candidate INTEGER NOT NULL,         -- row of ask(); -1: the mean at the end of a run; below: pyasmg.clip._questions
    status INTEGER NOT NULL,            -- 0 answered, 1 failed, 2 failed and to be asked for again
    f BLOB,                             -- m little-endian doubles
    seconds REAL,                       -- of the last attempt
    attempts INTEGER NOT NULL,
    cost REAL NOT NULL,                 -- of all attempts
    error INTEGER REFERENCES errors,
    checksum INTEGER NOT NULL,          -- CRC-32 of generation, candidate, status and f
    PRIMARY KEY (generation, candidate)
) WITHOUT ROWID;
CREATE TABLE failures (                 -- every attempt that failed
    generation INTEGER NOT NULL,
    candidate INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    error INTEGER NOT NULL REFERENCES errors,
    PRIMARY KEY (generation, candidate, attempt)
) WITHOUT ROWID;
CREATE TABLE errors (
    id INTEGER PRIMARY KEY,
    reason TEXT NOT NULL,
    traceback TEXT NOT NULL,
    UNIQUE (reason, traceback)
);
CREATE TABLE generations (
    generation INTEGER PRIMARY KEY,
    n_evaluations INTEGER NOT NULL,     -- told so far
    n_failed INTEGER NOT NULL,
    mean BLOB NOT NULL,                 -- m doubles: of the generation's valid rows
    best BLOB NOT NULL,
    weights BLOB NOT NULL,
    max_std REAL NOT NULL,
    stationarity REAL,
    finished REAL NOT NULL              -- seconds since 1970
);
CREATE TABLE snapshots (
    generation INTEGER PRIMARY KEY,     -- generations told before it
    state BLOB NOT NULL                 -- ASMG.state_dict(), see state_to_bytes
);
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    started REAL NOT NULL,
    seconds REAL NOT NULL,
    host TEXT NOT NULL,
    process INTEGER NOT NULL,
    versions TEXT NOT NULL,             -- JSON
    counters TEXT NOT NULL,             -- JSON: requests, evaluations, retries, unknown
    ended TEXT                          -- how; NULL: still running, or killed
);
"""


def pack(values: npt.NDArray[np.float64]) -> bytes:
    """Write a vector as little-endian doubles."""
    return np.ascontiguousarray(values, dtype="<f8").tobytes()


def unpack(blob: bytes) -> npt.NDArray[np.float64]:
    """Read what :func:`pack` wrote."""
    return np.frombuffer(blob, dtype="<f8").astype(np.float64)


def checksum(generation: int, candidate: int, status: int, f: bytes | None) -> int:
    """Return the CRC-32 that an evaluation carries: SQLite does not notice a changed bit in a value."""
    return zlib.crc32(struct.pack("<qqb", generation, candidate, status) + (f or b""))


def state_to_bytes(state: dict[str, Any]) -> bytes:
    """Write an optimizer's state: JSON, and its arrays in numpy's own format; no pickle."""
    arrays: dict[str, Any] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            name = f"array{len(arrays)}"
            arrays[name] = value
            return {"$array": name}
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value.item() if isinstance(value, np.generic) else value

    text = json.dumps(plain(state)).encode()
    file = io.BytesIO()
    np.savez(file, json=np.frombuffer(text, np.uint8), **arrays)
    return file.getvalue()


def state_from_bytes(blob: bytes) -> dict[str, Any]:
    """Read what :func:`state_to_bytes` wrote.

    Raises
    ------
    ValueError
        It is damaged.
    """

    def arrays_back(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {"$array"}:
                return content[value["$array"]]
            return {key: arrays_back(item) for key, item in value.items()}
        return [arrays_back(item) for item in value] if isinstance(value, list) else value

    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as content:
            state: dict[str, Any] = arrays_back(json.loads(content["json"].tobytes()))
    except Exception as error:  # zipfile and numpy raise whatever they stumble over
        raise ValueError(f"a saved state is damaged: {type(error).__name__}: {error}") from error
    return state
