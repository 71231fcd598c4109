"""A lean HTTP/2 connection for the load generator (RFC 9113): one call under way, its message made beforehand.

As little is done while time counts as on the HTTP/1.1 side: a prepared header block and DATA go out, frames are cut
until the stream has ended, and header blocks are decoded only when somebody asks what they say.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.comparison.load import sockets
from crossover.comparison.load.http1 import BrokenConnectionError
from crossover.transport.http2 import frames as http2
from crossover.transport.http2.frames import ConnectionFaultError
from crossover.transport.http2.header_blocks import HeaderReader, HeaderWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.load.sockets import Address
    from crossover.protocol.tensors import Buffer

_CHUNK = 1 << 20
_WINDOW = http2.LARGEST_WINDOW
_REPLENISH = 1 << 30
_HEADERS_BYTES = 64 << 10
_BEGINNING = (
    http2.PREFACE
    + http2.frame(
        http2.SETTINGS, 0, 0,
        http2.settings({http2.ENABLE_PUSH: 0, http2.INITIAL_WINDOW_SIZE: _WINDOW, http2.MAX_FRAME_SIZE: 1 << 20}),
    )
    + http2.frame(http2.WINDOW_UPDATE, 0, 0, http2.number(_WINDOW - http2.DEFAULT_WINDOW))
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """A request that brings its own header fields."""

    fields: tuple[tuple[str, str], ...]
    body: bytes


class Reply:
    """One answer: header blocks as they came, and the body."""

    __slots__ = ("_blocks", "_connection", "_fields", "body")

    def __init__(self, connection: Connection, blocks: list[bytes], body: bytes) -> None:
        self._connection, self._blocks, self.body = connection, blocks, body
        self._fields: dict[str, str] | None = None

    def kept(self) -> Reply:
        return self

    @staticmethod
    def received(place: int) -> int:
        """How much of the body the connection had received when its first `place` bytes had come."""
        return place

    @property
    def fields(self) -> dict[str, str]:
        """Header fields and trailers. Replies of one connection must be asked in the order in which they came."""
        if self._fields is None:
            self._fields = self._connection.decoded(self._blocks)
        return self._fields

    @property
    def status(self) -> int:
        text = self.fields.get(":status", "")
        return int(text) if text.isdigit() else 0

    def header(self, name: bytes) -> str | None:
        return self.fields.get(name.decode())


class Connection:
    """A connection with at most one call under way; `fields` are the header fields of every call that brings none."""

    def __init__(self, address: Address, fields: Sequence[tuple[str, str]], timeout: float = 5.0) -> None:
        self._socket = sockets.opened(address, timeout)
        self._fields = tuple(fields)
        self._reader = http2.FrameReader()
        self._headers = HeaderReader()
        self._writer = HeaderWriter()
        self._buffer = bytearray(_CHUNK)
        self._out: list[memoryview] = []
        """Frames that are ready to leave."""
        self._message = memoryview(b"")
        """What of the message no window has allowed yet."""
        self._next = 1
        self._stream = 0
        self._window = self._initial = http2.DEFAULT_WINDOW
        self._stream_window = 0
        self._frame = http2.DEFAULT_FRAME
        self._received = 0
        """Bytes of DATA since the connection's window was last replenished."""
        self._blocks: list[bytes] = []
        self._partial: tuple[int, bytearray] | None = None
        self._body: list[bytes] = []
        self.received = 0
        """Bytes of the reply's body that have come."""
        self._ended = False
        self._settled = False
        self.most_streams: int | None = None
        """SETTINGS_MAX_CONCURRENT_STREAMS of the service; None: it named none."""
        self.reusable = True
        try:
            self._greet(timeout)
        except BaseException:
            self._socket.close()
            raise

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    @property
    def unsent(self) -> bool:
        return bool(self._out)

    def send(self, data: bytes | Request) -> bool:
        """Begin a call with a whole message; True when all that may leave has."""
        fields, data = (data.fields, data.body) if isinstance(data, Request) else (self._fields, data)
        self._stream, self._next = self._next, self._next + 2
        if self._next > http2.LAST_STREAM - 2:
            self.reusable = False
        self._stream_window = self._initial
        self._blocks, self._body, self.received, self._ended = [], [], 0, False
        block = self._writer.block(fields)
        self._message = memoryview(data)
        flags = http2.END_HEADERS | (0 if data else http2.END_STREAM)
        self._out.append(memoryview(http2.frame(http2.HEADERS, flags, self._stream, block) + self._data()))
        return self.flush()

    def flush(self) -> bool:
        """Send what is left, as much as socket and windows take; True when nothing waits for the socket."""
        try:
            while self._out:
                sent = self._socket.send(self._out[0])
                if sent == len(self._out[0]):
                    self._out.pop(0)
                else:
                    self._out[0] = self._out[0][sent:]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> Reply | None:
        """Read what has come; the reply once its stream has ended."""
        while not self._ended:
            try:
                count = self._socket.recv_into(memoryview(self._buffer))
            except BlockingIOError:
                break
            if not count:
                raise BrokenConnectionError("the service closed the connection")
            self._feed(bytes(memoryview(self._buffer)[:count]))
        if self._out:
            self.flush()
        if not self._ended:
            return None
        if self._out or self._message:
            self.reusable = False  # it answered before it had heard everything (RFC 9113, 8.1)
        return Reply(self, self._blocks, b"".join(self._body))

    def rests(self) -> bool:
        """Whether an idle connection that has become readable may be kept: pings are answered, GOAWAY is heard."""
        self._stream = 0
        try:
            while True:
                count = self._socket.recv_into(memoryview(self._buffer))
                if not count:
                    return False
                self._feed(bytes(memoryview(self._buffer)[:count]))
                self.flush()
        except BlockingIOError:
            return self.reusable
        except OSError:
            return False

    def decoded(self, blocks: Sequence[bytes]) -> dict[str, str]:
        """The fields of header blocks that came on this connection, in their order."""
        found: dict[str, str] = {}
        for block in blocks:
            try:
                read = self._headers.fields(block)
            except ConnectionFaultError as error:
                raise BrokenConnectionError(f"the service's header block cannot be read: {error}") from None
            found |= {name.decode("latin-1"): value.decode("latin-1") for name, value in read.items()}
        return found

    def close(self) -> None:
        self._socket.close()

    def _greet(self, timeout: float) -> None:
        """Exchange SETTINGS and wait for the peer's, so that its limits hold from the first call on."""
        until = time.monotonic() + timeout
        self._out.append(memoryview(_BEGINNING))
        self.flush()
        while not self._settled:
            if time.monotonic() > until:
                raise BrokenConnectionError("the service did not begin HTTP/2 in time")
            try:
                count = self._socket.recv_into(memoryview(self._buffer))
            except TimeoutError:
                raise BrokenConnectionError("the service does not begin HTTP/2; is it a gRPC port?") from None
            if not count:
                raise BrokenConnectionError("the service closed the connection before it began HTTP/2")
            self._feed(bytes(memoryview(self._buffer)[:count]))
        self.flush()
        self._socket.settimeout(0)

    def _data(self) -> bytes:
        """DATA frames of what the windows allow now."""
        parts: list[bytes | memoryview] = []
        while self._message and (room := min(self._window, self._stream_window, self._frame, len(self._message))) > 0:
            piece, self._message = self._message[:room], self._message[room:]
            self._window -= room
            self._stream_window -= room
            parts += (http2.head(http2.DATA, 0 if self._message else http2.END_STREAM, self._stream, room), piece)
        return b"".join(parts)

    def _feed(self, data: bytes) -> None:
        try:
            while True:
                for kind, flags, number, payload, counted in self._reader.feed(data):
                    if kind == http2.DATA:
                        self._received += counted
                    self._take(kind, flags, number, payload)
                if not self._reader.behind:
                    break
                data = b""
        except ConnectionFaultError as error:
            text = str(error) if self._settled else "the service does not speak HTTP/2; is it a gRPC port?"
            raise BrokenConnectionError(text) from None
        if self._received >= _REPLENISH:
            self._out.append(memoryview(http2.frame(http2.WINDOW_UPDATE, 0, 0, http2.number(self._received))))
            self._received = 0

    def _take(self, kind: int, flags: int, number: int, payload: Buffer) -> None:
        if not self._settled and kind != http2.SETTINGS:
            raise BrokenConnectionError("the service does not speak HTTP/2; is it a gRPC port?")
        if kind == http2.DATA:
            if number == self._stream:
                self._body.append(bytes(payload))
                self.received += len(payload)
                self._ended = self._ended or bool(flags & http2.END_STREAM)
        elif kind in (http2.HEADERS, http2.CONTINUATION):
            block = http2.header_block_in(flags, payload) if kind == http2.HEADERS else bytes(payload)
            self._take_headers(kind, flags, number, block)
        elif kind == http2.SETTINGS and not flags & http2.ACK:
            self._adopt(dict(http2.settings_in(bytes(payload))))
        elif kind == http2.WINDOW_UPDATE:
            by = http2.number_in(payload) & http2.LARGEST_WINDOW
            if not number:
                self._window += by
            elif number == self._stream:
                self._stream_window += by
            if self._message and (more := self._data()):
                self._out.append(memoryview(more))
        elif kind == http2.PING and not flags & http2.ACK:
            self._out.append(memoryview(http2.frame(http2.PING, http2.ACK, 0, bytes(payload))))
        elif kind == http2.RST_STREAM and number == self._stream and not self._ended:
            raise BrokenConnectionError(f"the service reset the call (HTTP/2 error {http2.number_in(payload)})")
        elif kind == http2.GOAWAY:
            self.reusable = False
            if self._stream > http2.number_in(payload) & http2.LAST_STREAM and not self._ended:
                raise BrokenConnectionError("the service took its leave (GOAWAY) before the call")

    def _take_headers(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """A header block, whole or in CONTINUATION frames; blocks are kept in order, for the table's sake."""
        if kind == http2.HEADERS:
            self._partial = flags, bytearray(payload)
        elif self._partial is None:
            raise BrokenConnectionError("the service sent CONTINUATION without HEADERS")
        else:
            self._partial[1].extend(payload)
        first, block = self._partial
        if len(block) > _HEADERS_BYTES:
            raise BrokenConnectionError("the service's header block is too large")
        if not flags & http2.END_HEADERS:
            return
        self._partial = None
        self._blocks.append(bytes(block))
        if number == self._stream and first & http2.END_STREAM:
            self._ended = True

    def _adopt(self, settings: dict[int, int]) -> None:
        self._settled = True
        if http2.HEADER_TABLE_SIZE in settings:
            self._writer.limit(settings[http2.HEADER_TABLE_SIZE])
        self._frame = settings.get(http2.MAX_FRAME_SIZE, self._frame)
        self.most_streams = settings.get(http2.MAX_CONCURRENT_STREAMS, self.most_streams)
        grown = settings.get(http2.INITIAL_WINDOW_SIZE, self._initial) - self._initial
        self._initial += grown
        self._stream_window += grown
        self._out.append(memoryview(http2.frame(http2.SETTINGS, http2.ACK, 0)))
        if self._message and (more := self._data()):
            self._out.append(memoryview(more))
