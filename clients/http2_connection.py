"""The client's end of an HTTP/2 connection: unary gRPC calls, many at once (gRPC over HTTP/2).

Deadlines, cancellation, refusals, GOAWAY and keep-alive. A small request leaves in one write: header block, message and
end of stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from clients import http2_reply as grpc
from clients.grpc_status import CallFailedError, Ended
from clients.http2_end import End, Stream
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
_TOO_LATE = Ended(grpc.DEADLINE_EXCEEDED, "Deadline Exceeded")


class RefusedError(Exception):
    """The peer has not looked at the request: it may be sent again (RFC 9113, 8.7)."""


class _Call(Stream):
    """One call under way."""

    __slots__ = ("begun", "future", "message", "until")

    def __init__(self, number: int, future: asyncio.Future[Result], until: float, window: int, limit: int) -> None:
        super().__init__(number, window)
        self.future = future
        self.until = until
        self.message = grpc.Message(limit)
        self.begun = False
        """The reply's first header fields have come."""


class Connection(End[_Call]):
    """A connection; it calls `gone` once, when no new call may begin on it."""

    begin = http2.PREFACE + End.begin

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, gone: Callable[[Connection], None]) -> None:
        super().__init__()
        self._loop = loop
        self._limit = limit
        self._gone: Callable[[Connection], None] | None = gone
        self._next = 1
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_until = deadline.NEVER
        self._keeper: asyncio.TimerHandle | None = None
        self._pinged = False

    @property
    def usable(self) -> bool:
        """Whether a new call may begin."""
        return self._gone is not None and self._next < http2.LAST_STREAM

    async def call(self, fixed: Fixed, data: Buffer, until: float, metadata: Fixed) -> Result:
        """The reply's message and trailers; CallFailedError, or RefusedError when the request may be sent again."""
        while len(self.streams) >= self.most_streams:
            await self._wait_for_slot(until)
        if not self.usable:
            raise RefusedError
        call = _Call(self._next, self._loop.create_future(), until, self.initial_window, self._limit)
        self._next += 2
        self.streams[call.number] = call
        if until != deadline.NEVER:
            metadata = (("grpc-timeout", _timeout(until)), *metadata)
            self._end_at(until)
        headers = self.header_frames(call.number, self.writer.block(fixed, metadata))
        self.send(call, headers, (grpc.prefixed(len(data)), data))
        try:
            return await call.future
        except asyncio.CancelledError:
            self._reset(call)
            raise

    def close(self, ended: Ended) -> None:
        """End everything."""
        self.say_goodbye(0, http2.NO_ERROR)
        self._end_all(ended)

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

    def take_data(self, stream: _Call, piece: Buffer, *, ends: bool) -> None:
        if not stream.begun:
            raise Http2Error(http2.PROTOCOL_ERROR, "DATA came before HEADERS")
        try:
            if piece:
                stream.message.add(piece)
        except CallFailedError as failed:
            self._fail(stream, failed)
            return
        if ends:
            self._finish(stream, {})

    def take_fields(self, number: int, fields: Fields, *, ends: bool) -> None:
        call = self.streams.get(number)
        if call is None:
            return
        if ends:
            self._finish(call, fields)
        elif not call.begun and not fields.get(b":status", b"").startswith(b"1"):
            call.begun = True
            try:
                grpc.check_begins(fields)
            except CallFailedError as failed:
                self._fail(call, failed)

    def take_reset(self, stream: _Call, code: int) -> None:
        self._forget(stream)
        refused = code == http2.REFUSED_STREAM
        _reject(stream, RefusedError() if refused else CallFailedError(grpc.reset_by(code)))

    def take_goaway(self, last: int) -> None:
        """What the peer has not looked at goes elsewhere, the rest comes to its end."""
        self._retire()
        for call in [call for call in self.streams.values() if call.number > last]:
            self._forget(call)
            _reject(call, RefusedError())
        self._close_when_drained()

    def take_settings(self) -> None:
        self._wake(len(self._waiters))

    # the end of a call

    def _finish(self, call: _Call, fields: Fields) -> None:
        if call.unsent:
            self.write(http2.RST_STREAM, 0, call.number, http2.number(http2.CANCEL))
        self._forget(call)
        if call.future.done():
            return
        if fields.get(b"grpc-status") != b"0":
            _reject(call, CallFailedError(grpc.ended_by(fields)))
        elif not call.message.is_whole:
            _reject(call, CallFailedError(Ended(grpc.INTERNAL, "the reply has no whole message")))
        else:
            call.future.set_result((call.message.content(), fields))

    def _fail(self, call: _Call, error: CallFailedError) -> None:
        self._reset(call)
        _reject(call, error)

    def _reset(self, call: _Call) -> None:
        """Nobody waits for it any more."""
        if call.number in self.streams:
            self.write(http2.RST_STREAM, 0, call.number, http2.number(http2.CANCEL))
            self._forget(call)

    def _forget(self, call: _Call) -> None:
        self.streams.pop(call.number, None)
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
        for call in [call for call in self.streams.values() if deadline.remaining(call.until) <= 0]:
            self._fail(call, CallFailedError(_TOO_LATE))
        self._end_at(min((call.until for call in self.streams.values()), default=deadline.NEVER))

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._keeper = self._loop.call_later(KEEPALIVE_SECONDS, self._keep_alive)

    def lose(self, text: str) -> None:
        self._end_all(Ended(grpc.UNAVAILABLE, text))

    def _keep_alive(self) -> None:
        if self.heard or not self.streams:
            self.heard = self._pinged = False
        elif self._pinged:
            self.lose("the connection is silent")
            self.drop()
            return
        else:
            self._pinged = True
            self.write(http2.PING, 0, 0, bytes(8))
        self._keeper = self._loop.call_later(
            KEEPALIVE_TIMEOUT_SECONDS if self._pinged else KEEPALIVE_SECONDS, self._keep_alive
        )

    def _retire(self) -> None:
        """No new call begins here."""
        gone, self._gone = self._gone, None
        if gone is not None:
            gone(self)
        self._wake(len(self._waiters))

    def _close_when_drained(self) -> None:
        if not self.streams:
            self.hang_up()

    def _end_all(self, ended: Ended) -> None:
        self._retire()
        for timer in (self._timer, self._keeper):
            if timer is not None:
                timer.cancel()
        calls = list(self.streams.values())
        self.streams.clear()
        for call in calls:
            call.unsent = []
            _reject(call, CallFailedError(ended))
        self.hang_up()


def _reject(call: _Call, error: Exception) -> None:
    if not call.future.done():
        call.future.set_exception(error)


def _timeout(until: float) -> str:
    """The remaining time as `grpc-timeout`: at most eight digits and a unit."""
    left = max(0.0, deadline.remaining(until))
    for unit, scale in (("u", 1e6), ("m", 1e3), ("S", 1.0)):
        if left * scale < 1e8:
            return f"{int(left * scale) or 1}{unit}"
    return "99999999S"
