"""The client's end of an HTTP/2 connection: unary gRPC calls, many at once (gRPC over HTTP/2, PROTOCOL-HTTP2.md).

A request may be sent again only when nobody can have looked at it: it was refused with REFUSED_STREAM, it is above the
last stream that a GOAWAY names, or it was never written (RFC 9113, 8.7). Everything else is the caller's to repeat.

Silence is dealt with as transport/silence.py says: one PING asks whether the connection is alive, new calls go to a fresh
one when it was not answered, and when that one answers the calls on this one are UNAVAILABLE.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, cast

from crossover.protocol import deadline
from crossover.transport.deadline_queue import Deadline, Entry, deadline_queue
from crossover.transport.grpc import status
from crossover.transport.grpc.messages import BadMessageError, MessageReader, prefixed, whole_message
from crossover.transport.grpc.metadata import text_of, timeout_text
from crossover.transport.grpc.status import CallFailedError, Status, status_in, status_of_http, status_of_reset
from crossover.transport.http2 import frames as http2
from crossover.transport.http2.connection import Connection
from crossover.transport.http2.events import (
    ConnectionFailed,
    DataReceived,
    GoAwayReceived,
    HeadersReceived,
    PingAnswered,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
)
from crossover.transport.http2.header_blocks import Fields
from crossover.transport.http2.socket import Http2Socket
from crossover.transport.silence import (
    GIVEN_UP_SECONDS,
    LONGEST_PAUSE_SECONDS,
    PROBE_SECONDS,
    SILENT_SECONDS,
)
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.protocol.recording import Recording
    from crossover.transport.http2.connection import Stream
    from crossover.transport.http2.events import Event
    from crossover.transport.http2.frames import Buffer

HeaderFields = tuple[tuple[str, str], ...]
Result = tuple["Buffer", Fields]

IDLE_SECONDS = 240.0
"""A connection without calls is closed after so long: before servers do it, in whose way a new call could come."""
LOOK_SECONDS = 30.0
_PROBE = b"silence?"
_SECOND_PAUSE = 30.0
"""After the first PING. A gRPC server minds those that come within five minutes of another while it sends no data, and
forgives two: it gets one of them.
"""
_TOO_LATE = Status(status.DEADLINE_EXCEEDED, "Deadline Exceeded")
_NO_FIELDS = Fields()
_OF_REPLIES = frozenset((HeadersReceived, DataReceived, TrailersReceived))


class RefusedError(Exception):
    """Nobody has looked at the request: it may be sent again."""


class UnsentError(RefusedError):
    """The connection took no more calls before this one began on it."""


class _Call(Entry):
    """One call under way; it is its own entry among the deadlines."""

    __slots__ = ("connection", "future", "message", "reader", "recording", "sent_at", "stream")

    def __init__(
        self, connection: ClientConnection, future: asyncio.Future[Result], sent_at: float, until: float
    ) -> None:
        super().__init__(until)
        self.connection = connection
        self.future = future
        self.reader: MessageReader | None = None
        """Where the reply did not come as one whole piece of DATA."""
        self.message: Buffer | None = None
        self.sent_at = sent_at
        self.recording: Recording | None = None
        self.stream: Stream

    def expired(self) -> None:
        """When nothing came since the call was sent, the connection itself may be gone."""
        self.connection.expire(self)


class ClientConnection:
    """A connection; it calls `changed` with itself whenever `usable` has changed, when it has `settled`, and at its end."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: int, changed: Callable[[ClientConnection], None]
    ) -> None:
        self._loop = loop
        self._limit = limit
        self._changed = changed
        self._connection = Connection(client=True, window=http2.LARGEST_WINDOW)
        self.socket = Http2Socket(loop, self._connection, self._handle, self._lost)
        self._deadlines = deadline_queue(loop)
        self._waiters: deque[asyncio.Future[None]] = deque()
        self.is_over = False
        """Nothing is under way on it any more."""
        self.suspect_since: float | None = None
        """It takes no new calls until it is heard again."""
        self._retired = False
        """It takes no new calls any more."""
        self._busy_since = loop.time()
        """When the first of the calls under way was sent."""
        self._watch: Deadline | None = None
        self._probed: float | None = None
        """When the PING that is not answered yet was sent."""
        self._next_probe = 0.0
        """When the next may be sent, ..."""
        self._pause = _SECOND_PAUSE
        """... and how long after it another, while the server sends neither headers nor data."""
        self._looks = self._deadlines.call_at(loop.time() + min(LOOK_SECONDS, IDLE_SECONDS), self._look)

    @property
    def usable(self) -> bool:
        """Whether a new call may begin."""
        return not self._retired and self.suspect_since is None and self._connection.may_open and self.socket.is_open

    @property
    def has_settled(self) -> bool:
        """The server has answered: its SETTINGS have come."""
        return self._connection.settled

    async def call(
        self,
        fixed: HeaderFields,
        data: Buffer,
        until: float,
        metadata: HeaderFields,
        recording: Recording | None = None,
    ) -> Result:
        """The reply's message and trailers; CallFailedError, or RefusedError when the request may be sent again."""
        connection = self._connection
        while len(connection.streams) >= connection.peer_streams and not self._retired:
            await self._wait_for_slot(until)
        if self._retired or self.suspect_since is not None or not connection.may_open:
            raise UnsentError
        now = self._loop.time()
        call = _Call(self, self._loop.create_future(), now, until)
        if not connection.streams:
            self._busy_since = now
        stream = call.stream = connection.open(call)
        if self._watch is None:
            self._watch = self._deadlines.call_at(now + SILENT_SECONDS, self._listen)
        if until != deadline.NEVER:
            metadata = (("grpc-timeout", timeout_text(until)), *metadata)
            call.enter(self._deadlines)
        if recording is not None:
            call.recording, stream.frames = recording, []
            recording.head, recording.reply_head, recording.frames = [*fixed, *metadata], [], stream.frames
        connection.send_message(stream, fixed, metadata, (prefixed(len(data)), data))
        self.socket.flush()
        try:
            return await call.future
        except asyncio.CancelledError:
            given_up_late = self._loop.time() - now >= GIVEN_UP_SECONDS
            self._reset(call)
            if given_up_late:
                self._ask_if_silent(call)
            raise

    def close(self, ended: Status) -> None:
        """End everything."""
        if not self._connection.failed:
            self._connection.goaway()
        self.socket.flush()
        self._end_all(ended)

    async def _wait_for_slot(self, until: float) -> None:
        """The peer takes no more calls at once than it says."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            with TimeLimit(until):
                await waiter
        except TimeoutError:
            raise CallFailedError(_TOO_LATE) from None
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    # the reply

    def _handle(self, event: Event) -> None:
        kind = type(event)
        if kind in _OF_REPLIES:
            if self._next_probe or self.suspect_since is not None:
                self._answered()
            if kind is DataReceived:
                call = event.stream.owner  # type: ignore[union-attr]
                if call is not None and self._take_data(call, event.data) and event.ends:  # type: ignore[union-attr,arg-type]
                    self._finish(call, _NO_FIELDS)
            elif kind is TrailersReceived:
                self._finish(event.stream.owner, event.fields)  # type: ignore[union-attr]
            else:
                self._take_headers(event)  # type: ignore[arg-type]
        elif isinstance(event, StreamReset):
            self._take_reset(event)
        elif isinstance(event, GoAwayReceived):
            self._retire()
            for stream in event.refused:
                self._reject(stream.owner, RefusedError())
            self._close_when_drained()
        elif isinstance(event, SettingsReceived):
            self._wake(len(self._waiters))
            self._changed(self)
        elif isinstance(event, PingAnswered):
            if event.payload == _PROBE:
                self._alive()
        elif isinstance(event, ConnectionFailed):
            self._failed(event)

    def _take_headers(self, event: HeadersReceived) -> None:
        call: _Call | None = event.stream.owner
        if call is None:
            return
        fields, data, trailers = event.fields, event.data, event.trailers
        is_alone = event.ends and data is None and trailers is None
        if call.recording is not None and not is_alone:
            call.recording.reply_head = text_of(fields)
        if is_alone or fields.is_too_large:
            self._finish(call, fields)
        elif fields[b":status"] != b"200":
            self._fail(call, status_of_http(fields))
        elif not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            self._fail(call, Status(status.UNKNOWN, "what answers there does not speak gRPC"))
        elif (data is None or self._take_data(call, data)) and event.ends:
            self._finish(call, _NO_FIELDS if trailers is None else trailers)

    def _take_data(self, call: _Call, data: Buffer) -> bool:
        """Whether the call goes on after this piece of its reply."""
        message = whole_message(data, self._limit) if call.reader is None and call.message is None else None
        if message is not None:
            call.message = message
            return True
        try:
            self._take_piece(call, data)
        except BadMessageError as bad:
            self._fail(call, Status(bad.code, bad.text))
            return False
        return True

    def _take_piece(self, call: _Call, piece: Buffer) -> None:
        """A piece of a reply that does not come as one."""
        if call.reader is None:
            call.reader = MessageReader(self._limit)
        for message in call.reader.feed(piece):
            if call.message is not None:
                raise BadMessageError(status.INTERNAL, "the reply has more than one message")
            call.message = cast("Buffer", message)  # no encoding was asked for: the reader refuses what is compressed

    def _take_reset(self, event: StreamReset) -> None:
        call: _Call | None = event.stream.owner
        if event.fault:
            self._reject(call, CallFailedError(Status(status.INTERNAL, f"the reply broke HTTP/2: {event.fault}")))
        elif event.code == http2.REFUSED_STREAM:
            self._reject(call, RefusedError())
        else:
            self._reject(call, CallFailedError(status_of_reset(event.code)))

    # the end of a call

    def _finish(self, call: _Call | None, fields: Fields) -> None:
        """The last header fields have come."""
        if call is None:
            return
        if call.recording is not None:
            call.recording.reply_trailers = text_of(fields)
        if fields.get(b"grpc-status") != b"0" or fields.is_too_large:
            self._fail(call, status_in(fields))
        elif call.message is None or (call.reader is not None and call.reader.held):
            self._fail(call, Status(status.INTERNAL, "the reply has no whole message"))
        else:
            self._reset(call)
            if not call.future.done():
                call.future.set_result((call.message, fields))

    def _fail(self, call: _Call, ended: Status) -> None:
        self._reset(call)
        self._reject(call, CallFailedError(ended))

    def _reject(self, call: _Call | None, error: Exception) -> None:
        if call is not None:
            self._forget(call)
            if not call.future.done():
                call.future.set_exception(error)

    def _reset(self, call: _Call) -> None:
        """Nobody waits for it any more."""
        if call.stream.number in self._connection.streams:
            self._connection.reset(call.stream, http2.CANCEL)
            self.socket.flush()
        self._forget(call)

    def _forget(self, call: _Call) -> None:
        call.stream.owner = None
        call.cancel()
        if self._waiters:
            self._wake(1)
        if self._retired:
            self._close_when_drained()

    def _wake(self, count: int) -> None:
        for waiter in [waiter for waiter in self._waiters if not waiter.done()][:count]:
            waiter.set_result(None)

    def expire(self, call: _Call) -> None:
        """Its deadline has passed."""
        self._fail(call, _TOO_LATE)
        self._ask_if_silent(call)

    # silence

    def _answered(self) -> None:
        """The server has sent headers or data: it minds no PING."""
        self._pause, self._next_probe = _SECOND_PAUSE, 0.0
        if self.suspect_since is not None:
            self._alive()

    def _listen(self) -> None:
        """Whether something has come lately; once more when it could be too long ago."""
        self._watch = None
        if not self._connection.streams:
            return
        now = self._loop.time()
        quiet_since = max(self.socket.heard, self._busy_since)
        if now - quiet_since >= SILENT_SECONDS:
            self._probe()
            quiet_since = now
        self._watch = self._deadlines.call_at(quiet_since + SILENT_SECONDS, self._listen)

    def _ask_if_silent(self, call: _Call) -> None:
        """A call was given up; when nothing came since it was sent, the connection may be gone."""
        if self.socket.heard < call.sent_at:
            self._probe()

    def _probe(self) -> None:
        """One PING, as seldom as gRPC's servers want it."""
        now = self._loop.time()
        if self._probed is not None or now < self._next_probe or not self.socket.is_open:
            return
        self._probed = now
        self._next_probe = now + self._pause
        self._pause = LONGEST_PAUSE_SECONDS + 1.0
        self._connection.ping(_PROBE)
        self.socket.flush()
        self._deadlines.call_at(now + PROBE_SECONDS, partial(self._suspect_if_unanswered, now))

    def _suspect_if_unanswered(self, probed: float) -> None:
        if self._probed != probed:
            return
        if self.socket.heard > probed:
            self._alive()
        else:
            self.suspect_since = probed
            self._changed(self)
            self._wake(len(self._waiters))

    def _alive(self) -> None:
        """It was heard again: new calls may come back, where there is no other connection by now."""
        self._probed = None
        if self.suspect_since is not None:
            self.suspect_since = None
            self._changed(self)

    def disprove(self) -> None:
        """A connection made later was answered, this one was not: the service is there, and this way to it is not."""
        self._end_all(Status(status.UNAVAILABLE, "the connection is silent"))
        self.socket.abort()

    # the connection

    def drain(self) -> None:
        """No new calls; close when those under way are answered."""
        self._retire()
        self._close_when_drained()

    def _retire(self) -> None:
        """No new call begins here."""
        if not self._retired:
            self._retired = True
            self._changed(self)
        self._wake(len(self._waiters))

    def _close_when_drained(self) -> None:
        if not self._connection.streams:
            self._loop.call_soon(self.socket.close)

    def _failed(self, event: ConnectionFailed) -> None:
        text = f"the connection broke HTTP/2: {event.text}" if self._connection.settled else "Expected SETTINGS"
        self._end_all(Status(status.UNAVAILABLE, text), event.streams)

    def _lost(self, text: str) -> None:
        self._end_all(Status(status.UNAVAILABLE, text))

    def _end_all(self, ended: Status, streams: list[Stream] | None = None) -> None:
        if self.is_over:
            return
        self.is_over = self._retired = True
        self._changed(self)
        self._wake(len(self._waiters))
        self._looks.cancel()
        if self._watch is not None:
            self._watch.cancel()
        for stream in self._connection.abandon() + (streams or []):
            self._reject(stream.owner, CallFailedError(ended))
        self.socket.close()

    def _look(self) -> None:
        """Close what has not been used for a while."""
        now = self._loop.time()
        idle_since = max(self.socket.heard, self._busy_since)
        if not self._connection.streams and now - idle_since >= IDLE_SECONDS:
            self._connection.goaway()
            self.socket.flush()
            self.drain()
        elif not self._retired:
            self._looks = self._deadlines.call_at(now + min(LOOK_SECONDS, IDLE_SECONDS), self._look)
