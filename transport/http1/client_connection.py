"""One connection of the HTTP/1.1 client: a protocol around httptools' parser, one exchange at a time (RFC 9112)."""

from __future__ import annotations

import asyncio
import os
import re
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import httptools

from crossover.protocol import deadline
from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.errors import Code, InferenceError, lost_connection
from crossover.transport.http1.receive_buffer import SMALLEST, LargeBody
from crossover.transport.silence import GIVEN_UP_SECONDS, SILENT_SECONDS, limit_unacknowledged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.protocol.tensors import Buffer

MOST_HEAD_BYTES = 64 << 10
"""Of a reply's head, of its trailers, and of everything else that is not its body (chunk extensions, interim replies)."""
MOST_FIELDS = 100
IDLE_SECONDS = 4.0
"""An unused connection is given up after this time: less than the keep-alive of common servers (Node and uvicorn: 5 s),
and less than DRAIN_SECONDS, so that a server that drains has either told us on a reply or is not asked any more."""
_JOINED_BYTES = 64 << 10
"""Requests up to this size leave in one write; larger parts are not copied together."""
_RECENT_SECONDS = 0.01
"""A connection used so recently is not asked whether the peer has closed it."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, with no time: what is closed like this is reset (socket(7))."""
_LAST_WORDS_BYTES = 1 << 20
_PARSED_BYTES = 16 << 10
"""Given to the parser at once: what is not body is counted between two of these."""
_KEEP_ALIVE = re.compile(rb"timeout\s*=\s*(\d{1,6})", re.IGNORECASE)


@dataclass(slots=True)
class HttpReply:
    status: int
    headers: dict[bytes, bytes]
    """Lower-case names; of repeated headers the last. Trailers are dropped (RFC 9110 6.5.1)."""
    body: Buffer


class NoReplyError(InferenceError):
    """The connection ended before a byte of the reply came (see transport/resending.py)."""

    lost = True

    def __init__(self, url: str) -> None:
        super().__init__(Code.UNAVAILABLE, f"{url} closed the connection before it had answered")


class _KnownHead(NamedTuple):
    """A head that the parser has read before: a service's replies differ in their body, and at most in one field."""

    status: int
    headers: dict[bytes, bytes]
    length: int


_KNOWN_HEADS: BoundedCache[bytes, _KnownHead] = BoundedCache()
_VARYING = b"x-request-id"
"""The field that differs from reply to reply; where a head ends with it, the rest is what is remembered."""
_VARYING_LINE = _VARYING + b": "
_PLAIN_VALUE = re.compile(rb"[!-~]+")


def _split_head(raw: bytes, end: int) -> tuple[bytes, bytes | None]:
    """What repeats itself of the head that ends at `end`, and the value of the field that does not."""
    cut = raw.rfind(b"\r\n", 0, end)
    if raw.startswith(_VARYING_LINE, cut + 2):
        value = raw[cut + 2 + len(_VARYING_LINE) : end]
        if _PLAIN_VALUE.fullmatch(value):
            return raw[:cut], value
    return raw[:end], None


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """What a reply may have."""

    body: int
    """Bytes, as the sentence of a refusal names them."""
    slack: int = 0
    """Bytes that a body may have beyond."""

    def too_large(self, url: str) -> InferenceError:
        return InferenceError(
            Code.TOO_LARGE, f"the reply of {url} exceeds the limit of {self.body} bytes (MAX_MESSAGE_BYTES)"
        )


