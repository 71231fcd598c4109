"""One end of an HTTP/2 connection: settings, windows, header blocks, and frames to and from streams (RFC 9113).

What a stream means is for the subclass: a call that was made (clients/http2_connection.py), or one to be answered
(endpoints/grpc/lean/connection.py). It writes to the transport that it is given and opens none.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from crossover.transport.http2 import frames as http2
from crossover.transport.http2.frames import Http2Error

if TYPE_CHECKING:
    from crossover.protocol.tensors import Buffer
    from crossover.transport.http2.frames import Fields

_JOINED_BYTES = 64 << 10
"""Messages up to this size leave in one write; larger ones are not copied."""
_REPLENISH_BYTES = 1 << 30
KEEPALIVE_SECONDS, KEEPALIVE_TIMEOUT_SECONDS = 60.0, 20.0
"""With streams under way and nothing heard for so long a PING is sent; without an answer the connection is given up."""


def beginning(window: int, **more: int) -> bytes:
    """SETTINGS with the window of each stream, and a connection's window that never stands in the way.

    `more` are further settings by their names in `protocol.http2`.
    """
    settings = {
        http2.ENABLE_PUSH: 0,
        http2.INITIAL_WINDOW_SIZE: window,
        http2.MAX_FRAME_SIZE: http2.LARGEST_FRAME,
        http2.MAX_HEADER_LIST_SIZE: http2.LARGEST_FIELDS,
        **{getattr(http2, name.upper()): value for name, value in more.items()},
    }
    grown = http2.number(http2.LARGEST_WINDOW - http2.DEFAULT_WINDOW)
    return http2.frame(http2.SETTINGS, 0, 0, http2.settings(settings)) + http2.frame(http2.WINDOW_UPDATE, 0, 0, grown)


class Stream:
    """One stream's way out."""

    __slots__ = ("ends", "number", "unsent", "window")

    def __init__(self, number: int, window: int) -> None:
        self.number = number
        self.window = window
        """Bytes of DATA that the peer accepts on this stream."""
        self.unsent: list[memoryview] = []
        self.ends = True
        """Whether the last DATA frame ends the stream."""


S = TypeVar("S", bound=Stream)


