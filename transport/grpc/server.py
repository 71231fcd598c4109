"""A gRPC server's connections: calls that come, each answered by its handler (gRPC over HTTP/2, PROTOCOL-HTTP2.md).

What a client must not be able to do to a server is bounded, here and in `transport/http2/limits.py`: streams at once,
calls that are begun and taken back, faults, frames for nothing, bytes that nobody has taken yet, replies that nobody
reads, connections that say nothing. A refused call's rest is read and dropped for a while: a proxy that is still sending
when the stream is reset would tell its client of the reset, not of the status (RFC 9113, 8.1).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from crossover.protocol import deadline
from crossover.transport import eager_start
from crossover.transport.connection_age import ENDLESS, ConnectionAge
from crossover.transport.deadline_queue import Deadline, deadline_queue
from crossover.transport.grpc import status
from crossover.transport.grpc.messages import ENCODINGS, BadMessageError, Compressed, prefixed
from crossover.transport.grpc.metadata import BadTimeoutError, Metadata, metadata_in, metadata_out
from crossover.transport.grpc.server_call import WINDOW, AbortedError, ServerCall
from crossover.transport.grpc.status import Status, status_fields
from crossover.transport.http2 import frames as http2
from crossover.transport.http2.connection import Connection
from crossover.transport.http2.events import (
    ConnectionFailed,
    DataReceived,
    DataSent,
    HeadersReceived,
    PingAnswered,
    StreamReset,
    TrailersReceived,
)
from crossover.transport.http2.limits import Limits
from crossover.transport.http2.socket import Http2Socket

if TYPE_CHECKING:
    from crossover.transport.http2.connection import Stream
    from crossover.transport.http2.events import Event
    from crossover.transport.http2.frames import Buffer
    from crossover.transport.http2.header_blocks import Fields

log = logging.getLogger("crossover.grpc")

PREFACE_SECONDS = 20.0
"""A connection that has not begun to speak HTTP/2 by then is closed."""
IDLE_SECONDS = 360.0
"""A connection without calls is told to go after so long; clients of ours go before."""
KEEPALIVE_SECONDS, KEEPALIVE_TIMEOUT_SECONDS = 60.0, 20.0
"""With calls under way and nothing heard for so long a PING is sent; without an answer the connection is given up."""
WRITE_SECONDS = 60.0
"""A reply of which the client takes nothing for so long is given up, and the connection when it takes nothing at all."""
LINGER_SECONDS = 10.0
"""How long the rest of a refused call is read and dropped."""
DRAIN_SECONDS = 1.0
"""How long a client has to acknowledge that the connection ends, before calls on it are refused."""
DEADLINE_GRACE_SECONDS = 0.1
"""A handler tells of a deadline in its own words; a call that is still there so much later is ended from outside."""
LOOK_SECONDS = 5.0
"""How often a connection is looked at, for all that has no timer of its own."""

_START = (
    (":status", "200"),
    ("content-type", "application/grpc"),
    ("grpc-accept-encoding", ",".join(("identity", *sorted(ENCODINGS)))),
)
_OK = (("grpc-status", "0"),)
_NOT_POST = ((":status", "405"), ("allow", "POST"))
_NOT_GRPC = ((":status", "415"), ("accept-post", "application/grpc"))
_TYPES = ("application/grpc", "application/grpc+proto")
_NOT_HTTP2 = b"this port speaks gRPC over HTTP/2; REST is on another port\n"
_HTTP1 = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
_DRAINING = b"draining"


@dataclass(slots=True)
class Service:
    """What the connections of a listener share."""

    handlers: Callable[[str], Any]
    """The registry's handler of a method's path; None when there is none."""
    limit: int
    """Largest message in bytes."""
    too_large: Callable[[int], Status]
    """How a call ends whose message has so many bytes."""
    default_timeout: float | None = None
    """Seconds that a unary call has at most; None: as long as it asks for."""
    limits: Limits = field(default_factory=Limits)
    age: ConnectionAge = ENDLESS
    connections: set[ServerConnection] = field(default_factory=set)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever the last connection has gone."""
    known: dict[bytes, Any] = field(default_factory=dict)
    """Handlers by path, as they were asked for; a path without one is not kept."""

    def handler_of(self, path: bytes) -> Any:
        handler = self.known.get(path)
        if handler is None:
            handler = self.handlers(path.decode("latin-1"))
            if handler is not None:
                self.known[path] = handler
        return handler


