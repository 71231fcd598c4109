"""A listening REST port: uvicorn (httptools) run inside the caller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from crossover.endpoints.rest.direct import Heads
from crossover.endpoints.rest.http1 import Http
from crossover.endpoints.rest.receiving import BUFFER_BYTES, Connection, Receiver
from crossover.transport import addresses

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator

    from crossover.endpoints.rest.types import ASGIApp
    from crossover.transport.tls import Tls

KEEP_ALIVE_SECONDS = 75


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
            http=cast(Any, _receiving(app)),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=access_log,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=keep_alive_seconds,
            backlog=addresses.BACKLOG,
        )
        self._tls = tls
        self._server = _Server(self._config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and serve; OSError when the address cannot be bound, RuntimeError when the app's start fails."""
        sockets = addresses.listening(self.host, self.port)
        self.port = addresses.port_of(sockets[0])
        self._config.load()
        if self._tls is not None:
            self._config.ssl = self._tls.server_context()
        self._serving = asyncio.create_task(self._server.serve(sockets))
        while not self._server.started:
            if self._serving.done():
                addresses.close(sockets)
                raise RuntimeError(
                    "the application did not start; the log has the reason"
                ) from self._serving.exception()
            await asyncio.sleep(0.005)

    async def stop(self, grace_seconds: float) -> None:
        """Accept nothing more, let requests in flight finish for at most `grace_seconds`, then end them."""
        if self._serving is None:
            return
        self._config.timeout_graceful_shutdown = grace_seconds  # type: ignore[assignment]
        self._server.exit()
        await self._serving
        self._serving = None


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: the process that owns several listeners has its own."""

    _exiting: asyncio.Event

    async def main_loop(self) -> None:
        """Once a second replies get a new date; uvicorn itself wakes up ten times a second to look whether to stop."""
        self._exiting = asyncio.Event()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._exiting.wait()

    def exit(self) -> None:
        """Leave the loop at once."""
        self.should_exit = True
        self._exiting.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn has it, but for its tenth of a second where nobody is connected."""
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            server.close()
        addresses.close(sockets or [])
        for server in self.servers:
            await server.wait_closed()
        await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit:
            raise RuntimeError("the application's start-up failed") from None


def _receiving(app: ASGIApp) -> Callable[..., Connection]:
    """What uvicorn makes its protocols with; all connections of a listener share the buffer that they receive with."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    takes_buffers = getattr(app, "takes_buffers", False)
    heads = Heads() if hasattr(app, "short_way") else None

    def protocol(**given: Any) -> Connection:
        http = Http(**given)
        http.takes_buffers, http.heads = takes_buffers, heads
        if heads is not None:
            http.app = app  # past what uvicorn puts around an application
        return Connection(cast(Receiver, http), buffer)

    return protocol
