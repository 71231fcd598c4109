"""How bytes come in: through one buffer that is used again and again, and a large body straight into its own memory.

uvicorn copies a body five times on its way (out of the socket, into an object for each read, out of the parser, together,
and out again). For small ones that does not matter. A large one whose length is known is received into the memory in
which it stays: the parser sees the head and what came with it, and the rest passes it by.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from crossover.protocol.codecs.binary.codec import LENGTH_HEADER
from crossover.transport.http1.receive_buffer import SMALLEST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crossover.transport.http1.receive_buffer import LargeBody

_BOUNDARY = LENGTH_HEADER.encode()
LARGEST = 64 << 20
"""Bytes of a body that is received like this: no memory is set aside for more because somebody said so."""
BUFFER_BYTES = 256 << 10


class Receiver(Protocol):
    """What stands behind a connection: a parser of HTTP, and the body that passes it by."""

    body: LargeBody | None

    def connection_made(self, transport: Any) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def data_received(self, data: Any) -> None:
        """Bytes in the buffer, which is used again when this returns."""
        ...

    def body_received(self) -> None:
        """The large body is whole."""
        ...


class Connection(asyncio.BufferedProtocol):
    """Receives for `receiver`. Connections of one event loop may share the buffer: nobody holds it between two reads."""

    def __init__(self, receiver: Receiver, buffer: memoryview) -> None:
        self._receiver = receiver
        self._buffer = buffer
        self.connection_made = receiver.connection_made  # type: ignore[method-assign]
        self.connection_lost = receiver.connection_lost  # type: ignore[method-assign]
        self.pause_writing = receiver.pause_writing  # type: ignore[method-assign]
        self.resume_writing = receiver.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        body = self._receiver.body
        return self._buffer if body is None else body.rest

    def buffer_updated(self, nbytes: int) -> None:
        body = self._receiver.body
        if body is None:
            self._receiver.data_received(self._buffer[:nbytes])
            return
        body.filled += nbytes
        if body.is_whole:
            self._receiver.body_received()


def length_of(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, int]:
    """The length of a body that may pass the parser by, and where its binary tensors begin.

    The length is 0 when it has none that is known, or one that is too small or too large for that.
    """
    size = boundary = 0
    for name, value in headers:
        if name == b"transfer-encoding":
            return 0, 0
        if name == b"content-length" and value.isdigit():
            size = int(value[:20])
        if name == _BOUNDARY and value.isdigit():
            boundary = int(value[:20])
    return (size, boundary) if SMALLEST <= size <= LARGEST else (0, 0)
