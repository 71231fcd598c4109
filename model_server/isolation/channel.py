"""What server and worker say to each other: short JSON messages on a socket, tensors in two shared memory segments.

The segments have no name (memfd), so they vanish with the last process that has them, however it ends.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson

from crossover.protocol.datatypes import datatype
from crossover.protocol.tensors import Tensor

_LENGTH = struct.Struct("<I")
_ALIGNMENT = 64
KEPT_BYTES = 16 << 20
"""What a segment keeps of its pages between two runs."""


def send(connection: socket.socket, message: Any) -> None:
    """Send one message; OSError when the other side is gone."""
    data = orjson.dumps(message)
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive(connection: socket.socket) -> Any:
    """One message; EOFError when the other side is gone."""
    return orjson.loads(_exactly(connection, _LENGTH.unpack(_exactly(connection, _LENGTH.size))[0]))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


class Segment:
    """Shared memory that one side writes tensors to and the other reads them from. It grows and never shrinks: a page
    taken away would end (SIGBUS) the process that reads it.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = os.memfd_create("crossover-tensors", os.MFD_CLOEXEC) if fd is None else fd
        self._map: mmap.mmap | None = None

    def close(self) -> None:
        if self._map is not None:
            with suppress(BufferError):  # a tensor that was read still shows a part of it
                self._map.close()
            self._map = None
        os.close(self.fd)

    def write(self, tensors: Sequence[Tensor]) -> list[list[Any]]:
        """Copy tensors in; what `read` needs to find them: name, datatype, shape, offset, bytes."""
        places: list[list[Any]] = []
        at = 0
        for tensor in tensors:
            size = len(memoryview(tensor.raw).cast("B")) if tensor.nbytes else 0
            places.append([tensor.name, tensor.datatype.name, tensor.shape, at, size])
            at += -(-size // _ALIGNMENT) * _ALIGNMENT
        view = self._view(at, grow=True)
        for tensor, (_, _, _, start, size) in zip(tensors, places, strict=True):
            if size:
                view[start : start + size] = memoryview(tensor.raw).cast("B")
        return places

    def read(self, places: Sequence[Sequence[Any]], *, copy: bool) -> list[Tensor]:
        """The tensors at these places; without `copy` they are valid until the next `write` on the other side."""
        view = self._view(max((start + size for *_, start, size in places), default=0))
        tensors = []
        for name, kind, shape, start, size in places:
            part = view[start : start + size]
            tensors.append(Tensor(name, datatype(kind), tuple(shape), raw=bytes(part) if copy else part))
        return tensors

    def trim(self) -> None:
        """Give back the pages beyond `KEPT_BYTES`."""
        if self._map is not None and len(self._map) > KEPT_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, KEPT_BYTES, len(self._map) - KEPT_BYTES)

    def _view(self, size: int, *, grow: bool = False) -> memoryview:
        if self._map is None or len(self._map) < size:
            if grow:
                os.ftruncate(self.fd, max(mmap.PAGESIZE, 1 << max(0, size - 1).bit_length()))
            self._map = mmap.mmap(self.fd, os.fstat(self.fd).st_size)
        return memoryview(self._map)
