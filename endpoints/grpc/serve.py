"""A listening gRPC port: grpc.aio inside the caller's event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from crossover.endpoints.grpc.listener import Listener
from crossover.protocol.wires import UNIX
from crossover.protos import inference as pb
from crossover.transport import addresses
from crossover.transport.grpcio.poller import patient_poller
from crossover.transport.grpcio.release import REQUEST_POOL
from crossover.transport.grpcio.request_pool import RequestPool

if TYPE_CHECKING:
    from crossover.endpoints.grpc.listener import Handlers

SHORTEST_CLIENT_PING_MS = 10_000
"""Clients may send keepalive pings this often; gRPC's own floor of 5 minutes answers quicker ones with GOAWAY."""
_POOLED = "ModelInfer"
"""The method whose calls come from a pool of requests."""


class GrpcListener(Listener):
    """By grpcio."""

    _server: Any
    _pool: RequestPool | None

    async def _open(self, handlers: Handlers) -> None:
        with patient_poller():
            server = aio.server(options=self._channel_options())
        server.add_generic_rpc_handlers(tuple(handlers))
        pool = None
        if REQUEST_POOL.check():
            pool = RequestPool(server, handlers.of(f"/{pb.SERVICE}/{_POOLED}"), pb.SERVICE, _POOLED)
        try:
            self._bind(server)
            await server.start()
        except BaseException:
            await server.stop(None)
            raise
        self._server, self._pool = server, pool
        if pool is not None:
            pool.start()

    async def _close(self, grace_seconds: float) -> None:
        await self._server.stop(grace_seconds)
        if self._pool is not None:
            await self._pool.ended()

    def _bind(self, server: Any) -> None:
        if self.tls is not None:
            self.tls.server_context()  # says what is wrong with a file, where gRPC says nothing
        if self.host.startswith(UNIX):
            addresses.check_unix_free(self.host)
            self._add_port(server, self.host)
            return
        for address in addresses.numeric(self.host):
            self.port = self._add_port(server, f"{addresses.bracketed(address)}:{self.port}")

    def _add_port(self, server: Any, address: str) -> int:
        try:
            if self.tls is None:
                return int(server.add_insecure_port(address))
            key, cert, ca = self.tls.pem()
            credentials = grpc.ssl_server_credentials([(key, cert)], ca, require_client_auth=ca is not None)
            return int(server.add_secure_port(address, credentials))
        except RuntimeError:
            raise addresses.refused(self.host, self.port) from None

    def _channel_options(self) -> list[tuple[str, int]]:
        # Twice the limit reaches us, so that the refusal is ours and names the setting; beyond that gRPC refuses.
        return [
            ("grpc.max_receive_message_length", 2 * self.options.max_message_bytes + (1 << 20)),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", SHORTEST_CLIENT_PING_MS),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
