"""A listening gRPC port: grpc.aio inside the caller's event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2_grpc

from endpoints import addresses
from endpoints.grpc import reflection
from endpoints.grpc.health import Health
from endpoints.grpc.servicer import GrpcOptions, Servicer
from protocol.wires import UNIX

if TYPE_CHECKING:
    from endpoints.metrics import Observer
    from endpoints.tls import Tls
    from protocol.inference import Inference

SHORTEST_CLIENT_PING_MS = 10_000
"""Clients may send keepalive pings this often; gRPC's own floor of 5 minutes answers quicker ones with GOAWAY."""


class GrpcListener:
    """Serves an `Inference` on one host and port (or `unix:PATH` as the host); `port` is the real one after `start`."""

    def __init__(
        self,
        inference: Inference,
        host: str,
        port: int,
        tls: Tls | None = None,
        options: GrpcOptions | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._tls = tls
        self._options = options or GrpcOptions()
        self._inference = inference
        self._observer = observer
        self._server: Any = None
        self._draining: asyncio.Event | None = None

    async def start(self) -> None:
        """Bind and serve; OSError or ValueError, one sentence, when the address or a certificate cannot be used."""
        server = aio.server(options=self._channel_options())
        servicer = Servicer(self._inference, self._options, self._observer)
        server.add_generic_rpc_handlers((servicer.handlers(),))
        health_pb2_grpc.add_HealthServicer_to_server(Health(self._inference, servicer.draining), server)
        reflection.add_to(server)
        try:
            self._bind(server)
            await server.start()
        except BaseException:
            await server.stop(None)
            raise
        self._server, self._draining = server, servicer.draining

    def _bind(self, server: Any) -> None:
        if self._tls is not None:
            self._tls.server_context()  # says what is wrong with a file, where gRPC says nothing
        if self.host.startswith(UNIX):
            addresses.check_unix_free(self.host)
            self._add_port(server, self.host)
            return
        for address in addresses.numeric(self.host):
            self.port = self._add_port(server, f"{addresses.bracketed(address)}:{self.port}")

    def _add_port(self, server: Any, address: str) -> int:
        try:
            if self._tls is None:
                return int(server.add_insecure_port(address))
            key, cert, ca = self._tls.pem()
            credentials = grpc.ssl_server_credentials([(key, cert)], ca, require_client_auth=ca is not None)
            return int(server.add_secure_port(address, credentials))
        except RuntimeError:
            raise addresses.refused(self.host, self.port) from None

    def _channel_options(self) -> list[tuple[str, int]]:
        # Twice the limit reaches us, so that the refusal is ours and names the setting; beyond that gRPC refuses.
        return [
            ("grpc.max_receive_message_length", 2 * self._options.max_message_bytes + (1 << 20)),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", SHORTEST_CLIENT_PING_MS),
            ("grpc.keepalive_permit_without_calls", 1),
        ]

    async def stop(self, grace_seconds: float) -> None:
        """Accept nothing more, let calls in flight finish for at most `grace_seconds`, then end them.

        Streams that would go on for ever (ModelStreamInfer, Watch) end as soon as what is under way on them is answered.
        """
        server, self._server = self._server, None
        if server is not None and self._draining is not None:
            self._draining.set()
            await server.stop(grace_seconds)
