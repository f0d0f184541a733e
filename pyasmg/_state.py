"""The saved form of an optimizer: plain data and arrays, versioned, with a checksum; no pickle in it."""

from __future__ import annotations

import json
import zlib
from typing import Any

import numpy as np

FORMAT = "pyasmg.ASMG"
VERSION = 3


class StateError(ValueError):
    """A saved state that cannot be used: of another version, incomplete or damaged."""


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """Add format, version and checksum."""
    return {"format": FORMAT, "version": VERSION, **content, "checksum": _checksum(content)}


def unseal(state: Any) -> dict[str, Any]:
    """Return the content of a sealed state, or raise :class:`StateError` in words."""
    if not isinstance(state, dict):
        raise StateError(f"a saved state must be a dictionary; got {type(state).__name__}.")
    if state.get("format") != FORMAT:
        raise StateError(f"a saved state must have format {FORMAT!r}; got {state.get('format')!r}.")
    if state.get("version") != VERSION:
        raise StateError(
            f"this saved state has version {state.get('version')!r}; this pyasmg reads version {VERSION}. "
            "Use the pyasmg that wrote it."
        )
    content = {key: value for key, value in state.items() if key not in ("format", "version", "checksum")}
    try:
        checksum = _checksum(content)
    except TypeError as error:
        raise StateError(f"this saved state is damaged: {error}.") from None
    if state.get("checksum") != checksum:
        raise StateError(
            f"this saved state is damaged: its checksum is {state.get('checksum')!r}, its content gives {checksum}."
        )
    return content


def _checksum(value: Any) -> int:
    return _add(0, value)


def _add(checksum: int, value: Any) -> int:
    """CRC-32 over a canonical form, in which a tuple counts as a list: JSON does not tell them apart."""
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        checksum = zlib.crc32(f"{array.dtype.str}{array.shape}".encode(), checksum)
        return zlib.crc32(array.reshape(-1).view(np.uint8).data, checksum)
    if isinstance(value, dict):
        for key in sorted(value):
            checksum = _add(zlib.crc32(json.dumps(key).encode(), checksum), value[key])
        return zlib.crc32(b"}", checksum)
    if isinstance(value, (list, tuple)):
        for item in value:
            checksum = _add(checksum, item)
        return zlib.crc32(b"]", checksum)
    if isinstance(value, np.generic):
        value = value.item()
    return zlib.crc32(json.dumps(value).encode(), checksum)
