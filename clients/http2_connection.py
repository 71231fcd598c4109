"""One HTTP/2 connection that carries unary gRPC calls, many at once (RFC 9113; gRPC over HTTP/2).

Flow control both ways, the peer's limits, resets, GOAWAY, deadlines, cancellation and keep-alive; no pushes, no
priorities. A small request leaves in one write: header block, message and end of stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from clients import http2_reply as grpc
from clients.grpc_status import CallFailedError, Ended
from protocol import deadline, http2
from protocol.http2 import Http2Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.http2 import Fields
    from protocol.tensors import Buffer

Fixed = tuple[tuple[str, str], ...]
Result = tuple["Buffer", "Fields"]

KEEPALIVE_SECONDS, KEEPALIVE_TIMEOUT_SECONDS = 60.0, 20.0
"""With calls under way and nothing heard for so long a PING is sent; without an answer the connection is given up."""
_JOINED_BYTES = 64 << 10
"""Messages up to this size leave in one write; larger ones are not copied."""
_REPLENISH_BYTES = 1 << 30
_BEGIN = (
    http2.PREFACE
    + http2.frame(
        http2.SETTINGS,
        0,
        0,
        http2.settings(
            {
                http2.ENABLE_PUSH: 0,
                http2.INITIAL_WINDOW_SIZE: http2.LARGEST_WINDOW,
                http2.MAX_FRAME_SIZE: http2.LARGEST_FRAME,
                http2.MAX_HEADER_LIST_SIZE: http2.LARGEST_FIELDS,
            }
        ),
    )
    + http2.frame(http2.WINDOW_UPDATE, 0, 0, http2.number(http2.LARGEST_WINDOW - http2.DEFAULT_WINDOW))
)
"""A reply is limited by its message's length, which comes first, and not by the windows."""
_TOO_LATE = Ended(grpc.DEADLINE_EXCEEDED, "Deadline Exceeded")


class RefusedError(Exception):
    """The peer has not looked at the request: it may be sent again (RFC 9113, 8.7)."""


class _Call:
    """One call under way."""

    __slots__ = ("begun", "future", "message", "stream", "unsent", "until", "window")

    def __init__(self, stream: int, future: asyncio.Future[Result], until: float, window: int, limit: int) -> None:
        self.stream = stream
        self.future = future
        self.until = until
        self.window = window
        """Bytes of DATA that the peer accepts on this stream."""
        self.message = grpc.Message(limit)
        self.unsent: list[memoryview] = []
        self.begun = False
        """The reply's first header fields have come."""


