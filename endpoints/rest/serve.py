"""A listening REST port: uvicorn run inside the caller's event loop, with connections of our own (transport/http1)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from crossover.endpoints.rest.answering import RestEndpoint
from crossover.endpoints.rest.gate import gate_of
from crossover.service.doors.response_fields import NO_STORE, SECURITY
from crossover.transport import addresses
from crossover.transport.http1.limits import Http1Limits
from crossover.transport.http1.release import RUNNER
from crossover.transport.http1.server import Http1Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from crossover.endpoints.rest.gate import Refuse
    from crossover.service.doors import Door
    from crossover.transport.http1.asgi import ASGIApp
    from crossover.transport.memory_budget import MemoryBudget
    from crossover.transport.tls import Tls

log = logging.getLogger("crossover.rest")
_ACCEPTED_AT_ONCE = 16
"""Connections that are accepted in one turn of the loop. libuv takes one for each socket that listens, so that under load
new connections would wait in the system's queue, where nobody can refuse them; hence the same socket several times."""
_LOOK_SECONDS = 0.02
_CANCELLED_SECONDS = 2.0
"""What requests that were ended at the end of the grace period have for saying so."""


class RestListener:
    """Serves an ASGI application on one host and port (or `unix:PATH` as the host); `port` is the real one after `start`.

    The requests of a `RestEndpoint` reach it without ASGI; what it leaves to its fallback goes there by ASGI.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        tls: Tls | None = None,
        *,
        access_log: bool = False,
        limits: Http1Limits | None = None,
        budget: MemoryBudget | None = None,
        door: Door | None = None,
        refuse: Refuse | None = None,
        shared: bool = False,
    ) -> None:
        """`door`: who may come in; `refuse`: the form of its refusals and of a connection's, where that depends on the path.

        `shared`: other processes listen on the same port.
        """
        self.host = host
        self.port = port
        endpoint = app if isinstance(app, RestEndpoint) else None
        self.http = Http1Server(
            endpoint.fallback or app if endpoint is not None else app,
            handler=endpoint,
            gate=gate_of(door, refuse) if door is not None else None,
            limits=limits,
            budget=budget,
            logs_access=access_log,
            refusal=refuse,
            always=[*SECURITY, *([NO_STORE] if door is not None and door.needs_keys else [])],
        )
        if endpoint is not None and endpoint.observer is not None:
            endpoint.observer.watch_connections("rest", self.http)
            endpoint.observer.watch_memory(self.http.budget)
        self._config = uvicorn.Config(
            app,
            http=cast(Any, self.http.protocol),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=access_log,
            server_header=False,
            proxy_headers=False,
            backlog=addresses.BACKLOG,
        )
        self._tls = tls
        self._shared = shared
        self._server: uvicorn.Server = _Server(self._config) if RUNNER.check() else _PlainServer(self._config)
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and serve; OSError when the address cannot be bound, RuntimeError when the app's start fails."""
        sockets = addresses.listening(self.host, self.port, shared=self._shared)
        self.port = addresses.port_of(sockets[0])
        sockets += [each.dup() for each in sockets for _ in range(_ACCEPTED_AT_ONCE - 1)]
        self._config.load()
        if self._tls is not None:
            self._config.ssl = self._tls.server_context()
        self._serving = asyncio.create_task(self._serve(sockets))
        while not self._server.started:
            if self._serving.done():
                addresses.close(sockets)
                raise RuntimeError(
                    "the application did not start; the log has the reason"
                ) from self._serving.exception()
            await asyncio.sleep(0.005)

    async def _serve(self, sockets: list[socket.socket]) -> None:
        try:
            await self._server.serve(sockets)
        except SystemExit:
            raise RuntimeError("the application's start-up failed") from None

    def drain(self) -> None:
        """Go on accepting and answering, but let every reply end its connection (`Connection: close`)."""
        self.http.drain()

    async def stop(self, grace_seconds: float) -> None:
        """Accept nothing more, let requests in flight finish for at most `grace_seconds`, then end them."""
        if self._serving is None:
            return
        self.drain()
        for server in getattr(self._server, "servers", ()):
            server.close()
        self.http.close_idle()
        await self._until_idle(grace_seconds)
        if self.http.tasks:
            log.warning("stopping: %d requests did not end within %g s", len(self.http.tasks), grace_seconds)
            self.http.cancel_requests()
            await self._until_idle(_CANCELLED_SECONDS)
        self.http.close()
        self._server.should_exit = True
        self._exit()
        await self._serving
        self._serving = None

    def _exit(self) -> None:
        if isinstance(self._server, _Server):
            self._server.exit()

    async def _until_idle(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.http.busy:  # noqa: ASYNC110 - what it looks at is many things
                    await asyncio.sleep(_LOOK_SECONDS)


class _PlainServer(uvicorn.Server):
    """uvicorn without signal handlers: the process that owns several listeners has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Server(_PlainServer):
    """The same without its ten wake-ups a second, and without its pauses when it ends: connections are ours to end."""

    _exiting: asyncio.Event

    async def main_loop(self) -> None:
        self._exiting = asyncio.Event()
        await self._exiting.wait()

    def exit(self) -> None:
        """Leave the loop at once."""
        self._exiting.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        addresses.close(sockets or [])
        for server in self.servers:
            await server.wait_closed()
        await self.lifespan.shutdown()
