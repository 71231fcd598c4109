"""The server's side of an HTTP/1.1 connection (RFC 9112).

For whoever changes this file:

    HEAD ----------> BODY ----------> ANSWERING ----+--> HEAD
      |  a head       |  the body       |  the reply |
      |  is whole     |  is whole       |  is sent   +--> CLOSING, or LINGERING
      +---------------+-----------------+
                        a refusal, or a reply before the body is whole

- One request at a time. What comes behind it waits, unread by anything, in `_ahead`; so replies are in order (9.3.2), the
  answer to garbage waits for the answer to what came before it, and whoever pipelines cannot make us hold more than
  LOOKAHEAD_BYTES and one buffer. Nothing depends on how bytes were split into packets.
- Handlers begin when their request's head is whole: they refuse before the body is read, and keep the deadline while it
  comes. `begin` takes their first step here, without a task; for a small request to a quick model that is all of it.
- Large bodies of known length are received into their own memory (`Exchange.in_place`); everything else goes through a buffer
  that all connections of a listener share, as nobody holds it between two reads.
- A connection that ends while its client may still be sending lingers (9.6): closed at once, the kernel would answer what
  comes with a reset, and the client would never read why it was refused.
- A client that closes its sending side (`nc -N`, HTTP/1.0 tools) cannot be told from one that is gone, until something is
  sent: after a second `100 Continue` asks (RFC 9110 15.2: every client skips it), and a reset is the answer of one that is gone.
- There is no timer for a request: the listener looks at all of its connections a few times a second (`Connection.look`).
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import struct
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol, cast

from crossover.protocol.propagation import new_request_id
from crossover.transport.eager_start import begin
from crossover.transport.file_descriptors import is_scarce
from crossover.transport.http1 import asgi
from crossover.transport.http1.exchange import Exchange
from crossover.transport.http1.head import HeadReader, find_end, path_in
from crossover.transport.http1.limits import (
    DRAIN_IDLE_SECONDS,
    HALF_CLOSED_SECONDS,
    LINGER_BYTES,
    LINGER_IDLE_SECONDS,
    LINGER_SECONDS,
    LOOKAHEAD_BYTES,
    MIN_BODY_RATE,
    STALLED_SECONDS,
    Http1Limits,
)
from crossover.transport.http1.messages import RefusalError
from crossover.transport.http1.reply_head import CONTINUE, ReplyHeads, refusal_reply
from crossover.transport.memory_budget import MemoryBudget
from crossover.transport.short_turns import TURN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from crossover.transport.http1.messages import Buffer, Fields, Gate, Reply, RequestHead

log = logging.getLogger("crossover.http1")
_OURS = (b"connection", b"transfer-encoding", b"content-length", b"x-request-id")
"""Fields that a connection writes itself."""
access_log = logging.getLogger("crossover.access")

BUFFER_BYTES = 256 << 10
_JOINED_BYTES = 64 << 10
"""Head and body up to this size leave in one piece; larger ones are not copied together."""
_LOOKS_A_SECOND = 4
_TURN = 2048
"""Chunks, or requests at `_REQUEST_COST` each, that one connection is served at most before others get their turn."""
_REQUEST_COST = 64
_TELL_SECONDS = 60.0
_EMPTY = bytearray()
_NO_LINGER = struct.pack("ii", 1, 0)


class Handler(Protocol):
    """What answers requests without ASGI: `route` says which, once for each head that is new; `answer` gives the reply."""

    def route(self, head: RequestHead) -> object | None:
        """What the request is for; None for what goes to the ASGI application."""
        ...

    def answer(self, exchange: Exchange) -> Coroutine[Any, Any, None] | None:
        """Reply (`Exchange.reply`), or give what is to be awaited for that. It awaits `eager_start.waiting()` before it waits."""
        ...


class Http1Server:
    """What all connections of a listener share."""

    def __init__(
        self,
        app: asgi.ASGIApp,
        *,
        handler: Handler | None = None,
        gate: Gate | None = None,
        limits: Http1Limits | None = None,
        budget: MemoryBudget | None = None,
        logs_access: bool = False,
        always: Fields | None = None,
        refusal: Callable[[bytes, RefusalError, str], Reply] | None = None,
    ) -> None:
        """`always`: fields of every reply that does not say them itself, refusals of a connection included; `refusal`: the
        reply for what a connection refuses by itself, in the form of the API that the path belongs to.
        """
        self.app = app
        self.handler = handler
        self.gate = gate
        self.refusal = refusal or _plain_refusal
        self.limits = limits or Http1Limits()
        self.budget = budget or MemoryBudget(1 << 62)
        self.heads = HeadReader(handler.route if handler is not None else None)
        self.reply_heads = ReplyHeads(always or ())
        self.raw = bytearray(BUFFER_BYTES)
        self.buffer = memoryview(self.raw)
        self.logs_access = logs_access
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        """Every reply ends its connection."""
        self.app_state: dict[str, Any] = {}
        self.refused_connections = 0
        self.timed_out = 0
        self._told = float("-inf")
        self._looking: asyncio.TimerHandle | None = None

    def protocol(self, **given: Any) -> Connection:
        """A new connection's protocol, as uvicorn asks for it."""
        self.app_state = given.get("app_state") or self.app_state
        return Connection(self)

    def add(self, connection: Connection, descriptor: int) -> bool:
        """False for a connection that is one too many."""
        scarce = is_scarce(descriptor)
        if scarce or len(self.connections) >= self.limits.max_connections:
            self.refused_connections += 1
            self._tell_refused(connection.loop.time(), scarce)
            return False
        self.connections.add(connection)
        if self._looking is None:
            self._looking = connection.loop.call_later(1 / _LOOKS_A_SECOND, self._look)
        return True

    def _tell_refused(self, now: float, scarce: bool) -> None:
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            why = (
                "all that the limit on open files (ulimit -n) allows"
                if scarce
                else "the most that MAX_CONNECTIONS allows"
            )
            log.warning("connections are refused: %d are open, %s", len(self.connections), why)

    def _look(self) -> None:
        """Let every connection see whether its time is over."""
        self._looking = None
        if not self.connections:
            return
        loop = next(iter(self.connections)).loop
        now = loop.time()
        for connection in list(self.connections):
            connection.look(now)
        if self.connections:
            self._looking = loop.call_later(1 / _LOOKS_A_SECOND, self._look)

    def drain(self) -> None:
        """From now on every reply carries `Connection: close`; connections that are idle for a while are closed."""
        self.draining = True

    @property
    def busy(self) -> bool:
        """Whether a request is in flight, or a reply not sent."""
        return bool(self.tasks) or any(connection.busy for connection in self.connections)

    def close_idle(self) -> None:
        """Close the connections that have no request."""
        for connection in list(self.connections):
            connection.close_if_idle()

    def cancel_requests(self) -> None:
        """End what is in flight."""
        for task in list(self.tasks):
            task.cancel()

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        for connection in list(self.connections):
            connection.abandon()