class Connection(asyncio.Protocol):
    """A connection; it calls `gone` once, when no new call may begin on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, gone: Callable[[Connection], None]) -> None:
        self._loop = loop
        self._limit = limit
        self._gone: Callable[[Connection], None] | None = gone
        self._transport: asyncio.Transport | None = None
        self._writer, self._reader, self._frames = http2.HeaderWriter(), http2.HeaderReader(), http2.FrameReader()
        self._calls: dict[int, _Call] = {}
        self._next = 1
        self._settled = False
        self._window = self._initial_window = http2.DEFAULT_WINDOW
        self._frame = http2.DEFAULT_FRAME
        self._most_calls = http2.LAST_STREAM
        self._blocked: deque[_Call] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._block: tuple[int, int, bytearray] | None = None
        """Stream, flags and beginning of a header block that CONTINUATION frames complete."""
        self._replenished = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_until = deadline.NEVER
        self._keeper: asyncio.TimerHandle | None = None
        self._heard = self._pinged = False

    @property
    def usable(self) -> bool:
        """Whether a new call may begin."""
        return self._gone is not None and self._next < http2.LAST_STREAM

    async def call(self, fixed: Fixed, data: Buffer, until: float, metadata: Fixed) -> Result:
        """The reply's message and trailers; CallFailedError, or RefusedError when the request may be sent again."""
        while len(self._calls) >= self._most_calls:
            await self._wait_for_slot(until)
        if not self.usable:
            raise RefusedError
        call = _Call(self._next, self._loop.create_future(), until, self._initial_window, self._limit)
        self._next += 2
        self._calls[call.stream] = call
        self._send(call, fixed, data, metadata)
        self._end_at(until)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._reset(call)
            raise

    def close(self, ended: Ended) -> None:
        """End everything."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(http2.frame(http2.GOAWAY, 0, 0, http2.number(0) + http2.number(http2.NO_ERROR)))
            self._transport.close()
        self._lose(ended)

    # the request

    def _send(self, call: _Call, fixed: Fixed, data: Buffer, metadata: Fixed) -> None:
        assert self._transport is not None
        if call.until != deadline.NEVER:
            metadata = (("grpc-timeout", _timeout(call.until)), *metadata)
        headers = self._header_frames(call.stream, self._writer.block(fixed, metadata))
        prefix, size = grpc.prefixed(len(data)), grpc.PREFIX_BYTES + len(data)
        if size <= _JOINED_BYTES and size <= min(self._window, call.window, self._frame):
            self._window -= size
            call.window -= size
            body = http2.head(http2.DATA, http2.END_STREAM, call.stream, size)
            self._transport.write(b"".join((headers, body, prefix, data)))
            return
        self._transport.write(headers)
        call.unsent = [memoryview(prefix), memoryview(data)] if data else [memoryview(prefix)]
        if not self._pump(call):
            self._blocked.append(call)

    def _header_frames(self, stream: int, block: bytes) -> bytes:
        if len(block) <= self._frame:
            return http2.frame(http2.HEADERS, http2.END_HEADERS, stream, block)
        parts = [block[at : at + self._frame] for at in range(0, len(block), self._frame)]
        kinds = [http2.HEADERS] + [http2.CONTINUATION] * (len(parts) - 1)
        ends = [0] * (len(parts) - 1) + [http2.END_HEADERS]
        return b"".join(
            [http2.frame(kind, end, stream, part) for kind, end, part in zip(kinds, ends, parts, strict=True)]
        )

    def _pump(self, call: _Call) -> bool:
        """Send what the windows allow; whether that was all."""
        parts: list[Buffer] = []
        while call.unsent and (room := min(self._window, call.window, self._frame, len(call.unsent[0]))) > 0:
            piece, rest = call.unsent[0][:room], call.unsent[0][room:]
            call.unsent[:1] = [rest] if rest else []
            self._window -= room
            call.window -= room
            parts += (http2.head(http2.DATA, 0 if call.unsent else http2.END_STREAM, call.stream, room), piece)
        if parts and self._transport is not None:
            self._transport.writelines(parts)
        return not call.unsent

    def _resume(self) -> None:
        """The windows have grown."""
        self._blocked = deque([call for call in self._blocked if call.unsent and not self._pump(call)])

    def _write(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(http2.frame(kind, flags, stream, payload))

    async def _wait_for_slot(self, until: float) -> None:
        """The peer takes no more calls at once than it says."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(deadline.timeout_of(until)):
                await waiter
        except TimeoutError:
            raise CallFailedError(_TOO_LATE) from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    # the reply

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            for kind, flags, stream, payload in self._frames.feed(data):
                if not self._settled and kind != http2.SETTINGS:
                    raise Http2Error(http2.PROTOCOL_ERROR, "the first frame is no SETTINGS")
                if self._block is not None:
                    self._continue(kind, flags, stream, payload)
                elif kind == http2.DATA:
                    self._take_data(stream, flags, payload)
                elif kind == http2.HEADERS:
                    self._take_headers(stream, flags, payload)
                else:
                    self._take(kind, flags, stream, payload)
            self._replenish()
        except Http2Error as error:
            self._break(error)

    def _take_data(self, stream: int, flags: int, piece: Buffer) -> None:
        call = self._calls.get(stream)
        if call is None:
            return
        try:
            if not call.begun:
                raise Http2Error(http2.PROTOCOL_ERROR, "DATA came before HEADERS")
            if piece:
                call.message.add(piece)
        except CallFailedError as failed:
            self._fail(call, failed)
            return
        if flags & http2.END_STREAM:
            self._finish(call, {})

    def _take_headers(self, stream: int, flags: int, payload: Buffer) -> None:
        if not flags & http2.END_HEADERS:
            self._block = stream, flags, bytearray(payload)
            return
        fields = self._reader.fields(bytes(payload))
        call = self._calls.get(stream)
        if call is None:
            return
        if flags & http2.END_STREAM:
            self._finish(call, fields)
        elif not call.begun and not fields.get(b":status", b"").startswith(b"1"):
            call.begun = True
            try:
                grpc.check_begins(fields)
            except CallFailedError as failed:
                self._fail(call, failed)

    def _continue(self, kind: int, flags: int, stream: int, payload: Buffer) -> None:
        assert self._block is not None
        begun, first, block = self._block
        if kind != http2.CONTINUATION or stream != begun:
            raise Http2Error(http2.PROTOCOL_ERROR, "a header block is interrupted")
        block += payload
        if len(block) > http2.LARGEST_FIELDS:
            raise Http2Error(http2.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & http2.END_HEADERS:
            self._block = None
            self._take_headers(stream, first | http2.END_HEADERS, block)

    def _take(self, kind: int, flags: int, stream: int, payload: Buffer) -> None:
        """A frame about the connection, or the end of a stream; kinds that are not known are passed over (4.1)."""
        if kind == http2.WINDOW_UPDATE:
            self._grow(stream, http2.number_in(payload) & http2.LARGEST_WINDOW)
        elif kind == http2.PING and not flags & http2.ACK:
            self._write(http2.PING, http2.ACK, 0, bytes(payload))
        elif kind == http2.SETTINGS and not flags & http2.ACK:
            self._adopt(http2.settings_in(payload))
        elif kind == http2.RST_STREAM:
            self._be_reset(stream, http2.number_in(payload))
        elif kind == http2.GOAWAY:
            self._drain(http2.number_in(payload) & http2.LAST_STREAM)
        elif kind in (http2.PUSH_PROMISE, http2.CONTINUATION):
            raise Http2Error(http2.PROTOCOL_ERROR, "a frame came that may not come")

    def _grow(self, stream: int, by: int) -> None:
        if not stream:
            self._window += by
        elif (call := self._calls.get(stream)) is not None:
            call.window += by
        if self._blocked:
            self._resume()

    def _adopt(self, settings: dict[int, int]) -> None:
        self._settled = True
        if http2.HEADER_TABLE_SIZE in settings:
            self._writer.limit(settings[http2.HEADER_TABLE_SIZE])
        self._frame = settings.get(http2.MAX_FRAME_SIZE, self._frame)
        self._most_calls = settings.get(http2.MAX_CONCURRENT_STREAMS, self._most_calls)
        grown = settings.get(http2.INITIAL_WINDOW_SIZE, self._initial_window) - self._initial_window
        self._initial_window += grown
        for call in self._calls.values():
            call.window += grown
        self._write(http2.SETTINGS, http2.ACK, 0)
        self._resume()
        self._wake(len(self._waiters))

    def _be_reset(self, stream: int, code: int) -> None:
        call = self._calls.get(stream)
        if call is None:
            return
        self._forget(call)
        refused = code == http2.REFUSED_STREAM
        self._reject(call, RefusedError() if refused else CallFailedError(grpc.reset_by(code)))

    def _drain(self, last: int) -> None:
        """The peer will end the connection: what it has not looked at goes elsewhere, the rest comes to its end."""
        self._retire()
        for call in [call for call in self._calls.values() if call.stream > last]:
            self._forget(call)
            self._reject(call, RefusedError())
        self._close_when_drained()

    def _replenish(self) -> None:
        received = self._frames.data_bytes - self._replenished
        if received >= _REPLENISH_BYTES:
            self._replenished += received
            self._write(http2.WINDOW_UPDATE, 0, 0, http2.number(received))

    # the end of a call

    def _finish(self, call: _Call, fields: Fields) -> None:
        unsent = bool(call.unsent)
        self._forget(call)
        if unsent:
            self._write(http2.RST_STREAM, 0, call.stream, http2.number(http2.CANCEL))
        if call.future.done():
            return
        if fields.get(b"grpc-status") != b"0":
            self._reject(call, CallFailedError(grpc.ended_by(fields)))
        elif not call.message.is_whole:
            self._reject(call, CallFailedError(Ended(grpc.INTERNAL, "the reply has no whole message")))
        else:
            call.future.set_result((call.message.content(), fields))

    def _fail(self, call: _Call, error: CallFailedError) -> None:
        self._reset(call)
        self._reject(call, error)

    def _reset(self, call: _Call) -> None:
        """Nobody waits for it any more."""
        if call.stream in self._calls:
            self._write(http2.RST_STREAM, 0, call.stream, http2.number(http2.CANCEL))
            self._forget(call)

    def _reject(self, call: _Call, error: Exception) -> None:
        if not call.future.done():
            call.future.set_exception(error)

    def _forget(self, call: _Call) -> None:
        self._calls.pop(call.stream, None)
        call.unsent = []
        if self._waiters:
            self._wake(1)
        if self._gone is None:
            self._close_when_drained()

    def _wake(self, count: int) -> None:
        for waiter in [waiter for waiter in self._waiters if not waiter.done()][:count]:
            waiter.set_result(None)

    def _end_at(self, until: float) -> None:
        """One timer serves all calls: it looks when it is due, and is set anew for an earlier deadline only."""
        if until < self._timer_until:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_until = until
            self._timer = self._loop.call_later(max(0.0, deadline.remaining(until)), self._look)

    def _look(self) -> None:
        self._timer, self._timer_until = None, deadline.NEVER
        for call in [call for call in self._calls.values() if deadline.remaining(call.until) <= 0]:
            self._fail(call, CallFailedError(_TOO_LATE))
        self._end_at(min((call.until for call in self._calls.values()), default=deadline.NEVER))

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_BEGIN)
        self._keeper = self._loop.call_later(KEEPALIVE_SECONDS, self._keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(Ended(grpc.UNAVAILABLE, "Socket closed"))

    def _keep_alive(self) -> None:
        if self._heard or not self._calls:
            self._heard = self._pinged = False
        elif self._pinged:
            self._lose(Ended(grpc.UNAVAILABLE, "the connection is silent"))
            return
        else:
            self._pinged = True
            self._write(http2.PING, 0, 0, bytes(8))
        self._keeper = self._loop.call_later(
            KEEPALIVE_TIMEOUT_SECONDS if self._pinged else KEEPALIVE_SECONDS, self._keep_alive
        )

    def _break(self, error: Http2Error) -> None:
        """The peer does not keep to the protocol; before its first SETTINGS it may not speak it at all."""
        text = f"the connection broke HTTP/2: {error}" if self._settled else "Expected SETTINGS"
        self._write(http2.GOAWAY, 0, 0, http2.number(0) + http2.number(error.code))
        self._lose(Ended(grpc.UNAVAILABLE, text))

    def _retire(self) -> None:
        """No new call begins here."""
        gone, self._gone = self._gone, None
        if gone is not None:
            gone(self)
        self._wake(len(self._waiters))

    def _close_when_drained(self) -> None:
        if not self._calls and self._transport is not None:
            self._transport.close()

    def _lose(self, ended: Ended) -> None:
        self._retire()
        for timer in (self._timer, self._keeper):
            if timer is not None:
                timer.cancel()
        calls = list(self._calls.values())
        self._calls.clear()
        for call in calls:
            call.unsent = []
            self._reject(call, CallFailedError(ended))
        if self._transport is not None:
            self._transport.close()


def _timeout(until: float) -> str:
    """The remaining time as `grpc-timeout`: at most eight digits and a unit."""
    left = max(0.0, deadline.remaining(until))
    for unit, scale in (("u", 1e6), ("m", 1e3), ("S", 1.0)):
        if left * scale < 1e8:
            return f"{int(left * scale) or 1}{unit}"
    return "99999999S"
