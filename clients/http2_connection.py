"""The client's end of an HTTP/2 connection: unary gRPC calls, many at once (gRPC over HTTP/2).

Deadlines, cancellation, refusals, GOAWAY and keep-alive. A small request leaves in one write: header block, message and
end of stream.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from crossover.clients import http2_reply as reply
from crossover.protocol import deadline
from crossover.transport.grpc import messages as grpc
from crossover.transport.grpc.status import CallFailedError, Status
from crossover.transport.http2 import frames as http2
from crossover.transport.http2.connection import End, Stream
from crossover.transport.http2.frames import Http2Error
from crossover.transport.shared_timer import SharedTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.protocol.tensors import Buffer
    from crossover.transport.http2.frames import Fields

Fixed = tuple[tuple[str, str], ...]
Result = tuple["Buffer", "Fields"]

_TOO_LATE = Status(grpc.DEADLINE_EXCEEDED, "Deadline Exceeded")


class RefusedError(Exception):
    """The peer has not looked at the request: it may be sent again (RFC 9113, 8.7)."""


class _Call(Stream):
    """One call under way."""

    __slots__ = ("begun", "future", "message", "reader", "until")

    def __init__(self, number: int, future: asyncio.Future[Result], until: float, window: int, limit: int) -> None:
        super().__init__(number, window)
        self.future = future
        self.until = until
        self.reader = grpc.MessageReader(limit)
        self.message: Buffer | None = None
        self.begun = False
        """The reply's first header fields have come."""


class Connection(End[_Call]):
    """A connection; it calls `gone` once, when no new call may begin on it."""

    begin = http2.PREFACE + End.begin

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, gone: Callable[[Connection], None]) -> None:
        super().__init__(loop)
        self._limit = limit
        self._gone: Callable[[Connection], None] | None = gone
        self._next = 1
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer = SharedTimer(loop, self._look)

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
        call = _Call(self._next, self.loop.create_future(), until, self.initial_window, self._limit)
        self._next += 2
        self.streams[call.number] = call
        if until != deadline.NEVER:
            metadata = (("grpc-timeout", grpc.timeout_text(until)), *metadata)
            self._timer.at_latest(until)
        headers = self.header_frames(call.number, self.writer.block(fixed, metadata))
        self.send(call, headers, (grpc.prefixed(len(data)), data), ends=True)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._reset(call)
            raise

    def close(self, ended: Status) -> None:
        """End everything."""
        self.say_goodbye(0, http2.NO_ERROR)
        self._end_all(ended)

    async def _wait_for_slot(self, until: float) -> None:
        """The peer takes no more calls at once than it says."""
        waiter = self.loop.create_future()
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
            for message in stream.reader.feed(piece):
                if stream.message is not None:
                    raise grpc.BadMessageError(grpc.INTERNAL, "the reply has more than one message")
                stream.message = message
        except grpc.BadMessageError as bad:
            self._fail(stream, CallFailedError(Status(bad.code, bad.text)))
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
                reply.check_begins(fields)
            except CallFailedError as failed:
                self._fail(call, failed)

    def take_reset(self, stream: _Call, code: int) -> None:
        self._forget(stream)
        refused = code == http2.REFUSED_STREAM
        _reject(stream, RefusedError() if refused else CallFailedError(reply.reset_by(code)))

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
            _reject(call, CallFailedError(reply.ended_by(fields)))
        elif call.message is None or call.reader.held:
            _reject(call, CallFailedError(Status(grpc.INTERNAL, "the reply has no whole message")))
        else:
            call.future.set_result((call.message, fields))

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

    def _look(self) -> float:
        """End the calls whose time is over; the earliest deadline of the others."""
        for call in [call for call in self.streams.values() if deadline.remaining(call.until) <= 0]:
            self._fail(call, CallFailedError(_TOO_LATE))
        return min((call.until for call in self.streams.values()), default=deadline.NEVER)

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.speak()

    def lose(self, text: str) -> None:
        self._end_all(Status(grpc.UNAVAILABLE, text))

    def _retire(self) -> None:
        """No new call begins here."""
        gone, self._gone = self._gone, None
        if gone is not None:
            gone(self)
        self._wake(len(self._waiters))

    def _close_when_drained(self) -> None:
        if not self.streams:
            self.hang_up()

    def _end_all(self, ended: Status) -> None:
        self._retire()
        self._timer.cancel()
        calls = list(self.streams.values())
        self.streams.clear()
        for call in calls:
            call.unsent = []
            _reject(call, CallFailedError(ended))
        self.hang_up()


def _reject(call: _Call, error: Exception) -> None:
    if not call.future.done():
        call.future.set_exception(error)
