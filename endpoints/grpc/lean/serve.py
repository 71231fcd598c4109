"""A listening gRPC port over our own HTTP/2."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from crossover.endpoints.grpc.errors import too_large
from crossover.endpoints.grpc.lean.connection import ServerConnection, Service
from crossover.endpoints.grpc.listener import Listener
from crossover.transport import addresses

if TYPE_CHECKING:
    from crossover.endpoints.grpc.listener import Handlers

_LAST_WORDS_SECONDS = 0.5
"""How long what was written at the end may take to leave."""


class LeanListener(Listener):
    """By `endpoints.grpc.lean.connection`."""

    _servers: list[asyncio.Server]
    _service: Service

    async def _open(self, handlers: Handlers) -> None:
        loop = asyncio.get_running_loop()
        tls = self.tls.server_context("h2") if self.tls is not None else None
        limit = self.options.max_message_bytes
        service = self._service = Service(handlers.of, limit, lambda size: too_large(size, limit, "request"))
        sockets = addresses.listening(self.host, self.port)
        self.port = addresses.port_of(sockets[0]) or self.port
        self._servers = [
            await loop.create_server(lambda: ServerConnection(loop, service), sock=bound, ssl=tls) for bound in sockets
        ]

    async def _close(self, grace_seconds: float) -> None:
        connections = self._service.connections
        for server in self._servers:
            server.close()
        for connection in list(connections):
            connection.retire()
        await self._emptied(grace_seconds)
        for connection in list(connections):
            connection.stop()
        await self._emptied(_LAST_WORDS_SECONDS)
        for connection in list(connections):
            connection.drop()

    async def _emptied(self, seconds: float) -> None:
        """Wait until the last connection has gone, for at most so long."""
        self._service.emptied.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._service.connections:
                    await self._service.emptied.wait()
