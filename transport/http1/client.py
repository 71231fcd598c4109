"""A small HTTP/1.1 client: a pool of keep-alive connections, each a protocol around httptools' parser.

It does what a call between two services needs (RFC 9112): one request at a time on a connection, lengths and chunks,
TLS, a limit on the reply, cancellation that closes the connection. No redirects, cookies, proxies or content codings.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import httptools

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.wires import unix_path
from crossover.transport.http1.receive_buffer import SMALLEST, LargeBody

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.protocol.tensors import Buffer

CONNECT_SECONDS = 10.0
_JOINED_BYTES = 64 << 10
"""Requests up to this size leave in one write; larger parts are not copied together."""
_BUFFER_BYTES = 256 << 10


@dataclass(slots=True)
class HttpReply:
    status: int
    headers: dict[bytes, bytes]
    """Lower-case names; of repeated headers the last."""
    body: Buffer


class StaleConnectionError(Exception):
    """The service closed a kept-alive connection before a byte of the reply came: the request may be sent again."""


class Origin:
    """Where the requests go, from a base URL such as ``http://host:8000/prefix``, or from ``unix:PATH``."""

    def __init__(self, base_url: str) -> None:
        self.unix = unix_path(base_url)
        parts = urlsplit("http://localhost" if self.unix else base_url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise invalid(f"'{base_url[:200]}' is not a base URL such as http://127.0.0.1:8000")
        self.url = base_url
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port or (443 if self.secure else 80)
        self.prefix = parts.path.rstrip("/")
        self.authority = parts.netloc.rpartition("@")[2]


class HttpPool:
    """At most `connections` connections to one origin, opened on demand; the last one used is used first."""

    def __init__(
        self,
        base_url: str,
        *,
        context: ssl.SSLContext | None = None,
        connections: int = 100,
        max_reply_bytes: int = 64 << 20,
    ) -> None:
        self.origin = Origin(base_url)
        self._context = (context or ssl.create_default_context()) if self.origin.secure else None
        self._limit = max_reply_bytes
        self._slots = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._closed = False
        self._head = f" HTTP/1.1\r\nhost: {self.origin.authority}\r\n"

    def framed(self, headers: Sequence[tuple[str, str]], size: int) -> list[tuple[str, str]]:
        """All headers of a request with a body of `size` bytes, as `request` sends them."""
        return [("host", self.origin.authority), *headers, ("content-length", str(size))]

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        parts: Sequence[Buffer],
        until: float = deadline.NEVER,
    ) -> HttpReply:
        """One exchange; UNAVAILABLE when the service cannot be reached or goes away before it has answered, and
        DEADLINE_EXCEEDED when it has not answered at the deadline `until`.

        A request that met a stale connection is sent once more, on a new one.
        """
        size = sum(map(len, parts))
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        head = f"{method} {self.origin.prefix}{path}{self._head}{lines}content-length: {size}\r\n\r\n".encode(
            "latin-1", "replace"
        )
        await self._slot(until)
        try:
            connection = self._take_idle()
            if connection is not None:
                try:
                    return await self._exchange(connection, head, parts, size, until)
                except StaleConnectionError:
                    self._drop_idle()
            return await self._exchange(await self._connect(until), head, parts, size, until)
        finally:
            self._slots.release()

    async def close(self) -> None:
        self._closed = True
        self._drop_idle()

    async def _slot(self, until: float) -> None:
        """Wait until one more request may be under way."""
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(deadline.timeout_of(until)):
                await self._slots.acquire()
        except TimeoutError:
            raise deadline.exceeded(f"while the call waited for a connection to {self.origin.url}") from None

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort()

    async def _exchange(
        self, connection: _Connection, head: bytes, parts: Sequence[Buffer], size: int, until: float
    ) -> HttpReply:
        reply = await connection.exchange(head, parts, size, until)
        if connection.usable and not self._closed:
            self._idle.append(connection)
        else:
            connection.abort()
        return reply

    async def _connect(self, until: float) -> _Connection:
        if self._closed:
            raise InferenceError(Code.UNAVAILABLE, f"the client of {self.origin.url} is closed")
        loop, origin = asyncio.get_running_loop(), self.origin

        def make() -> _Connection:
            return _Connection(loop, origin.url, self._limit, self._buffer)

        try:
            async with asyncio.timeout(max(0.0, min(CONNECT_SECONDS, deadline.remaining(until)))):
                if origin.unix:
                    _, connection = await loop.create_unix_connection(make, origin.unix)
                else:
                    _, connection = await loop.create_connection(make, origin.host, origin.port, ssl=self._context)
        except TimeoutError:
            deadline.check(until, f"while {origin.url} was being connected to")
            raise InferenceError(
                Code.UNAVAILABLE, f"{origin.url} did not accept a connection within {CONNECT_SECONDS:g} s"
            ) from None
        except ssl.SSLError as error:
            raise InferenceError(
                Code.UNAVAILABLE,
                f"no TLS connection to {origin.url}: {getattr(error, 'verify_message', '') or error.reason}",
            ) from None
        except OSError as error:
            raise InferenceError(Code.UNAVAILABLE, f"cannot connect to {origin.url}: {_reason(error)}") from None
        return connection