class _State(Enum):
    HEAD = auto()
    """Between two requests, or within a head."""
    BODY = auto()
    """The head was read, and the body is not whole."""
    ANSWERING = auto()
    """The request is whole, and its reply not sent."""
    LINGERING = auto()
    """The reply is sent; what still comes is dropped until the client has closed."""
    CLOSED = auto()


class Connection(asyncio.BufferedProtocol):
    """One connection; its transport calls the public methods that asyncio names."""

    transport: asyncio.Transport

    def __init__(self, server: Http1Server) -> None:
        self._server = server
        self.loop = asyncio.get_running_loop()
        self.budget = server.budget
        self.peer: tuple[str, int] | None = None
        self.local: tuple[str, int | None] | None = None
        self.scheme = "http"
        self._state = _State.HEAD
        self._exchange: Exchange | None = None
        self._ahead = _EMPTY
        """Bytes that came and were not taken: part of a head or chunk line, or what comes behind the current request."""
        self._searched = 0
        """Bytes of the head that has begun in which its end is not."""
        self._cost = 0
        self._turn_began = 0.0
        self._consuming = self._resuming = False
        self._reading_paused = self._writing_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._unsent = 0
        self._since = self.loop.time()
        """When the state that is timed began: idleness, a head, a body, lingering."""
        self._progress = self._since
        """When a byte of a body came last, or of what is dropped."""
        self._body_bytes = self._dropped = 0
        self._sent = self._sent_before = 0
        self._sent_since = self._since
        self._fresh = True
        """No request has come yet."""
        self._half_closed: float | None = None
        self._asked = False
        self._ends_at = self._since + server.limits.age.of_one()
        self._leaves = False
        """It has reached its age: its next reply is its last."""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        accepted = transport.get_extra_info("socket")
        if accepted is not None and accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peer, self.local = _address(transport, "peername"), _address(transport, "sockname")
        elif accepted is not None:
            self.local = (str(transport.get_extra_info("sockname")), None)
        if transport.get_extra_info("ssl_object") is not None:
            self.scheme = "https"
        if not self._server.add(self, accepted.fileno() if accepted is not None else -1):
            self._say(RefusalError(503, "too many connections are open; try again later"))
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._state = _State.CLOSED
        self._hold_unsent(0)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if self._exchange is not None:
            self._exchange.lose()
            self._exchange.close()
        self._ahead = _EMPTY

    def get_buffer(self, sizehint: int) -> memoryview:
        exchange = self._exchange
        if self._state is _State.BODY and exchange is not None and not self._ahead:
            large = exchange.in_place
            if large is not None:
                return large.rest
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._state is _State.BODY and self._exchange is not None and not self._ahead:
            exchange = self._exchange
            if exchange.in_place is not None:
                self._body_bytes += nbytes
                self._progress = self.loop.time()
                exchange.received_in_place(nbytes)
                self._after_body(exchange)
                return
        if self._state is _State.LINGERING:
            self._drop(nbytes)
        elif self._state is _State.CLOSED:
            return
        elif self._ahead or self._writing_paused or self._resuming:
            self._add_ahead(self._server.buffer[:nbytes])
            if not self._resuming:
                self._advance()
        else:
            taken = self._consume(self._server.raw, 0, nbytes)
            if taken < nbytes and not self.transport.is_closing():
                self._add_ahead(self._server.buffer[taken:nbytes])
        if len(self._ahead) > LOOKAHEAD_BYTES:
            self.pause_reading()

    def eof_received(self) -> bool:
        """The client sends no more; what it asked for is answered nevertheless, where there is no TLS to forbid it."""
        waits = self._state is _State.HEAD and (self._resuming or (bool(self._ahead) and self._writing_paused))
        if not (waits or self._state is _State.ANSWERING) or self.scheme == "https":
            return False  # nothing is asked, or it will never be whole
        self._half_closed = self.loop.time()
        return True

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._hold_unsent(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._hold_unsent(0)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._resume()

    def _hold_unsent(self, size: int) -> None:
        """Replies that nobody reads are memory in flight too."""
        self.budget.hold(size - self._unsent)
        self._unsent = size

    # Flow control

    def pause_reading(self) -> None:
        if not self._reading_paused and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if self._reading_paused and not self.transport.is_closing():
            self._reading_paused = False
            self._progress = self.loop.time()
            self.transport.resume_reading()

    async def drain(self) -> None:
        while self._writing_paused and self._state is not _State.CLOSED:
            if self._writable is None or self._writable.done():
                self._writable = self.loop.create_future()
            await asyncio.shield(self._writable)

    # What comes

    def _add_ahead(self, data: memoryview) -> None:
        if self._ahead is _EMPTY:
            self._ahead = bytearray()
        self._ahead += data

    def _resume(self) -> None:
        """Go on with what came ahead, in a turn of its own."""
        if not self._resuming and not self._consuming and self._state is not _State.CLOSED:
            self._resuming = True
            self.loop.call_soon(self._resumed)

    def _resumed(self) -> None:
        self._resuming = False
        if self._state is _State.CLOSED:
            return
        self._advance()
        if len(self._ahead) <= LOOKAHEAD_BYTES and not self._is_streaming_ahead():
            self.resume_reading()

    def _is_streaming_ahead(self) -> bool:
        return self._state is _State.BODY and self._exchange is not None and self._exchange.is_ahead

    def _advance(self) -> None:
        if self._ahead and not self._consuming:
            taken = self._consume(self._ahead, 0, len(self._ahead))
            if taken:
                del self._ahead[:taken]
            if not self._ahead:
                self._ahead = _EMPTY
        if self._half_closed is not None and self._state is _State.HEAD and not self._resuming:
            self._close()  # everything that was asked is answered

    def _consume(self, raw: bytearray, at: int, stop: int) -> int:
        """Take requests from `raw` until one has to be waited for; where it stopped."""
        self._consuming = True
        try:
            while at < stop:
                if self._state is _State.HEAD:
                    if self._writing_paused:
                        break
                    if self._cost >= _TURN or (self._cost and time.monotonic() - self._turn_began >= TURN_SECONDS):
                        self._cost = 0
                        self._consuming = False
                        self._resume()
                        break
                    begun = self._take_head(raw, at, stop)
                    if begun == at:
                        break
                    at = begun
                elif self._state is _State.BODY:
                    taken = self._take_body(raw, at, stop)
                    if taken == at:
                        break
                    at = taken
                else:
                    return at if self._state is _State.ANSWERING else stop
            else:
                self._cost = 0
            return at
        except RefusalError as refusal:
            self._refuse(refusal, path_in(raw, at, stop) if self._state is _State.HEAD else b"")
            return stop
        finally:
            self._consuming = False

    def _take_head(self, raw: bytearray, at: int, stop: int) -> int:
        """Take a request's head, and its body if that is here; `at` when the head is not whole."""
        while at < stop and raw[at] in b"\r\n":  # RFC 9112 2.2: empty lines before a request line are ignored
            if raw[at] == 13 and at + 1 < stop and raw[at + 1] != 10:
                break
            if raw[at] == 13 and at + 1 == stop:
                return at
            at += 1
        if at == stop:
            return at
        end = find_end(raw, at, stop, self._searched)
        if end < 0:
            if not self._searched:
                self._since = self.loop.time()
            self._searched = stop - at
            return at
        self._searched = 0
        if not self._cost:
            self._turn_began = time.monotonic()
        self._cost += _REQUEST_COST
        view = memoryview(raw)
        head = self._server.heads.read(bytes(view[at:end]))
        exchange = Exchange(self, head)
        length = head.length
        if length == 0:
            exchange.body = b""
        elif 0 < length <= stop - end:
            exchange.body = bytes(view[end : end + length])
            end += length
        view.release()
        self._fresh = False
        self._begin(exchange)
        return end

    def _begin(self, exchange: Exchange) -> None:
        """Let the request in, and begin to answer it."""
        server = self._server
        self._exchange = exchange
        self._state = _State.ANSWERING
        if exchange.body is None:
            self._state = _State.BODY
            self._since = self._progress = self.loop.time()
            self._body_bytes = 0
            exchange.begin_body()
        if server.gate is not None and (refusal := server.gate(exchange)) is not None:
            exchange.reply(refusal)
            return
        if exchange.head.route is not None and server.handler is not None:
            unanswered = server.handler.answer(exchange)
            exchange.task = begin(self.loop, unanswered) if unanswered is not None else None
        else:
            exchange.task = self.loop.create_task(asgi.run(server.app, exchange, server.app_state))
        if exchange.task is not None:
            server.tasks.add(exchange.task)
            exchange.task.add_done_callback(server.tasks.discard)

    def _take_body(self, raw: bytearray, at: int, stop: int) -> int:
        exchange = self._exchange
        assert exchange is not None
        if self._cost >= _TURN:
            self._cost = 0
            self._consuming = False
            self._resume()
            return at
        begun = at
        at, lines = exchange.take(raw, at, stop, _TURN)
        self._cost += lines
        self._body_bytes += at - begun
        self._progress = self.loop.time()
        self._after_body(exchange)
        return at

    def _after_body(self, exchange: Exchange) -> None:
        """Something of the body came."""
        if exchange.body is None:
            return
        if exchange.answered:
            self._next()
        else:
            self._state = _State.ANSWERING

    # What leaves

    def send_reply(self, exchange: Exchange, reply: Reply) -> None:
        size = sum(map(len, reply.parts))
        fields = [*reply.headers, *exchange.added] if exchange.added else reply.headers
        keeps = exchange.keeps_connection and not (self._server.draining or self._leaves)
        head = self._server.reply_heads.whole(
            reply.status, fields, size, exchange.head.version, keeps, exchange.request_id
        )
        if exchange.head.method == "HEAD":
            self._write(head)
        elif size <= _JOINED_BYTES:
            self._write(b"".join([head, *reply.parts]))
        else:
            self._sent += len(head) + size
            self.transport.writelines([head, *reply.parts])
        if self._server.logs_access:
            self._log(exchange, reply.status)
        self._finish(exchange, keeps)

    def reply_head(self, exchange: Exchange, status: int, fields: Fields, length: int | None) -> bytes:
        version = exchange.head.version
        framing = length if length is not None else -2 if version == "1.1" else -1
        if length is None and exchange.bodiless:
            framing = -1
        exchange.keeps = (
            exchange.keeps_connection
            and not (self._server.draining or self._leaves)
            and not (length is None and version == "1.0" and not exchange.bodiless)
            and not any(name == b"connection" and b"close" in value.lower() for name, value in fields)
        )
        sent = [field for field in fields if field[0] not in _OURS]
        if self._server.logs_access:
            self._log(exchange, status)
        fields = [*sent, *exchange.added]
        return self._server.reply_heads.whole(status, fields, framing, version, exchange.keeps, exchange.request_id)

    def send_piece(self, exchange: Exchange, head: bytes, piece: Buffer, more: bool, chunked: bool) -> None:
        parts: list[Buffer] = [head] if head else []
        if not exchange.bodiless:
            if chunked and exchange.head.version == "1.1":
                if piece:
                    parts += [b"%x\r\n" % len(piece), piece, b"\r\n"]
                if not more:
                    parts.append(b"0\r\n\r\n")
            elif piece:
                parts.append(piece)
        size = sum(map(len, parts))
        if size <= _JOINED_BYTES:
            if size:
                self._write(b"".join(parts))
        else:
            self._sent += size
            self.transport.writelines(parts)
        if not more:
            self._finish(exchange, exchange.keeps)

    def _write(self, data: bytes) -> None:
        self._sent += len(data)
        self.transport.write(data)

    def _log(self, exchange: Exchange, status: int) -> None:
        head, peer = exchange.head, exchange.peer
        where = f"{peer[0]}:{peer[1]}" if peer else "-"
        target = head.target.decode("ascii", "replace")
        said = {"request_id": exchange.request_id}
        access_log.info('%s - "%s %s HTTP/%s" %d', where, head.method, target, head.version, status, extra=said)

    def _finish(self, exchange: Exchange, keeps: bool) -> None:
        """The reply is complete."""
        exchange.answered = True
        exchange.close()
        if not keeps:
            # Pipelined bytes that have come are no reason to linger: they were read, so nothing resets the connection.
            if exchange.body_is_whole:
                self._close()
            else:
                exchange.drop_body()
                self._linger()
        elif exchange.body is None:
            exchange.drop_body()  # the rest of a small body is skipped
            self.resume_reading()
        else:
            self._next()

    def _next(self) -> None:
        """The exchange is over, and another may follow."""
        self._exchange = None
        self._state = _State.HEAD
        self._since = self.loop.time()
        self._asked = False
        if self._server.draining and not self._ahead:
            self._close()
        elif not self._consuming and (self._ahead or self._half_closed is not None or self._reading_paused):
            self._resume()

    # Ends

    def refusal_reply(self, path: bytes, refusal: RefusalError, request_id: str) -> Reply:
        """What the connection says by itself to a request for `path`."""
        return self._server.refusal(path, refusal, request_id)

    def _refuse(self, refusal: RefusalError, path: bytes = b"") -> None:
        """Answer what no handler gets to see, or what makes its request one that cannot be answered otherwise."""
        exchange = self._exchange
        if exchange is not None:
            path = exchange.head.path
        if exchange is not None and not exchange.answered:
            if exchange.task is not None and not exchange.started and exchange.head.route is not None:
                self._state = _State.BODY  # its handler has been told, and answers
                return
            if exchange.started:
                self.abandon()
                return
            exchange.started = exchange.answered = True
            exchange.lose()
            exchange.close()
        self._say(refusal, path)
        self._linger()

    def _say(self, refusal: RefusalError, path: bytes = b"") -> None:
        """The connection's last word."""
        request_id = self._exchange.request_id if self._exchange is not None else new_request_id()
        reply = self.refusal_reply(path, refusal, request_id)
        size = sum(map(len, reply.parts))
        head = self._server.reply_heads.whole(reply.status, reply.headers, size, "1.1", False, request_id)
        self._write(b"".join([head, *reply.parts]))

    def _linger(self) -> None:
        """The last reply is sent; the client may still be sending (RFC 9112 9.6)."""
        self._state = _State.LINGERING
        self._exchange = None
        self._ahead = _EMPTY
        self._dropped = 0
        self._since = self._progress = self.loop.time()
        if self._half_closed is not None:
            self._close()
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()

    def _drop(self, nbytes: int) -> None:
        self._dropped += nbytes
        self._progress = self.loop.time()
        if self._dropped > LINGER_BYTES:
            self.abandon()

    def _close(self) -> None:
        self._state = _State.CLOSED
        if not self.transport.is_closing():  # asyncio's TLS transport forgets its connection when it is closed again
            self.transport.close()

    def abandon(self) -> None:
        """End the connection without a word; what was not sent is lost."""
        self._state = _State.CLOSED
        self.transport.abort()

    def _reset(self) -> None:
        """The same at once: closed, the kernel would keep what the client does not read for minutes."""
        accepted = self.transport.get_extra_info("socket")
        if accepted is not None and accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.abandon()

    @property
    def busy(self) -> bool:
        if self._state is _State.CLOSED:
            return self.transport.get_write_buffer_size() > 0
        return self._state in (_State.BODY, _State.ANSWERING) or bool(self._ahead)

    def close_if_idle(self) -> None:
        if self._state is _State.HEAD and not self._ahead:
            self._close()

    # Time

    def look(self, now: float) -> None:
        """End what has taken too long; called a few times a second."""
        limits = self._server.limits
        self._leaves = now >= self._ends_at
        if self._is_stuck_writing(now):
            self._server.timed_out += 1
            self._reset()
        elif self._state is _State.HEAD:
            if self._writing_paused:
                return
            if self._searched:
                if now - self._since > limits.head_seconds:
                    self._server.timed_out += 1
                    late = f"the request's head did not come within {limits.head_seconds:g} s"
                    self._refuse(RefusalError(408, late), path_in(self._ahead))
            elif now - self._since > self._idle_seconds():
                self._close()
        elif self._state is _State.BODY:
            self._look_at_body(now)
        elif self._state is _State.LINGERING and self._has_lingered(now):
            self.abandon()
        if self._half_closed is not None and now - self._half_closed > HALF_CLOSED_SECONDS:
            self._look_whether_gone()

    def _has_lingered(self, now: float) -> bool:
        return now - self._since > LINGER_SECONDS or now - self._progress > LINGER_IDLE_SECONDS

    def _idle_seconds(self) -> float:
        limits = self._server.limits
        if self._fresh:
            return limits.head_seconds
        return (
            min(limits.keep_alive_seconds, DRAIN_IDLE_SECONDS) if self._server.draining else limits.keep_alive_seconds
        )

    def _look_at_body(self, now: float) -> None:
        if self._reading_paused:
            return  # its handler takes its time, not the client
        seconds = self._server.limits.body_seconds
        slow = now - self._since > seconds + self._body_bytes / MIN_BODY_RATE
        if not slow and now - self._progress <= seconds:
            return
        self._server.timed_out += 1
        refusal = RefusalError(408, f"the request's body made no progress for {seconds:g} s")
        exchange = self._exchange
        if exchange is not None and exchange.answered:
            self._linger()
            return
        if exchange is not None:
            exchange.fail(refusal)
        self._refuse(refusal)

    def _is_stuck_writing(self, now: float) -> bool:
        """Whether replies wait, and the client has taken no byte of them for too long."""
        unsent = self.transport.get_write_buffer_size()
        taken = self._sent - unsent
        if not unsent or taken != self._sent_before:
            self._sent_before, self._sent_since = taken, now
            return False
        seconds = self._server.limits.write_seconds
        if self._unsent and self.budget.is_short:
            seconds = min(seconds, STALLED_SECONDS)
        return now - self._sent_since > seconds

    def _look_whether_gone(self) -> None:
        """Ask a client that has closed its sending side whether it still reads."""
        exchange = self._exchange
        if exchange is None or exchange.answered:
            return
        if not self._asked:
            self._asked = True
            if not exchange.started and exchange.head.version == "1.1":
                self._write(CONTINUE)
        elif _is_reset(self.transport):
            self.abandon()


def _plain_refusal(_path: bytes, refusal: RefusalError, _request_id: str) -> Reply:
    return refusal_reply(refusal.status, refusal.message)


def _is_reset(transport: asyncio.Transport) -> bool:
    """Whether the other end has gone altogether."""
    accepted = transport.get_extra_info("socket")
    if accepted is None:
        return True
    poll = select.poll()
    poll.register(accepted.fileno(), 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def _address(transport: asyncio.BaseTransport, name: str) -> tuple[str, int] | None:
    found = transport.get_extra_info(name)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) >= 2 else None
