"""TensorBoard's event files: records of protocol buffers, of which scalars need only six fields.

They are written here, not by a ``SummaryWriter``: that of tensorboardX writes in a thread which ends when the disk is
full, after which the next scalars wait for it for ever.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

_LARGEST = 3.4028234663852886e38  # a scalar has 32 bits
_numbers = itertools.count()


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # Castagnoli's polynomial
        table.append(value)
    return table


_CRC = _crc_table()


class EventFile:
    """Appends scalars to one event file in a folder.

    Parameters
    ----------
    folder : Path
        Made if it does not exist. Every instance has a file of its own in it.

    Raises
    ------
    OSError
        It cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self.path = folder / name
        self._size = 0  # of the records that are whole
        try:
            self._append(_field(3, b"brain.Event:2"), now, 0)
        except OSError:
            self.path.unlink(missing_ok=True)
            raise

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Append the scalars of one step."""
        values = b"".join(_field(1, _field(1, tag.encode()) + _float(2, value)) for tag, value in scalars.items())
        self._append(_field(5, values), time.time(), step)

    def _append(self, what: bytes, now: float, step: int) -> None:
        event = b"\x09" + struct.pack("<d", now) + b"\x10" + _varint(step) + what
        length = struct.pack("<Q", len(event))
        record = length + _masked_crc(length) + event + _masked_crc(event)
        with self.path.open("ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size > self._size:  # a record was cut off, and nothing is read behind it
                file.truncate(self._size)
            self._size = min(size, self._size)
            written = file.write(record)
        if written != len(record):
            raise OSError(f"only {written} of {len(record)} bytes could be written")
        self._size += len(record)


def _field(number: int, content: bytes) -> bytes:
    """Return a field of bytes: its key, its length, its content."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _float(number: int, value: float) -> bytes:
    return bytes([number << 3 | 5]) + struct.pack("<f", max(-_LARGEST, min(value, _LARGEST)))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _masked_crc(content: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in content:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
