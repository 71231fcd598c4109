"""A `Connection` on an asyncio transport, the same for both ends: bytes to and fro, back pressure, and a decent close.

Whoever owns it is told by functions: `handle` for each event, `lost` once, when the connection is of no more use.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from crossover.transport.deadline_queue import deadline_queue
from crossover.transport.silence import limit_unacknowledged

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.transport.http2.connection import Connection
    from crossover.transport.http2.events import Event

WRITTEN_BYTES = 4 << 20
"""With so many bytes written that the peer has not read, nothing more is read from it: that would make us write more."""
LINGER_SECONDS = 1.0
"""How long a peer that broke the protocol has to read why, and to close; what it still sends is dropped (RFC 9112, 9.6)."""
CLOSE_SECONDS = 20.0
"""How long what was written may take to leave a connection that closes."""


class Http2Socket(asyncio.Protocol):
    """One connection's way to the network."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        handle: Callable[[Event], None],
        lost: Callable[[str], None],
    ) -> None:
        self.connection = connection
        self.heard = loop.time()
        """When something came last, by the loop's clock."""
        self.peername: Any = None
        """The other end's address, as the socket has it."""
        self.writable: asyncio.Future[None] | None = None
        """Done when the peer reads again; None while it does."""
        self.written = 0
        """Bytes so far, read by the peer or not."""
        self._loop = loop
        self._handle = handle
        self._lost: Callable[[str], None] | None = lost
        self._transport: asyncio.Transport | None = None
        self._reading = False
        """Events are being handled: output is collected, and `close` waits."""
        self._catches_up = False
        self._closes = self._to_close = False

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._closes and not self._transport.is_closing()

    @property
    def unread_bytes(self) -> int:
        """Bytes that were written, and that the peer has not taken."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(WRITTEN_BYTES)
        self.peername = transport.get_extra_info("peername")
        tcp = transport.get_extra_info("socket")
        if tcp is not None:
            limit_unacknowledged(tcp)
        self.flush()

    def data_received(self, data: bytes) -> None:
        if self._closes:
            return
        self.heard = self._loop.time()
        self._receive(data)

    def pause_writing(self) -> None:
        self.writable = self._loop.create_future()
        self._read(on=False)

    def resume_writing(self) -> None:
        waiting, self.writable = self.writable, None
        if waiting is not None:
            waiting.set_result(None)
        if not self._catches_up:
            self._read(on=True)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        waiting, self.writable = self.writable, None
        if waiting is not None:
            waiting.set_result(None)
        self._tell_lost("Socket closed")

    # what its owner does

    def flush(self) -> None:
        """Send what the connection has to say. While events are handled it is collected, and leaves in one write."""
        if not self._reading and (data := self.connection.take_output()):
            self.write(data)

    def write(self, data: bytes) -> None:
        """Bytes that the connection did not make, or has just made."""
        transport = self._transport
        if transport is not None and not self._closes and not transport.is_closing():
            self.written += len(data)
            transport.write(data)

    def close(self) -> None:
        """When what was written has gone, for which there is `CLOSE_SECONDS`."""
        if self._reading:
            self._to_close = True
            return
        self.flush()
        transport = self._transport
        if transport is None or self._closes:
            return
        self._closes = True
        if self.connection.failed and transport.can_write_eof() and not transport.is_closing():
            # closed at once, with bytes unread, the peer would see a reset in place of what we said
            transport.write_eof()
            transport.resume_reading()
            deadline_queue(self._loop).call_at(self._loop.time() + LINGER_SECONDS, self.abort)
            return
        if not transport.is_closing():  # asyncio's TLS transport forgets its connection when it is closed again
            transport.close()
        if transport.get_write_buffer_size():
            deadline_queue(self._loop).call_at(self._loop.time() + CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """Now; what was written may be lost."""
        if self._transport is not None:
            self._transport.abort()

    def lose(self, text: str) -> None:
        """The connection is of no more use."""
        self._tell_lost(text)
        self.close()

    def _tell_lost(self, text: str) -> None:
        lost, self._lost = self._lost, None
        if lost is not None:
            lost(text)

    def _receive(self, data: bytes) -> None:
        connection = self.connection
        self._reading = True
        try:
            for event in connection.receive(data):
                self._handle(event)
        finally:
            self._reading = False
        self.flush()
        if self._to_close:
            self.close()
        if connection.is_behind and not self._closes:
            self._catches_up = True
            self._read(on=False)
            self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        """Read on where the last turn ended; while the peer does not read, that waits too."""
        if self._closes or self._transport is None:
            return
        if self.writable is not None:
            self.writable.add_done_callback(lambda _: self._catch_up())
            return
        self._catches_up = False
        self._receive(b"")
        if not self._catches_up and self.writable is None:
            self._read(on=True)

    def _read(self, *, on: bool) -> None:
        """Go on reading, or stop."""
        if self.is_open:
            (self._transport.resume_reading if on else self._transport.pause_reading)()  # type: ignore[union-attr]
