"""grpcio's channel as the gRPC clients here use it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc import aio

from crossover.clients.grpc_tls import tls_of
from crossover.protocol.wires import Target
from crossover.transport.grpc.status import ClientClosedError
from crossover.transport.grpcio.poller import patient_poller
from crossover.transport.grpcio.unary_call import GrpcioMethod

LONGEST_CONNECT_MS = 5000
"""How long one attempt to connect may take before callers are told; gRPC calls it the shortest backoff."""


class GrpcChannel:
    """A lazy channel; it connects at the first call, and again by itself, quickly, after the service was away.

    A call after `close` opens another.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._channel: Any = None
        self._methods: dict[str, GrpcioMethod] = {}

    def method(self, path: str) -> GrpcioMethod:
        if path not in self._methods:
            self._methods[path] = GrpcioMethod(self._opened(), path)
        return self._methods[path]

    def stream(self, path: str, metadata: tuple[tuple[str, str], ...] = ()) -> Any:
        """A new bidirectional stream; ClientClosedError when the channel is closed."""
        try:
            return self._opened().stream_stream(path)(metadata=metadata)
        except aio.UsageError:
            raise ClientClosedError from None

    def _opened(self) -> Any:
        """The channel, made at the first call, since it belongs to the event loop that runs then."""
        if self._channel is None:
            with patient_poller():
                self._channel = _channel_to(self._target)
        return self._channel

    async def close(self) -> None:
        channel, self._channel = self._channel, None
        for method in self._methods.values():
            method.close()
        self._methods.clear()
        if channel is not None:
            await asyncio.shield(channel.close())


def _channel_to(target: Target) -> Any:
    options = [
        ("grpc.max_receive_message_length", target.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", LONGEST_CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if target.tls_ca is None:
        return aio.insecure_channel(target.grpc, options)
    tls_of(target)  # gRPC says nothing about files that it cannot use, so ssl reads them first
    ca, key, cert = (file.read_bytes() if file else None for file in (target.tls_ca, target.tls_key, target.tls_cert))
    return aio.secure_channel(target.grpc, grpc.ssl_channel_credentials(ca, key, cert), options)
