"""A listening gRPC port: grpc.aio inside the caller's event loop."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2_grpc

from endpoints.grpc import reflection
from endpoints.grpc.health import Health
from endpoints.grpc.servicer import GrpcOptions, Servicer

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

    async def start(self) -> None:
        """Bind and serve; OSError, one sentence, when the address cannot be bound."""
        self._server = server = aio.server(options=self._channel_options())
        server.add_generic_rpc_handlers((Servicer(self._inference, self._options, self._observer).handlers(),))
        health_pb2_grpc.add_HealthServicer_to_server(Health(self._inference), server)
        reflection.add_to(server)
        if self.host.startswith("unix:"):
            self._bind(server, self.host)
        else:
            for address in _addresses(self.host):
                self.port = self._bind(
                    server, f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
                )
        await server.start()

    def _bind(self, server: Any, address: str) -> int:
        try:
            if self._tls is None:
                return int(server.add_insecure_port(address))
            key, cert, ca = self._tls.pem()
            credentials = grpc.ssl_server_credentials([(key, cert)], ca, require_client_auth=ca is not None)
            return int(server.add_secure_port(address, credentials))
        except RuntimeError:
            raise OSError(f"cannot listen on {self.host} port {self.port}: {_why(self.host, self.port)}") from None

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
        """Accept nothing more, let calls in flight finish for at most `grace_seconds`, then end them."""
        if self._server is not None:
            await self._server.stop(grace_seconds)
            self._server = None


def _addresses(host: str) -> list[str]:
    """Numeric addresses that `host` means; OSError, one sentence, for a name that means none."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise OSError(f"cannot listen on '{host}': {error.strerror}") from None
    usable = [address for family, _, _, _, (address, *_) in found if _can_bind(family, str(address))]
    return [str(address) for address in dict.fromkeys(usable)] or [host]


def _can_bind(family: int, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _why(host: str, port: int) -> str:
    """GRPC tells no reason; binding once more by hand does."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        return error.strerror or "the address can't be bound"
    return "the address can't be bound"
