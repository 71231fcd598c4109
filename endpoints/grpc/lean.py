"""A gRPC port without grpcio's core: the same handlers, served by `transport.grpc` (MODEL_SERVER_GRPC_LIBRARY=lean)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from crossover.endpoints.grpc.errors import too_large, trailing_of
from crossover.endpoints.grpc.listener import Listener
from crossover.transport import addresses
from crossover.transport.grpc.server import ServerConnection, Service
from crossover.transport.grpc.status import Status

if TYPE_CHECKING:
    from crossover.endpoints.grpc.listener import Handlers
    from crossover.endpoints.grpc.servicer import GrpcOptions

_LAST_WORDS_SECONDS = 0.5
"""How long what was written at the end may take to leave."""


class LeanListener(Listener):
    """By `transport.grpc.server`."""

    _servers: list[asyncio.Server]
    _service: Service

    async def _open(self, handlers: Handlers) -> None:
        loop = asyncio.get_running_loop()
        tls = self.tls.server_context("h2") if self.tls is not None else None
        service = self._service = service_of(handlers, self.options)
        sockets = addresses.listening(self.host, self.port, shared=self.options.shared)
        self.port = addresses.port_of(sockets[0]) or self.port
        self._servers = [
            await loop.create_server(lambda: ServerConnection(loop, service).socket, sock=bound, ssl=tls)
            for bound in sockets
        ]

    def drain(self) -> None:
        """GOAWAY on the connections that there are: calls on them end well, new ones come on new connections."""
        super().drain()
        for connection in list(self._service.connections):
            connection.drain()

    async def _close(self, grace_seconds: float) -> None:
        connections = self._service.connections
        for server in self._servers:
            server.close()
        for connection in list(connections):
            connection.drain()
        await self._emptied(grace_seconds)
        for connection in list(connections):
            connection.stop()
        await self._emptied(_LAST_WORDS_SECONDS)
        for connection in list(connections):
            connection.socket.abort()

    async def _emptied(self, seconds: float) -> None:
        """Wait until the last connection has gone, for at most so long."""
        self._service.emptied.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._service.connections:
                    await self._service.emptied.wait()


def service_of(handlers: Handlers, options: GrpcOptions) -> Service:
    """What `transport.grpc` has to know of a port."""
    limit, timeout_ms = options.max_message_bytes, options.default_timeout_ms

    def refusal(size: int) -> Status:
        error = too_large(size, limit, "request")
        return Status(error.code.status.grpc, error.message, trailing_of(error))

    return Service(handlers.of, limit, refusal, timeout_ms / 1000 if timeout_ms else None, age=options.age)
