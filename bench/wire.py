"""Bytes on the wire of a Dask cluster: what its processes hand to ``send`` and get from ``recv``, socket by socket.

:func:`install` goes into every process of the cluster (``client.run``); it wraps the two methods of tornado's streams
that make the system calls, so that nothing on a connection escapes: commands, data, heartbeats, replies. Every
connection has both ends in the cluster, so that bytes sent and bytes received, summed over the processes, must agree;
either sum counts each byte once. Where the kernel tells (Linux, ``TCP_INFO``), its own count is kept beside them.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import weakref
from typing import Any, NamedTuple


class Bytes(NamedTuple):
    """Sums over processes; ``kernel`` is what the kernel received, -1 where it does not tell."""

    sent: int
    received: int
    kernel: int

    def __sub__(self, other: Bytes) -> Bytes:
        return Bytes(*(a - b for a, b in zip(self, other, strict=True)))


_total = {"sent": 0, "received": 0, "kernel": 0}
_known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # stream: kernel's count when first seen


def install() -> None:
    """Count in this process from now on."""
    from tornado.iostream import IOStream

    if getattr(IOStream, "_counted", False):
        return
    IOStream._counted = True
    write, read, close = IOStream.write_to_fd, IOStream.read_from_fd, IOStream.close_fd

    def write_to_fd(self, data):
        _see(self)
        n = write(self, data)
        _total["sent"] += n
        return n

    def read_from_fd(self, buffer):
        _see(self)
        n = read(self, buffer)
        _total["received"] += n or 0
        return n

    def close_fd(self):
        _total["kernel"] += _kernel(self) - _known.pop(self, _kernel(self))
        close(self)

    IOStream.write_to_fd, IOStream.read_from_fd, IOStream.close_fd = write_to_fd, read_from_fd, close_fd


def read() -> Bytes:
    """Return this process's counts."""
    live = sum(_kernel(stream) - base for stream, base in list(_known.items()))
    return Bytes(_total["sent"], _total["received"], _total["kernel"] + live)


def install_everywhere(client: Any) -> None:
    """Count in this process, which holds client and scheduler, and in all workers."""
    install()
    client.run(install)


def read_everywhere(client: Any) -> Bytes:
    """Return the sums over all processes; asking costs a few kilobytes itself."""
    counts = [*client.run(read).values(), read()]
    return Bytes(*(sum(column) for column in zip(*counts, strict=True)))


def _see(stream: Any) -> None:
    if stream not in _known:
        _known[stream] = _kernel(stream)


def _kernel(stream: Any) -> int:
    """Return ``tcpi_bytes_received``: the second u64 after 8 + 24 * 4 + 3 * 8 bytes of ``struct tcp_info``."""
    with contextlib.suppress(OSError, AttributeError, struct.error):
        information = stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int(struct.unpack_from("=Q", information, 128)[0])
    return 0
