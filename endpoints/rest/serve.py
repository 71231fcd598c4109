"""A listening REST port: uvicorn (httptools) run inside the caller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from endpoints import addresses
from endpoints.rest.http1 import Http
from endpoints.rest.receiving import BUFFER_BYTES, Connection, Receiver
from protocol.wires import UNIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from endpoints.rest.types import ASGIApp
    from endpoints.tls import Tls

KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048
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


def _receiving(buffer: memoryview, takes_buffers: bool) -> Callable[..., Connection]:
    """What uvicorn makes its protocols with; all connections of a listener share the buffer that they receive with."""

    def protocol(**given: Any) -> Connection:
        http = Http(**given)
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
