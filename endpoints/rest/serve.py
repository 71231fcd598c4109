"""A listening REST port: uvicorn (httptools) run inside the caller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from endpoints import addresses
from endpoints.rest.receiving import BUFFER_BYTES, Connection, Receiver, length_of
from protocol.large_body import LargeBody
from protocol.wires import UNIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from endpoints.rest.types import ASGIApp
    from endpoints.tls import Tls

KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048
_JOINED_BYTES = 64 << 10
_UPGRADE_HEADERS = frozenset({b"upgrade", b"connection", b"http2-settings"})
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""A name such as localhost may mean ::1 where IPv6 is switched off; one address that works is enough."""


class RestListener:
    """Serves an ASGI application on one host and port (or `unix:PATH` as the host); `port` is the real one after `start`."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        tls: Tls | None = None,
        *,
        access_log: bool = False,
        keep_alive_seconds: int = KEEP_ALIVE_SECONDS,
    ) -> None:
        self.host = host
        self.port = port
        self._config = uvicorn.Config(
            app,
            http=cast(Any, _receiving(memoryview(bytearray(BUFFER_BYTES)), getattr(app, "takes_buffers", False))),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=access_log,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_seconds,
            backlog=_BACKLOG,
        )
        self._tls = tls
        self._server = _Server(self._config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and serve; OSError when the address cannot be bound, RuntimeError when the app's start fails."""
        if self.host.startswith(UNIX):
            sockets = [addresses.unix_socket(self.host, _BACKLOG)]
        else:
            sockets = _bound(self.host, self.port)
            self.port = sockets[0].getsockname()[1]
        self._config.load()
        if self._tls is not None:
            self._config.ssl = self._tls.server_context()
        self._serving = asyncio.create_task(self._server.serve(sockets))
        while not self._server.started:
            if self._serving.done():
                _close(sockets)
                raise RuntimeError(
                    "the application did not start; the log has the reason"
                ) from self._serving.exception()
            await asyncio.sleep(0.005)

    async def stop(self, grace_seconds: float) -> None:
        """Accept nothing more, let requests in flight finish for at most `grace_seconds`, then end them."""
        if self._serving is None:
            return
        self._config.timeout_graceful_shutdown = grace_seconds  # type: ignore[assignment]
        self._server.should_exit = True
        await self._serving
        self._serving = None


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the process that owns several listeners has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            raise RuntimeError("the application's start-up failed") from None


class _Joined:
    """Stands for the transport while the head and the first piece of a reply are made, which then leave together."""

    __slots__ = ("_closed", "_parts", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._parts: list[Any] = []
        self._closed = False

    def write(self, data: Any) -> None:
        self._parts.append(data)

    def close(self) -> None:
        self._closed = True

    def is_closing(self) -> bool:
        return bool(self._transport.is_closing())

    def flush(self) -> None:
        if self.is_closing():  # the client has gone
            return
        if sum(map(len, self._parts)) <= _JOINED_BYTES:
            self._transport.write(b"".join(self._parts))
        else:
            self._transport.writelines(self._parts)
        if self._closed:
            self._transport.close()


class _Cycle(RequestResponseCycle):
    """uvicorn's cycle of one request, with one write instead of two: each is a system call and, with TCP_NODELAY, a
    packet. Replies without a length are streams, whose head is not held back.
    """

    _start: dict[str, Any] | None = None

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and any(
            name == b"content-length" for name, _ in message["headers"]
        ):
            self._start = message
            return
        if self._start is None:
            await super().send(message)
            return
        start, self._start = self._start, None
        transport, joined = self.transport, _Joined(self.transport)
        self.transport = cast(asyncio.Transport, joined)
        try:
            await super().send(start)  # type: ignore[arg-type]
            await super().send(message)
        finally:
            self.transport = transport
            joined.flush()


class _LargeCycle(_Cycle):
    """A cycle whose body is received as a whole, and handed over without a copy."""

    whole: bytes | memoryview | None = None

    async def receive(self) -> Any:
        message = await super().receive()
        if self.whole is not None and message["type"] == "http.request":
            message["body"], self.whole = cast(bytes, self.whole), None
        return message


class _Http(HttpToolsProtocol):
    """Adds what uvicorn leaves out: TCP_NODELAY whatever socket accepted, bodies of requests that ask for an upgrade,
    OIP's error form for malformed HTTP, and large bodies without copies.
    """

    body: LargeBody | None = None
    takes_buffers = False
    """Whether the application takes bodies as memoryviews; ASGI has bytes."""
    _head_is_new = False

    def connection_made(self, transport: Any) -> None:
        accepted = transport.get_extra_info("socket")
        if accepted is not None and accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = _Cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: Any) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(bytes(data[upgrade.args[0] :]))
        else:
            if self._head_is_new:
                self._head_is_new = False
                if self.cycle.more_body:
                    self._begin_large_body()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._head_is_new = True

    def _begin_large_body(self) -> None:
        """Let the rest of the body pass the parser by. Nobody has read of it yet: the request's task has not run."""
        size, boundary = length_of(self.headers)
        cycle = self.cycle
        if not size or self.pipeline or len(cycle.body) >= size:
            return
        self.body = LargeBody(size, cycle.body, boundary)
        cycle.body = bytearray()
        cycle.message_event.clear()
        cycle.__class__ = _LargeCycle
        self.flow.resume_reading()

    def body_received(self) -> None:
        """The large body is whole: the request goes on, and a fresh parser waits for the next."""
        body, self.body = self.body, None
        assert body is not None
        self._unset_keepalive_if_required()
        if isinstance(self.cycle, _LargeCycle):
            self.cycle.whole = body.memory.toreadonly() if self.takes_buffers else bytes(body.memory)
        self.on_message_complete()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _should_upgrade(self) -> bool:
        return True

    def _without_upgrade(self, rest: bytes) -> None:
        """Read the request again without its Upgrade, which a server may ignore (RFC 9110 7.8).

        The parser stops at the end of the head of such a request, so its body would be lost; curl --http2 and Java's
        client ask for h2c with every first request.
        """
        if self.scope["method"] == "CONNECT":
            self.send_400_response("")
            return
        lines = [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name not in _UPGRADE_HEADERS]
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (self.scope["method"].encode(), self.url, b"".join(lines))
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        body = b'{"error":"the request is not valid HTTP/1.1","code":"INVALID_ARGUMENT"}'
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()


def _receiving(buffer: memoryview, takes_buffers: bool) -> Callable[..., Connection]:
    """What uvicorn makes its protocols with; all connections of a listener share the buffer that they receive with."""

    def protocol(**given: Any) -> Connection:
        http = _Http(**given)
        http.takes_buffers = takes_buffers
        return Connection(cast(Receiver, http), buffer)

    return protocol


def _bound(host: str, port: int) -> list[socket.socket]:
    """Sockets on every address that `host` means, all with the same port."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(f"cannot listen on '{host}': {error.strerror}") from None
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    for family, kind, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(_listening(family, kind, (address[0], port, *address[2:])))
            port = sockets[0].getsockname()[1]
        except OSError as error:
            refused = error
            if error.errno not in _NO_SUCH_ADDRESS:
                break
    if refused is not None and (not sockets or refused.errno not in _NO_SUCH_ADDRESS):
        _close(sockets)
        raise OSError(f"cannot listen on {host} port {port}: {refused.strerror}")
    return sockets


def _listening(family: int, kind: int, address: tuple[Any, ...]) -> socket.socket:
    bound = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