class _Refused:
    """Owner of a stream that was answered before its request had ended: the rest is dropped."""

    __slots__ = ("left", "timer")

    def __init__(self, left: int, timer: Deadline) -> None:
        self.left = left
        """Bytes that are still read."""
        self.timer = timer


class ServerConnection:
    """A connection that was accepted; `socket` is what the event loop drives."""

    def __init__(self, loop: asyncio.AbstractEventLoop, service: Service) -> None:
        self._loop = loop
        self._service = service
        self._connection = Connection(client=False, window=WINDOW, limits=service.limits)
        self.socket = Http2Socket(loop, self._connection, self._handle, self._lost)
        self._deadlines = deadline_queue(loop)
        self._began = self._used = loop.time()
        self._pinged: float | None = None
        self._moved = (0, self._began)
        """Bytes that the client had taken of what was written, and since when it has taken no more."""
        self._stalled: dict[int, tuple[int, float]] = {}
        """The same for streams that wait for their window: bytes unsent, and since when."""
        self._retired = self._refuses = False
        """The client was told that the connection ends, and that no call is taken any more."""
        self._end: Deadline | None = None
        """Of its age, then of the grace time."""
        if service.age.most != math.inf:
            self._end = self._deadlines.call_at(self._began + service.age.of_one(), self._is_old)
        self._metadata: tuple[Fields | None, Metadata] = (None, ())
        """What was read last: fields that repeat themselves are the same object."""
        service.connections.add(self)
        self._look_again()

    @property
    def peer(self) -> str:
        """The client's address as gRPC writes it: ``ipv4:host:port``, ``ipv6:%5Bhost%5D:port``, or ``unix:``."""
        name = self.socket.peername
        if not isinstance(name, tuple):
            return "unix:"
        host, port = name[:2]
        return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"

    # what comes

    def _handle(self, event: Event) -> None:
        kind = type(event)
        if kind is DataReceived:
            self._take_data(event.stream, event.data, ends=event.ends)  # type: ignore[union-attr,arg-type]
        elif kind is HeadersReceived:
            self._take_request(event)  # type: ignore[arg-type]
        elif isinstance(event, TrailersReceived):
            self._end_of_request(event.stream)
        elif isinstance(event, StreamReset):
            self._forget(event.stream)
        elif isinstance(event, DataSent):
            self._sent(event.stream)
        elif isinstance(event, PingAnswered):
            if event.payload == _DRAINING:
                self._refuse_new_calls()
        elif isinstance(event, ConnectionFailed):
            self._failed(event)

    def _take_request(self, event: HeadersReceived) -> None:
        stream, fields = event.stream, event.fields
        if stream.number not in self._connection.streams:
            return  # reset already
        if fields.is_too_large:
            text = f"the header list has {fields.size} bytes; the limit is {http2.LARGEST_FIELDS}"
            self._refuse(stream, Status(status.RESOURCE_EXHAUSTED, text))
        elif fields[b":method"] != b"POST":
            self._refuse_http(stream, _NOT_POST)
        elif (kind := fields.get(b"content-type", b"")) != _USUAL_TYPE and not _is_grpc(kind):
            self._refuse_http(stream, _NOT_GRPC)
        else:
            self._take_call(stream, fields)
        if event.data is not None:
            self._take_data(stream, event.data, ends=event.ends)
        elif event.ends:
            self._end_of_request(stream)
        call = stream.owner
        if type(call) is ServerCall and call.until != deadline.NEVER:  # it was not answered at once
            call.deadline = self._deadlines.call_at(call.until + DEADLINE_GRACE_SECONDS, partial(self._expired, call))

    def _take_call(self, stream: Stream, fields: Fields) -> None:
        service = self._service
        handler = service.handler_of(fields[b":path"])
        if handler is None:
            shown = fields[b":path"].decode("latin-1")[:200]
            self._refuse(stream, Status(status.UNIMPLEMENTED, f"there is no method {shown} here"))
            return
        streaming = handler.request_streaming
        # a stream survives a message that is too large, and tells its sender; twice the limit is read for that
        limit = service.limit * (2 if streaming else 1)
        longest = deadline.NEVER if streaming or handler.response_streaming else deadline.after(service.default_timeout)
        try:
            call = ServerCall(stream, fields, handler, self, limit, longest)
        except BadTimeoutError as bad:
            self._refuse(stream, Status(status.INVALID_ARGUMENT, str(bad)))
            return
        stream.owner = call
        if streaming:
            self._begin(call)

    def _take_data(self, stream: Stream, data: Buffer, *, ends: bool) -> None:
        call = stream.owner
        if type(call) is not ServerCall:
            if call is not None:
                self._drop_data(stream, call, len(data))
            return
        try:
            call.add(data)
            if len(call.queue) > 1 and not call.handler.request_streaming:
                raise BadMessageError(status.INTERNAL, "a unary call has one message; more came")
        except BadMessageError as bad:
            self._end_bad(call, bad)
            return
        if ends:
            self._end_of_request(stream)
        else:
            self.grant(call)

    def grant(self, call: ServerCall) -> None:
        """Let the client send as much as there is room for."""
        wanted = call.wanted
        if wanted and not call.closed:
            call.room += wanted
            self._connection.grant(call.stream, wanted)
            self.socket.flush()

    def _end_of_request(self, stream: Stream) -> None:
        call = stream.owner
        if type(call) is not ServerCall:
            return
        call.close()
        if call.is_cut:
            self.end(call, Status(status.INTERNAL, "the last message is cut"))
        elif call.task is None and not call.answered:
            if call.queue:
                self._begin(call)
            else:
                self.end(call, Status(status.INTERNAL, "the call has no message"))

    def metadata_of(self, fields: Fields) -> Metadata:
        """The metadata among a call's fields."""
        shared, own = fields.shared, fields.own
        if self._metadata[0] is not shared:
            self._metadata = shared, metadata_in(shared)
        return self._metadata[1] + metadata_in(own) if own else self._metadata[1]

    # the answer

    def _begin(self, call: ServerCall) -> None:
        if call.stream.number not in self._connection.streams:
            return  # the client has reset it, in the bytes that brought it
        answer = self._answer(call)
        at_once = eager_start.is_allowed(call.handler.unary_unary)
        call.task = eager_start.begin(self._loop, answer) if at_once else self._loop.create_task(answer)

    async def _answer(self, call: ServerCall) -> None:
        handler = call.handler
        try:
            if handler.unary_unary is not None:
                message = call.taken()
                if type(message) is Compressed:
                    await eager_start.waiting()
                    message = await message.read()
                self._reply(call, call.reply(await handler.unary_unary(call.request(message), call)))
                return
            answers = (
                handler.stream_stream(call, call)
                if handler.request_streaming
                else handler.unary_stream(await anext(call), call)
            )
            if hasattr(answers, "__aiter__"):
                async for answer in answers:
                    await call.write(answer)
            else:
                await answers
            self.end(call, Status(status.OK, "", call.trailing))
        except AbortedError as error:
            self.end(call, Status(error.code, error.details, error.trailing))
        except BadMessageError as bad:
            self._end_bad(call, bad)
        except Exception:
            log.exception("a call failed inside the service")
            self.end(call, Status(status.UNKNOWN, "the service failed inside; its log has the reason"))

    def _reply(self, call: ServerCall, data: bytes) -> None:
        """A unary call's message and its end, in one write where they fit."""
        stream, connection = call.stream, self._connection
        if stream.owner is not call:
            return
        call.task = None  # it is done; nobody may cancel what is only left to be sent
        call.answered = True
        trailers = _OK, metadata_out(call.trailing) if call.trailing else ()
        connection.send_message(stream, _START, (), (prefixed(len(data)), data), trailers)
        if not stream.unsent:
            self._leave(stream)
        self.socket.flush()

    async def write_message(self, call: ServerCall, data: bytes) -> None:
        """One message of a stream; ConnectionError when nobody is there to read it."""
        while self.socket.writable is not None:
            await asyncio.shield(self.socket.writable)
        stream, connection = call.stream, self._connection
        if stream.owner is not call:
            raise ConnectionError("the call is over")
        if not call.answered:
            call.answered = True
            connection.send_headers(stream, _START)
        connection.send_data(stream, prefixed(len(data)), data)
        self.socket.flush()
        if stream.unsent:
            call.flushed = self._loop.create_future()
            try:
                await call.flushed
            finally:
                call.flushed = None

    def _sent(self, stream: Stream) -> None:
        call = stream.owner
        if type(call) is not ServerCall:
            return
        if call.flushed is not None and not call.flushed.done():
            call.flushed.set_result(None)
        elif call.task is None:
            self._leave(stream)

    def end(self, call: ServerCall, ended: Status) -> None:
        """End the call with a status; without a message before, in header fields alone."""
        stream = call.stream
        if stream.owner is not call:
            return
        own = (*status_fields(ended.code, ended.details), *metadata_out(ended.trailing))
        self._connection.send_headers(stream, () if call.answered else _START, own, ends=True)
        self._cancel(call)
        self._leave(stream)
        self.socket.flush()

    def _end_bad(self, call: ServerCall, bad: BadMessageError) -> None:
        too_large = bad.code == status.RESOURCE_EXHAUSTED
        self.end(call, self._service.too_large(bad.size) if too_large else Status(bad.code, bad.text))

    def _refuse(self, stream: Stream, ended: Status) -> None:
        """A call that never had a handler."""
        own = (*status_fields(ended.code, ended.details), *metadata_out(ended.trailing))
        self._connection.send_headers(stream, _START, own, ends=True)
        self._leave(stream)
        self.socket.flush()

    def _refuse_http(self, stream: Stream, fields: tuple[tuple[str, str], ...]) -> None:
        """Reject what is not gRPC with an HTTP status."""
        self._connection.send_headers(stream, fields, ends=True)
        self._leave(stream)
        self.socket.flush()

    # the end of a call

    def _leave(self, stream: Stream) -> None:
        """The answer has gone. What the client still sends is dropped, within bounds."""
        self._forget(stream)
        if stream.number in self._connection.streams and not stream.remote_ended:
            timer = self._deadlines.call_at(self._loop.time() + LINGER_SECONDS, partial(self._end_lingering, stream))
            stream.owner = _Refused(2 * self._service.limit + WINDOW, timer)
            self._connection.grant(stream, WINDOW - stream.receive_window)

    def _drop_data(self, stream: Stream, refused: _Refused, size: int) -> None:
        refused.left -= size
        if refused.left < 0:
            self._end_lingering(stream)
        elif stream.receive_window < WINDOW // 2:
            self._connection.grant(stream, WINDOW - stream.receive_window)

    def _end_lingering(self, stream: Stream) -> None:
        self._connection.reset(stream, http2.NO_ERROR)
        self._forget(stream)
        self.socket.flush()

    def _forget(self, stream: Stream) -> None:
        """Nobody waits for it any more; its handler is told, unless it is the handler that says so."""
        owner, stream.owner = stream.owner, None
        if type(owner) is ServerCall:
            if owner.task is not None or owner.deadline is not None:
                self._cancel(owner)
        elif type(owner) is _Refused:
            owner.timer.cancel()
        if self._retired and not self._connection.streams:
            self._loop.call_soon(self._close_when_done)

    def _cancel(self, call: ServerCall) -> None:
        if call.deadline is not None:
            call.deadline.cancel()
        task, call.task = call.task, None
        if task is not None and task is not asyncio.current_task(self._loop):
            task.cancel()

    def _expired(self, call: ServerCall) -> None:
        """The deadline passed a while ago: the reply has not come, or has not been read."""
        if call.stream.unsent:
            self._give_up(call.stream)
        else:
            self.end(call, Status(status.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def _give_up(self, stream: Stream) -> None:
        self._connection.reset(stream, http2.CANCEL)
        self._forget(stream)
        self.socket.flush()

    # the connection

    def drain(self) -> None:
        """Tell the client that no new calls are taken, and close when those under way are answered (RFC 9113, 6.8).

        Calls that are on their way meanwhile are answered too: those that come before the client acknowledges.
        """
        if self._retired:
            return
        self._retired = True
        self._used = self._loop.time()
        self._connection.goaway(last=http2.LAST_STREAM)
        self._connection.ping(_DRAINING)
        self.socket.flush()
        self._deadlines.call_at(self._loop.time() + DRAIN_SECONDS, self._refuse_new_calls)

    def _is_old(self) -> None:
        """It has reached its age: the client is told to go elsewhere, and calls on it have the grace time."""
        self.drain()
        if self._service.age.grace != math.inf:
            self._end = self._deadlines.call_at(self._loop.time() + self._service.age.grace, self.stop)

    def _refuse_new_calls(self) -> None:
        if self._retired and not self._connection.failed:
            if not self._refuses:
                self._refuses = True
                self._connection.goaway()
                self.socket.flush()
            self._close_when_done()

    def _close_when_done(self) -> None:
        if self._refuses and not self._connection.streams:
            self.socket.close()

    def stop(self) -> None:
        """End what is under way."""
        for stream in list(self._connection.streams.values()):
            if type(stream.owner) is ServerCall:
                self.end(stream.owner, Status(status.UNAVAILABLE, "Cancelling all calls"))
        self.socket.close()

    def _failed(self, event: ConnectionFailed) -> None:
        if self._connection.not_http2:
            self.socket.write(_HTTP1 % (len(_NOT_HTTP2), _NOT_HTTP2))
        else:
            log.debug("a connection broke HTTP/2: %s", event.text)
        for stream in event.streams:
            self._forget(stream)
        self.socket.lose(event.text)

    def _lost(self, _: str) -> None:
        self._service.connections.discard(self)
        if not self._service.connections:
            self._service.emptied.set()
        self._looks.cancel()
        if self._end is not None:
            self._end.cancel()
        for stream in self._connection.abandon():
            self._forget(stream)

    def _look_again(self) -> None:
        soon = min(
            LOOK_SECONDS, PREFACE_SECONDS, IDLE_SECONDS, KEEPALIVE_SECONDS, KEEPALIVE_TIMEOUT_SECONDS, WRITE_SECONDS
        )
        self._looks = self._deadlines.call_at(self._loop.time() + soon, self._look)

    def _look(self) -> None:
        """Give up what is silent, idle or not read."""
        now = self._loop.time()
        if not self._connection.settled:
            gone = now - self._began >= PREFACE_SECONDS
        elif not self._connection.streams:
            gone = False
            if now - max(self._used, self.socket.heard) >= IDLE_SECONDS:
                self.drain()
        else:
            gone = self._is_silent(now)
        if gone or self._is_unread(now):
            self.socket.abort()
            return
        self._give_up_stalled(now)
        self._look_again()

    def _is_silent(self, now: float) -> bool:
        if self._pinged is not None:
            if self.socket.heard < self._pinged:
                return now - self._pinged >= KEEPALIVE_TIMEOUT_SECONDS
            self._pinged = None
        elif now - self.socket.heard >= KEEPALIVE_SECONDS:
            self._pinged = now
            self._connection.ping(bytes(8))
            self.socket.flush()
        return False

    def _is_unread(self, now: float) -> bool:
        """Whether the client has for a long time read nothing of what was written."""
        unread = self.socket.unread_bytes
        taken = self.socket.written - unread
        if not unread or taken != self._moved[0]:
            self._moved = taken, now
        return now - self._moved[1] >= WRITE_SECONDS

    def _give_up_stalled(self, now: float) -> None:
        """End the calls whose client grants their replies nothing."""
        stalled = {}
        for stream in self._connection.blocked:
            left, since = self._stalled.get(stream.number, (-1, now))
            if left != stream.unsent_bytes:
                since = now
            if now - since >= WRITE_SECONDS:
                self._give_up(stream)
            else:
                stalled[stream.number] = stream.unsent_bytes, since
        self._stalled = stalled


_USUAL_TYPE = b"application/grpc"


def _is_grpc(content_type: bytes) -> bool:
    """`application/grpc`, with `+proto` or parameters; `application/grpc-web` is another protocol."""
    return content_type.split(b";", 1)[0].strip().decode("latin-1") in _TYPES
