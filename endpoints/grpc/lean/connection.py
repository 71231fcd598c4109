"""The server's end of an HTTP/2 connection: calls that come, each answered by its handler (gRPC over HTTP/2).

What a client must not be able to do to a server is bounded here: streams at once, calls that are begun and cancelled,
bytes that nobody has taken yet, replies that nobody reads, connections that say nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from crossover.endpoints.grpc.errors import trailing_of
from crossover.endpoints.grpc.lean.call import WINDOW, AbortedError, Call
from crossover.protocol import deadline
from crossover.transport import eager_start as first_step
from crossover.transport.grpc import messages
from crossover.transport.http2 import frames as http2
from crossover.transport.http2.connection import End, beginning
from crossover.transport.http2.frames import Http2Error
from crossover.transport.shared_timer import SharedTimer

if TYPE_CHECKING:
    from crossover.protocol.errors import InferenceError
    from crossover.protocol.tensors import Buffer
    from crossover.transport.grpc.messages import Metadata
    from crossover.transport.http2.frames import Fields

log = logging.getLogger("crossover.grpc")

MOST_STREAMS = 10_000
CANCELS_AT_ONCE, CANCELS_PER_SECOND = 10_000, 1_000
"""Calls that a connection may begin and take back: a client that does so for its own sake is far below (CVE-2023-44487)."""
PREFACE_SECONDS = 20.0
"""A connection that has not begun to speak HTTP/2 by then is closed."""
WRITTEN_BYTES = 4 << 20
"""With so many bytes written that the client has not read, nothing more is read from it."""
DEADLINE_GRACE_SECONDS = 0.1
"""A handler tells of a deadline in its own words; a call that is still there so much later is ended from outside."""

_START = (
    (":status", "200"),
    ("content-type", "application/grpc"),
    ("grpc-accept-encoding", "identity,deflate,gzip"),
)
_OK = (("grpc-status", "0"),)
_PLAIN_TEXT = " !#$&'()*+,/:;=?@[]~\"<>^`{|}"
"""What `grpc-message` shows as it is, beside letters, digits and -._ (Percent-Encoded in PROTOCOL-HTTP2.md)."""
_NOT_GRPC = b"this port speaks gRPC over HTTP/2; REST is on another port\n"
_HTTP1 = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"


@dataclass(slots=True)
class Service:
    """What the connections of a listener share."""

    handlers: Callable[[str], Any]
    """The registry's handler of a method's path; None when there is none."""
    limit: int
    """Largest message in bytes."""
    too_large: Callable[[int], InferenceError]
    """The refusal of a message of so many bytes."""
    connections: set[ServerConnection] = field(default_factory=set)
    emptied: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever the last connection has gone."""
    known: dict[bytes, Any] = field(default_factory=dict)
    """Handlers by path, as they were asked for."""

    def handler_of(self, path: bytes) -> Any:
        found = self.known.get(path)
        if found is None:
            found = self.handlers(path.decode("latin-1"))
            if found is not None:
                self.known[path] = found
        return found