class End(asyncio.Protocol, Generic[S]):
    """One end; `begin` is what it sends first, when a subclass calls `speak`."""

    begin = beginning(http2.LARGEST_WINDOW)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.streams: dict[int, S] = {}
        self.writer = http2.HeaderWriter()
        self.settled = False
        """The peer's first SETTINGS have come."""
        self.initial_window = http2.DEFAULT_WINDOW
        self.most_streams = http2.LAST_STREAM
        """How many streams the peer takes at once."""
        self._transport: asyncio.Transport | None = None
        self._reader, self._frames = http2.HeaderReader(), http2.FrameReader()
        self._window = http2.DEFAULT_WINDOW
        self._frame = http2.DEFAULT_FRAME
        self._blocked: deque[S] = deque()
        self._block: tuple[int, int, bytearray] | None = None
        """Stream, flags and beginning of a header block that CONTINUATION frames complete."""
        self._replenished = 0
        self._heard = self._pinged = False
        """Whether something has come since the keeper last looked, and whether it has asked since."""
        self._keeper: asyncio.TimerHandle | None = None

    # what a subclass does with what comes

    @abstractmethod
    def take_data(self, stream: S, piece: Buffer, *, ends: bool) -> None:
        """A piece of the stream's data; it may be empty."""

    @abstractmethod
    def take_fields(self, number: int, fields: Fields, *, ends: bool) -> None:
        """Header fields or trailers of a stream, which may be new or gone."""

    @abstractmethod
    def take_reset(self, stream: S, code: int) -> None:
        """The peer has ended the stream."""

    @abstractmethod
    def take_goaway(self, last: int) -> None:
        """The peer looks at no stream after `last`."""

    @abstractmethod
    def take_settings(self) -> None:
        """The peer's settings have changed."""

    def ending(self, stream: S) -> bytes:
        """Frames that follow a message's data, made when it has gone: header blocks must leave in the order of their making."""
        return b""

    def sent(self, stream: S) -> None:
        """All that was to be sent on the stream has been."""

    @abstractmethod
    def lose(self, text: str) -> None:
        """The connection is of no use any more."""

    # out

    def send(self, stream: S, before: bytes, message: tuple[bytes, Buffer], *, ends: bool) -> None:
        """`before`, a message of two parts as DATA, whose last frame ends the stream if it `ends`, and the `ending`.

        Nothing of the stream may be unsent; `sent` is called when all of it has gone.
        """
        assert self._transport is not None
        prefix, data = message
        size = len(prefix) + len(data)
        if size <= _JOINED_BYTES and size <= min(self._window, stream.window, self._frame):
            self._window -= size
            stream.window -= size
            head = http2.head(http2.DATA, http2.END_STREAM if ends else 0, stream.number, size)
            self._transport.write(b"".join((before, head, prefix, data, self.ending(stream))))
            self.sent(stream)
            return
        self._transport.write(before)
        stream.unsent = [memoryview(part) for part in message if len(part)]
        stream.ends = ends
        if not self._pump(stream):
            self._blocked.append(stream)

    def header_frames(self, number: int, block: bytes, flags: int = 0) -> bytes:
        """A header block, in CONTINUATION frames too where it is longer than the peer's frames."""
        if len(block) <= self._frame:
            return http2.frame(http2.HEADERS, http2.END_HEADERS | flags, number, block)
        frames = [
            bytearray(http2.frame(http2.CONTINUATION, 0, number, block[at : at + self._frame]))
            for at in range(0, len(block), self._frame)
        ]
        frames[0][3:5] = http2.HEADERS, flags
        frames[-1][4] |= http2.END_HEADERS
        return b"".join(frames)

    def write(self, kind: int, flags: int, number: int, payload: bytes = b"") -> None:
        """A frame, unless the connection is closing."""
        self.put(http2.frame(kind, flags, number, payload))

    def put(self, frames: bytes) -> None:
        """Whole frames, unless the connection is closing."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames)

    def speak(self) -> None:
        self.put(self.begin)

    def say_goodbye(self, last: int, code: int) -> None:
        self.write(http2.GOAWAY, 0, 0, http2.number(last) + http2.number(code))

    def read(self, *, on: bool) -> None:
        """Go on reading, or stop."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    def hang_up(self) -> None:
        """Close the connection when all that was written has gone."""
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """Close the connection now; what was written may be lost."""
        if self._transport is not None:
            self._transport.abort()

    def _pump(self, stream: S) -> bool:
        """Send what the windows allow; whether that was all."""
        parts: list[Buffer] = []
        while stream.unsent and (room := min(self._window, stream.window, self._frame, len(stream.unsent[0]))) > 0:
            piece, rest = stream.unsent[0][:room], stream.unsent[0][room:]
            stream.unsent[:1] = [rest] if rest else []
            self._window -= room
            stream.window -= room
            ends = stream.ends and not stream.unsent
            parts += (http2.head(http2.DATA, http2.END_STREAM if ends else 0, stream.number, room), piece)
        whole = not stream.unsent
        if whole:
            parts.append(self.ending(stream))
        if parts and self._transport is not None:
            self._transport.writelines(parts)
        if whole:
            self.sent(stream)
        return whole

    def _resume(self) -> None:
        """The windows have grown."""
        self._blocked = deque([stream for stream in self._blocked if stream.unsent and not self._pump(stream)])

    # in

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            for kind, flags, number, payload in self._frames.feed(data):
                if not self.settled and kind != http2.SETTINGS:
                    raise Http2Error(http2.PROTOCOL_ERROR, "the first frame is no SETTINGS")
                if self._block is not None:
                    self._continue(kind, flags, number, payload)
                elif kind == http2.DATA:
                    if flags & http2.PADDED:
                        self._give_back(number, self._frames.padding)
                    if (stream := self.streams.get(number)) is not None:
                        self.take_data(stream, payload, ends=bool(flags & http2.END_STREAM))
                elif kind == http2.HEADERS:
                    self._headers(number, flags, payload)
                else:
                    self._take(kind, flags, number, payload)
            self._replenish()
        except Http2Error as error:
            self._break(error)

    def _headers(self, number: int, flags: int, payload: Buffer) -> None:
        if not flags & http2.END_HEADERS:
            self._block = number, flags, bytearray(payload)
            return
        self.take_fields(number, self._reader.fields(bytes(payload)), ends=bool(flags & http2.END_STREAM))

    def _continue(self, kind: int, flags: int, number: int, payload: Buffer) -> None:
        assert self._block is not None
        begun, first, block = self._block
        if kind != http2.CONTINUATION or number != begun:
            raise Http2Error(http2.PROTOCOL_ERROR, "a header block is interrupted")
        block += payload
        if len(block) > http2.LARGEST_FIELDS:
            raise Http2Error(http2.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & http2.END_HEADERS:
            self._block = None
            self._headers(number, first | http2.END_HEADERS, block)

    def _take(self, kind: int, flags: int, number: int, payload: Buffer) -> None:
        """A frame about the connection, or the end of a stream; kinds that are not known are passed over (4.1)."""
        if kind == http2.WINDOW_UPDATE:
            self._grow(number, http2.number_in(payload) & http2.LARGEST_WINDOW)
        elif kind == http2.PING and not flags & http2.ACK:
            self.write(http2.PING, http2.ACK, 0, bytes(payload))
        elif kind == http2.SETTINGS and not flags & http2.ACK:
            self._adopt(http2.settings_in(payload))
        elif kind == http2.RST_STREAM:
            if (stream := self.streams.get(number)) is not None:
                self.take_reset(stream, http2.number_in(payload))
        elif kind == http2.GOAWAY:
            self.take_goaway(http2.number_in(payload) & http2.LAST_STREAM)
        elif kind in (http2.PUSH_PROMISE, http2.CONTINUATION):
            raise Http2Error(http2.PROTOCOL_ERROR, "a frame came that may not come")

    def _grow(self, number: int, by: int) -> None:
        if not number:
            self._window += by
        elif (stream := self.streams.get(number)) is not None:
            stream.window += by
        if self._blocked:
            self._resume()

    def _adopt(self, settings: dict[int, int]) -> None:
        self.settled = True
        if http2.HEADER_TABLE_SIZE in settings:
            self.writer.limit(settings[http2.HEADER_TABLE_SIZE])
        self._frame = settings.get(http2.MAX_FRAME_SIZE, self._frame)
        self.most_streams = settings.get(http2.MAX_CONCURRENT_STREAMS, self.most_streams)
        grown = settings.get(http2.INITIAL_WINDOW_SIZE, self.initial_window) - self.initial_window
        self.initial_window += grown
        for stream in self.streams.values():
            stream.window += grown
        self.write(http2.SETTINGS, http2.ACK, 0)
        self._resume()
        self.take_settings()

    def _give_back(self, number: int, padding: int) -> None:
        """Padding takes of a stream's window what nobody consumes."""
        if padding and number in self.streams:
            self.write(http2.WINDOW_UPDATE, 0, number, http2.number(padding))

    def _replenish(self) -> None:
        received = self._frames.data_bytes - self._replenished
        if received >= _REPLENISH_BYTES:
            self._replenished += received
            self.write(http2.WINDOW_UPDATE, 0, 0, http2.number(received))

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._keeper = self.loop.call_later(KEEPALIVE_SECONDS, self._keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        self.lose("Socket closed")

    def _keep_alive(self) -> None:
        if self._heard or not self.streams:
            self._heard = self._pinged = False
        elif self._pinged:
            self.lose("the connection is silent")
            self.drop()
            return
        else:
            self._pinged = True
            self.write(http2.PING, 0, 0, bytes(8))
        self._keeper = self.loop.call_later(
            KEEPALIVE_TIMEOUT_SECONDS if self._pinged else KEEPALIVE_SECONDS, self._keep_alive
        )

    def _break(self, error: Http2Error) -> None:
        """The peer does not keep to the protocol; before its first SETTINGS it may not speak it at all."""
        self.say_goodbye(0, error.code)
        self.lose(f"the connection broke HTTP/2: {error}" if self.settled else "Expected SETTINGS")
