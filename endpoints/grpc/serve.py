"""A listening gRPC port: grpc.aio inside the caller's event loop."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from crossover.endpoints.grpc.listener import Listener
from crossover.protocol.wires import UNIX
from crossover.protos import inference as pb
from crossover.transport import addresses
from crossover.transport.grpcio.first_message import FirstMessages
from crossover.transport.grpcio.poller import patient_poller
from crossover.transport.grpcio.release import REQUEST_POOL
from crossover.transport.grpcio.request_pool import RequestPool

if TYPE_CHECKING:
    from crossover.endpoints.grpc.listener import Handlers
    from crossover.transport.tls import Tls

MOST_STREAMS = 1024
"""Calls under way on one connection; a client's library keeps more back. Without a bound (grpcio's default) calls that are
begun and reset at full speed fill the core's list of calls that nobody has taken yet, and it drops others' calls."""
HEAD_BYTES = 64 << 10
"""A call's metadata, as on our own HTTP/2 port. grpcio's default refuses at random between 8 and 16 KiB."""
HANDSHAKE_MS = 10_000
"""From a connection to its first SETTINGS frame."""
_POOLED = "ModelInfer"
"""The method whose calls come from a pool of requests."""


class GrpcListener(Listener):
    """By grpcio."""

    _server: Any
    _pool: RequestPool | None

    async def _open(self, handlers: Handlers) -> None:
        with patient_poller():
            server = aio.server(options=self._channel_options())
        server.add_generic_rpc_handlers(tuple(FirstMessages(handler) for handler in handlers))
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
        credentials = _credentials(self.tls) if self.tls is not None else None
        if self.host.startswith(UNIX):
            addresses.check_unix_free(self.host)
            self._add_port(server, self.host, credentials)
            return
        for address in addresses.numeric(self.host):
            self.port = self._add_port(server, f"{addresses.bracketed(address)}:{self.port}", credentials)

    def _add_port(self, server: Any, address: str, credentials: Any) -> int:
        try:
            if credentials is None:
                return int(server.add_insecure_port(address))
            return int(server.add_secure_port(address, credentials))
        except RuntimeError:
            raise addresses.refused(self.host, self.port) from None

    def _channel_options(self) -> list[tuple[str, int]]:
        # Twice the limit reaches us, so that the refusal is ours and names the setting; beyond that gRPC refuses.
        return [
            ("grpc.max_receive_message_length", 2 * self.options.max_message_bytes + (1 << 20)),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", int(self.options.shared)),
            ("grpc.max_concurrent_streams", MOST_STREAMS),
            ("grpc.max_metadata_size", HEAD_BYTES),
            ("grpc.absolute_max_metadata_size", HEAD_BYTES),
            ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            # Strikes cost more than the pings that they count: 230,000 pings whose acks nobody read held up every other
            # caller for 17 s. Without them the core's bound on unsent acks (10,000) ends such a connection, in 0.1 s.
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.keepalive_permit_without_calls", 1),
            *(
                (f"grpc.max_connection_{name}_ms", max(1, round(seconds * 1000)))
                for name, seconds in (("age", self.options.age.most), ("age_grace", self.options.age.grace))
                if seconds != math.inf
            ),
        ]


def _credentials(tls: Tls) -> Any:
    """Certificates that gRPC asks for at each handshake; ValueError, one sentence, when a file cannot be used."""
    current = tls.pem()
    certificates = current()

    def configuration() -> Any:
        key, cert, ca = certificates
        return grpc.ssl_server_certificate_configuration([(key, cert)], ca)

    def changed() -> Any:
        """None when nothing has."""
        nonlocal certificates
        now = current()
        if now is certificates:
            return None
        certificates = now
        return configuration()

    return grpc.dynamic_ssl_server_credentials(configuration(), changed, certificates[2] is not None)