def _reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "connection refused"
    return (error.strerror or "the host cannot be reached").lower()


class _Connection(asyncio.BufferedProtocol):
    """One connection; the methods named on_* are called by the parser.

    Connections share the buffer that they receive with, as nobody holds it between two reads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, url: str, limit: int, buffer: memoryview) -> None:
        self._buffer = buffer
        self._loop = loop
        self._url = url
        self._limit = limit
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[HttpReply] | None = None
        self._exchanges = 0
        self._keep_alive = True
        self._until = deadline.NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_until = deadline.NEVER
        self._reset()

    def _reset(self) -> None:
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._large: LargeBody | None = None
        self._received = False

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

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, head: bytes, parts: Sequence[Buffer], size: int, until: float) -> HttpReply:
        assert self._transport is not None
        if self._transport.is_closing():
            raise StaleConnectionError
        self._reset()
        self._exchanges += 1
        self._end_at(until)
        self._waiter = self._loop.create_future()
        if size <= _JOINED_BYTES:
            self._transport.write(b"".join((head, *parts)))
        else:
            self._transport.writelines((head, *parts))
        try:
            return await self._waiter
        except BaseException:
            self.abort()
            raise
        finally:
            self._waiter = None

    def _end_at(self, until: float) -> None:
        """One timer serves many exchanges: it looks when it is due, and is set anew for an earlier deadline only."""
        self._until = until
        if until < self._timer_until or (self._timer is None and until != deadline.NEVER):
            self._set_timer(until)

    def _set_timer(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_until = until
        self._timer = self._loop.call_later(max(0.0, deadline.remaining(until)), self._look)

    def _look(self) -> None:
        self._timer, self._timer_until = None, deadline.NEVER
        if self._waiter is None or self._waiter.done() or self._until == deadline.NEVER:
            return
        if deadline.remaining(self._until) <= 0:
            self._fail(deadline.exceeded(f"while {self._url} was working on the call"))
        else:
            self._set_timer(self._until)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

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
        else:
            self._parse(waiter, self._buffer[:nbytes])

    def _parse(self, waiter: asyncio.Future[HttpReply], data: memoryview) -> None:
        self._received = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(InferenceError(Code.UNKNOWN, f"{self._url} answered with something that is not HTTP/1.1"))
            return
        if not waiter.done() and self._status >= 200:
            self._receive_the_rest()

    def _receive_the_rest(self) -> None:
        """Let a large body of known length pass the parser by."""
        length = self._headers.get(b"content-length", b"0")
        if b"transfer-encoding" in self._headers or not SMALLEST <= int(length) <= self._limit:
            return
        self._large = LargeBody(int(length), b"".join(self._chunks))
        self._chunks.clear()
        self._keep_alive = self._parser.should_keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep_alive = False
        if self._timer is not None:
            self._timer.cancel()
        if self._waiter is None or self._waiter.done():
            return
        if self._ends_with_connection():
            self._finish()
        elif self._exchanges > 1 and not self._received:
            self._fail(StaleConnectionError())
        else:
            self._fail(InferenceError(Code.UNAVAILABLE, f"{self._url} closed the connection before it had answered"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        length = self._headers.get(b"content-length", b"0")
        if len(length) > 20 or int(length) > self._limit:
            self._too_large()

    def on_body(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > self._limit:
            self._chunks.clear()
            self._too_large()

    def on_message_complete(self) -> None:
        if self._status < 200:
            self._reset()
            return
        self._keep_alive = self._parser.should_keep_alive()
        self._finish()

    def _ends_with_connection(self) -> bool:
        return self._status >= 200 and not self._headers.keys() & {b"content-length", b"transfer-encoding"}

    def _finish(self) -> None:
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

    def _too_large(self) -> None:
        self._fail(
            InferenceError(
                Code.TOO_LARGE,
                f"the reply of {self._url} exceeds the limit of {self._limit} bytes (MAX_MESSAGE_BYTES)",
            )
        )