class ClientConnection(asyncio.BufferedProtocol):
    """The methods named on_* are called by the parser.

    Connections share the buffer that they receive with, as nobody holds it between two reads. `silent` is called with
    the connection when a call on it has waited `SILENT_SECONDS` or until its deadline without a byte.
    """

    def __init__(
        self, url: str, limits: ReplyLimits, buffer: memoryview, silent: Callable[[ClientConnection], None]
    ) -> None:
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._url = url
        self._limits = limits
        self._silent = silent
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._readable: select.poll | None = None
        self._waiter: asyncio.Future[HttpReply] | None = None
        self._keep_alive = True
        self._until = deadline.NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = deadline.NEVER
        self._idle_limit = IDLE_SECONDS
        self.heard_at = time.monotonic()
        """When the last reply ended."""
        self.asked_at = self.heard_at
        """When the last request began."""
        self._reset()

    def _reset(self) -> None:
        self._status = 0
        self._head_is_whole = False
        self._headers: dict[bytes, bytes] = {}
        self._fields = self._field_bytes = 0
        self._chunks: list[bytes] = []
        self._size = 0
        self._large: LargeBody | None = None
        self._head_key: bytes | None = None
        """What to remember the head by, once the parser has taken all of the reply."""
        self._head_varies = False
        """Whether its last field is left out of that."""

    @property
    def usable(self) -> bool:
        """Whether another exchange may begin: open, idle, and nothing of the last request left to be sent."""
        transport = self._transport
        return (
            transport is not None
            and self._waiter is None
            and self._keep_alive
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )

    def is_fresh(self, now: float) -> bool:
        """Whether it is safe to send on: the server will not close it now, and has not done so."""
        idle = now - self.heard_at
        return idle < self._idle_limit and (idle < _RECENT_SECONDS or not self._has_something_to_read())

    def _has_something_to_read(self) -> bool:
        """What comes on an idle connection is its end, which the event loop may not have seen yet."""
        return self._readable is not None and bool(self._readable.poll(0))

    def abort(self) -> None:
        """End the connection by a reset: a server cannot tell a plain close from a client that only sends no more."""
        if self._transport is not None:
            connected = self._transport.get_extra_info("socket")
            if connected is not None and not self._transport.is_closing():
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()

    async def exchange(self, head: bytes, parts: Sequence[Buffer], size: int, until: float) -> HttpReply:
        """One request and its reply; NoReplyError when the connection ends without one, other errors as `request`'s."""
        transport = self._transport
        assert transport is not None
        if self._head_is_whole and self._fields:  # trailers, which the parser may have taken for a close
            self._parser = httptools.HttpResponseParser(self)
        self._reset()
        self._received = self._unframed = 0
        now = self.asked_at = time.monotonic()
        self._until = until
        look_at = now + SILENT_SECONDS
        if until < look_at:
            look_at = until
        if self._timer is None or look_at < self._timer_at:
            self._set_timer(look_at, now)
        waiter = self._waiter = self._loop.create_future()
        if size <= _JOINED_BYTES:
            transport.write(b"".join((head, *parts)))
        else:
            transport.writelines((head, *parts))
        try:
            return await waiter
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and time.monotonic() - self.asked_at > GIVEN_UP_SECONDS:
                self._say_if_silent()
            self.abort()
            raise
        finally:
            self._waiter = None

    def _set_timer(self, when: float, now: float) -> None:
        """One timer serves many exchanges: it looks when it is due, and is set anew for an earlier time only."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_later(max(0.0, when - now), self._look)

    def _look(self) -> None:
        """The deadline may have passed, or the silence may be so long that it tells something."""
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        now = time.monotonic()
        told_at = self.asked_at + SILENT_SECONDS
        if now >= min(told_at, self._until):
            self._say_if_silent()
        if now >= self._until:
            self._fail(deadline.exceeded(f"while {self._url} was working on the call"))
        elif (look_at := self._until if now >= told_at else min(told_at, self._until)) != deadline.NEVER:
            self._set_timer(look_at, now)

    def _say_if_silent(self) -> None:
        if not self._received:
            self._silent(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            limit_unacknowledged(connected)
            self._readable = select.poll()
            self._readable.register(connected.fileno(), select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Never an empty one: loops ask for room before they know whether anything else has come."""
        return self._buffer if self._large is None or self._large.is_whole else self._large.rest

    def buffer_updated(self, nbytes: int) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.abort()
        elif self._large is not None:
            self._large.filled += nbytes
            if self._large.is_whole:
                self._parser = httptools.HttpResponseParser(self)
                self._finish()
        elif self._received or not self._take_known(waiter, nbytes):
            self._parse(waiter, self._buffer[:nbytes])

    def _take_known(self, waiter: asyncio.Future[HttpReply], nbytes: int) -> bool:
        """Take a whole small reply whose head has come before, past the parser, which then sees none of it."""
        if nbytes > _PARSED_BYTES:
            return False
        raw = bytes(self._buffer[:nbytes])
        end = raw.find(b"\r\n\r\n")
        if end < 0:
            return False
        key, value = _split_head(raw, end)
        known = _KNOWN_HEADS.get(key)
        if known is None:
            self._head_key, self._head_varies = key, value is not None
            return False
        if nbytes - end - 4 != known.length or known.length > self._most_bytes:
            return False
        self._received = nbytes
        headers = dict(known.headers)
        if value is not None:
            headers[_VARYING] = value
        self._note_keep_alive(headers)
        waiter.set_result(HttpReply(known.status, headers, raw[end + 4 :]))
        return True

    def _remember(self) -> None:
        """The parser has read a reply that came in one piece."""
        headers = self._headers
        if self._head_key is None or not self._keep_alive or b"content-length" not in headers:
            return
        if b"transfer-encoding" not in headers and self._size == int(headers[b"content-length"]):
            kept = dict(headers)
            if self._head_varies:
                del kept[_VARYING]
            _KNOWN_HEADS.put(self._head_key, _KnownHead(self._status, kept, self._size), len(self._head_key))

    def _parse(self, waiter: asyncio.Future[HttpReply], data: Buffer) -> None:
        size = len(data)
        self._received += size
        if size <= _PARSED_BYTES:
            self._feed(data, size)
        else:
            for at in range(0, size, _PARSED_BYTES):
                self._feed(data[at : at + _PARSED_BYTES], _PARSED_BYTES)
        if waiter.done():
            return
        if self._status >= 200:
            self._receive_the_rest()

    def _feed(self, data: Buffer, size: int) -> None:
        before = self._size
        self._unframed += size
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(self._unreadable("something that is not HTTP/1.1"))
        if self._size > before:
            self._unframed = 0
        elif self._unframed > MOST_HEAD_BYTES:
            self._fail(self._head_too_large())

    def _receive_the_rest(self) -> None:
        """Let a large body of known length pass the parser by."""
        length = self._headers.get(b"content-length", b"0")
        if b"transfer-encoding" in self._headers or not SMALLEST <= int(length) <= self._most_bytes:
            return
        self._large = LargeBody(int(length), b"".join(self._chunks))
        self._chunks.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep_alive = False
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is None or self._waiter.done():
            return
        if exc is not None and self._large is None:
            self._read_last_words(self._waiter)
        if self._waiter.done():
            return
        if self._ends_with_connection():
            self._finish()
        elif not self._received:
            self._fail(NoReplyError(self._url))
        else:
            self._fail(lost_connection(f"{self._url} closed the connection before it had answered"))

    def _read_last_words(self, waiter: asyncio.Future[HttpReply]) -> None:
        """A peer that refuses early closes while we write, and the failed write comes before its reply is read."""
        assert self._transport is not None
        connected = self._transport.get_extra_info("socket")
        if connected is None or self._transport.get_extra_info("sslcontext") is not None:
            return
        left = _LAST_WORDS_BYTES
        try:
            while left > 0 and not waiter.done() and (data := os.read(connected.fileno(), MOST_HEAD_BYTES)):
                left -= len(data)
                self._parse(waiter, data)
        except (OSError, ValueError):
            return

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._field_bytes += len(name) + len(value) + 4
        if self._fields > MOST_FIELDS or self._field_bytes > MOST_HEAD_BYTES:
            self._fail(self._head_too_large())
        elif not self._head_is_whole:
            self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._head_is_whole = True
        self._fields = self._field_bytes = 0
        self._status = self._parser.get_status_code()
        self._keep_alive = self._parser.should_keep_alive()  # before trailers, which the parser counts as header fields
        length = self._headers.get(b"content-length", b"0")
        if len(length) > 20 or int(length) > self._most_bytes:
            self._fail(self._limits.too_large(self._url))

    def on_body(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > self._most_bytes:
            self._chunks.clear()
            self._fail(self._limits.too_large(self._url))

    def on_message_complete(self) -> None:
        if self._status < 200:
            self._reset()
            return
        self._finish()

    @property
    def _most_bytes(self) -> int:
        return self._limits.body + self._limits.slack

    def _ends_with_connection(self) -> bool:
        return self._status >= 200 and not self._headers.keys() & {b"content-length", b"transfer-encoding"}

    def _note_keep_alive(self, headers: dict[bytes, bytes]) -> None:
        self.heard_at = time.monotonic()
        if (told := headers.get(b"keep-alive")) and (found := _KEEP_ALIVE.search(told)):
            self._idle_limit = max(0.0, int(found[1]) - 1.0)

    def _finish(self) -> None:
        self._note_keep_alive(self._headers)
        if self._head_key is not None:
            self._remember()
        if self._waiter is not None and not self._waiter.done():
            body: Buffer = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            if self._large is not None:
                body = self._large.memory.toreadonly()
            self._waiter.set_result(HttpReply(self._status, self._headers, body))

    def _fail(self, error: Exception) -> None:
        self._keep_alive = False
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.abort()

    def _head_too_large(self) -> InferenceError:
        return self._unreadable(f"a head or trailers of more than {MOST_HEAD_BYTES >> 10} KiB or {MOST_FIELDS} fields")

    def _unreadable(self, what: str) -> InferenceError:
        return InferenceError(Code.UNKNOWN, f"{self._url} answered with {what}")