class ServerConnection(End[Call]):
    """A connection that was accepted."""

    begin = beginning(WINDOW, max_concurrent_streams=MOST_STREAMS)

    def __init__(self, loop: asyncio.AbstractEventLoop, service: Service) -> None:
        super().__init__(loop)
        self._service = service
        self._preface: bytes | None = b""
        """What has come of the preface; None when all of it has."""
        self._silent: asyncio.TimerHandle | None = None
        self._last = 0
        """The newest stream of the client's."""
        self._retired = False
        self._cancels, self._cancels_since = 0.0, loop.time()
        self._timer = SharedTimer(loop, self._look)
        self._metadata: tuple[Fields, Metadata] = ({}, ())
        """What was read last: fields that repeat themselves are the same object."""
        self._writable: asyncio.Future[None] | None = None
        """Done when the client reads again; None while it does."""

    # the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.set_write_buffer_limits(WRITTEN_BYTES)  # type: ignore[attr-defined]
        self._service.connections.add(self)
        self._silent = self.loop.call_later(PREFACE_SECONDS, self._drop_silent)
        super().connection_made(transport)

    def _drop_silent(self) -> None:
        if not self.settled:
            self.drop()

    def data_received(self, data: bytes) -> None:
        if self._preface is not None:
            self._preface += data
            if not http2.PREFACE.startswith(self._preface[: len(http2.PREFACE)]):
                self.put(_HTTP1 % (len(_NOT_GRPC), _NOT_GRPC))
                self.hang_up()
                return
            if len(self._preface) < len(http2.PREFACE):
                return
            data, self._preface = self._preface[len(http2.PREFACE) :], None
            self.speak()
        super().data_received(data)

    def pause_writing(self) -> None:
        """The client does not read: whatever it sends would only make us write more."""
        self._writable = self.loop.create_future()
        self.read(on=False)

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        if waiting is not None:
            waiting.set_result(None)
            self.read(on=True)

    def retire(self) -> None:
        """Take no new calls; close when those under way are answered (GOAWAY, RFC 9113 6.8)."""
        self._retired = True
        self.say_goodbye(self._last, http2.NO_ERROR)
        self._close_when_done()

    def stop(self) -> None:
        """End what is under way."""
        for call in list(self.streams.values()):
            self.end(call, messages.UNAVAILABLE, "Cancelling all calls")
        self.hang_up()

    def lose(self, text: str) -> None:
        self._service.connections.discard(self)
        if not self._service.connections:
            self._service.emptied.set()
        self._timer.cancel()
        if self._silent is not None:
            self._silent.cancel()
        for call in list(self.streams.values()):
            self._forget(call)
        self.resume_writing()
        self.hang_up()

    def _close_when_done(self) -> None:
        if self._retired and not self.streams:
            self.hang_up()

    # what comes

    def take_fields(self, number: int, fields: Fields, *, ends: bool) -> None:
        call = self.streams.get(number)
        if call is None:
            if not number & 1:
                raise Http2Error(http2.PROTOCOL_ERROR, "a client's stream has an even number")
            if number <= self._last:
                return  # trailers of a call that is over
            if self._retired or len(self.streams) >= MOST_STREAMS:
                self.write(http2.RST_STREAM, 0, number, http2.number(http2.REFUSED_STREAM))
                return
            self._last = number
            call = self._opened(number, fields)
            if call is None:
                return
        if ends:
            self._client_ended(call)

    def _opened(self, number: int, fields: Fields) -> Call | None:
        """The call that these fields begin; None when they begin none, which has been answered."""
        handler = self._service.handler_of(fields.get(b":path", b""))
        # a stream survives a message that is too large, and tells its sender; twice the limit is read for that
        limit = self._service.limit * (2 if handler is not None and handler.request_streaming else 1)
        call = Call(number, fields, handler, self, limit)
        self.streams[number] = call
        if not fields.get(b"content-type", b"").startswith(b"application/grpc") or fields.get(b":method") != b"POST":
            self._refuse_http(call)
        elif handler is None:
            shown = fields.get(b":path", b"").decode("latin-1")[:200]
            self.end(call, messages.UNIMPLEMENTED, f"there is no method {shown} here")
        else:
            if call.until != deadline.NEVER:
                self._timer.at_latest(call.until + DEADLINE_GRACE_SECONDS)
            if handler.request_streaming:
                self._begin(call)
            return call
        return None

    def _refuse_http(self, call: Call) -> None:
        """What is no gRPC call is told so in HTTP: 415 Unsupported Media Type."""
        self.put(self.header_frames(call.number, self.writer.block(((":status", "415"),)), http2.END_STREAM))
        self._forget(call)

    def take_data(self, stream: Call, piece: Buffer, *, ends: bool) -> None:
        try:
            stream.add(piece)
            if len(stream.queue) > 1 and not stream.handler.request_streaming:
                raise messages.BadMessageError(messages.INTERNAL, "a unary call has one message; more came")
        except messages.BadMessageError as bad:
            self._refuse(stream, bad)
            return
        if stream.room < 0:
            self._reset(stream, http2.FLOW_CONTROL_ERROR)
            return
        if ends:
            self._client_ended(stream)
        else:
            self.grant(stream)

    def metadata_of(self, fields: Fields) -> Metadata:
        """The metadata among a call's fields."""
        if self._metadata[0] is not fields:
            self._metadata = fields, messages.metadata_in(fields)
        return self._metadata[1]

    def grant(self, call: Call) -> None:
        """Let the client send as much as there is room for."""
        wanted = call.wanted
        if wanted and not call.closed:
            call.room += wanted
            self.write(http2.WINDOW_UPDATE, 0, call.number, http2.number(wanted))

    def _client_ended(self, call: Call) -> None:
        call.close()
        if call.reader.held:
            self.end(call, messages.INTERNAL, "the last message is cut")
        elif call.task is None:
            if call.queue:
                self._begin(call)
            else:
                self.end(call, messages.INTERNAL, "the call has no message")

    def take_reset(self, stream: Call, code: int) -> None:
        self._forget(stream)
        now = self.loop.time()
        self._cancels = max(0.0, self._cancels - CANCELS_PER_SECOND * (now - self._cancels_since)) + 1
        self._cancels_since = now
        if self._cancels > CANCELS_AT_ONCE:
            raise Http2Error(http2.ENHANCE_YOUR_CALM, "too many calls were taken back")

    def take_goaway(self, last: int) -> None:
        pass  # the client says that it will go, and then goes

    def take_settings(self) -> None:
        pass

    # the answer

    def _begin(self, call: Call) -> None:
        answer = self._answer(call)
        at_once = first_step.is_allowed(call.handler.unary_unary)
        call.task = first_step.begin(self.loop, answer) if at_once else self.loop.create_task(answer)

    async def _answer(self, call: Call) -> None:
        handler = call.handler
        try:
            if handler.unary_unary is not None:
                self._reply(call, call.reply(await handler.unary_unary(call.request(call.taken()), call)))
                return
            answers = (
                handler.stream_stream(call, call)
                if handler.request_streaming
                else handler.unary_stream(call.request(call.taken()), call)
            )
            if hasattr(answers, "__aiter__"):
                async for answer in answers:
                    await call.write(answer)
            else:
                await answers
            self.end(call, messages.OK, "", call.trailing)
        except AbortedError as error:
            self.end(call, error.code, error.details, error.trailing)
        except Exception:
            log.exception("a call failed inside the service")
            self.end(call, messages.UNKNOWN, "the service failed inside; its log has the reason")

    def _reply(self, call: Call, data: bytes) -> None:
        """A unary call's message and its end, in one write where they fit."""
        if call.number not in self.streams:
            return
        start = self.header_frames(call.number, self.writer.block(_START))
        call.task = None  # it is done; nobody may cancel what is only left to be sent
        call.closed = call.begun = True
        self.send(call, start, (messages.prefixed(len(data)), data), ends=False)

    def ending(self, stream: Call) -> bytes:
        if stream.task is not None:
            return b""  # the handler goes on
        own = messages.metadata_out(stream.trailing) if stream.trailing else ()
        return self.header_frames(stream.number, self.writer.block(_OK, own), http2.END_STREAM)

    async def write_message(self, call: Call, data: bytes) -> None:
        """One message of a stream; ConnectionError when nobody is there to read it."""
        while self._writable is not None:
            await asyncio.shield(self._writable)
        if call.number not in self.streams:
            raise ConnectionError("the call is over")
        start = b"" if call.begun else self.header_frames(call.number, self.writer.block(_START))
        call.begun = True
        self.send(call, start, (messages.prefixed(len(data)), data), ends=False)
        if call.unsent:
            call.flushed = self.loop.create_future()
            try:
                await call.flushed
            finally:
                call.flushed = None

    def sent(self, stream: Call) -> None:
        if stream.flushed is not None and not stream.flushed.done():
            stream.flushed.set_result(None)
        elif stream.task is None:
            self._forget(stream)

    def end(self, call: Call, code: int, details: str, trailing: Metadata = ()) -> None:
        """End the call with a status; without a message before, in header fields alone."""
        if self.streams.get(call.number) is not call:
            return
        status: list[tuple[str, str]] = [("grpc-status", str(code))]
        if details:
            status.append(("grpc-message", quote(details, safe=_PLAIN_TEXT)))
        block = self.writer.block(() if call.begun else _START, (*status, *messages.metadata_out(trailing)))
        frames = self.header_frames(call.number, block, http2.END_STREAM)
        if not call.closed:  # what else it sends is of no use (RFC 9113, 8.1)
            frames += http2.frame(http2.RST_STREAM, 0, call.number, http2.number(http2.NO_ERROR))
        self.put(frames)
        self._forget(call)

    def _refuse(self, call: Call, bad: messages.BadMessageError) -> None:
        if bad.code == messages.RESOURCE_EXHAUSTED:
            error = self._service.too_large(bad.size)
            self.end(call, error.code.status.grpc, error.message, trailing_of(error))
        else:
            self.end(call, bad.code, bad.text)

    # the end of a call

    def _reset(self, call: Call, code: int) -> None:
        self.write(http2.RST_STREAM, 0, call.number, http2.number(code))
        self._forget(call)

    def _forget(self, call: Call) -> None:
        """Nobody waits for it any more; its handler is told, unless it is the handler that says so."""
        self.streams.pop(call.number, None)
        call.unsent = []
        task, call.task = call.task, None
        if task is not None and task is not asyncio.current_task(self.loop):
            task.cancel()
        self._close_when_done()

    def _look(self) -> float:
        """End the calls whose deadline has passed for a while; when to look again."""
        due = deadline.after(-DEADLINE_GRACE_SECONDS)
        for call in [call for call in self.streams.values() if call.until <= due]:
            self.end(call, messages.DEADLINE_EXCEEDED, "Deadline Exceeded")
        return min((call.until for call in self.streams.values()), default=deadline.NEVER) + DEADLINE_GRACE_SECONDS
