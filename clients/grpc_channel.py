"""grpcio's channel as the gRPC clients here use it."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from crossover.clients.grpc_tls import tls_of
from crossover.protocol.recording import Recording
from crossover.protocol.wires import Target
from crossover.transport.grpc.metadata import Metadata
from crossover.transport.grpc.status import ClientClosedError
from crossover.transport.grpcio.link import Link
from crossover.transport.grpcio.poller import patient_poller
from crossover.transport.silence import UNACKNOWLEDGED_SECONDS

if TYPE_CHECKING:
    from collections.abc import Coroutine

LEAST_KEEPALIVE_MS = 310_000
"""Default gRPC servers answer a ping within 300 s of the last one, without data between, with too_many_pings."""
RENEW_SECONDS = 0.02
_DEADLINE_EXCEEDED = 4
LONGEST_CONNECT_MS = 5000
"""How long one attempt to connect may take before callers are told; gRPC calls it the shortest backoff."""


class GrpcChannel:
    """A lazy channel; it connects at the first call, and again by itself, quickly, after the service was away.

    Silence is dealt with as transport/silence.py says: calls go to a fresh channel when this one does not answer. A call
    after `close` opens another.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.current: Link | None = None
        """The channel for the next call; None before the first one."""
        self._others: set[Link] = set()
        """Those that end, and those that are suspect."""
        self._suspects: set[Link] = set()
        self._asking: asyncio.Task[None] | None = None
        self._renewed_at = -math.inf

    def method(self, path: str) -> ChannelMethod:
        return ChannelMethod(self, path)

    def link(self) -> Link:
        """The channel for the next call, made at the first one, since it belongs to the event loop that runs then."""
        if self.current is None:
            with patient_poller():
                self.current = Link(_channel_to(self._target), self._ask, self._heard, self._suspects)
        return self.current

    def stream(self, path: str, metadata: tuple[tuple[str, str], ...] = ()) -> tuple[Any, Link]:
        """A new bidirectional stream, and what it is on; ClientClosedError when the channel is closed."""
        link = self.link()
        try:
            return link.channel.stream_stream(path)(metadata=metadata), link
        except aio.UsageError:
            raise ClientClosedError from None

    def renew(self) -> None:
        """Let new calls begin on a fresh connection, which a balancer may lead elsewhere."""
        now = time.monotonic()
        if now - self._renewed_at < RENEW_SECONDS:
            return
        self._renewed_at = now
        self._leave()

    def _leave(self) -> None:
        link, self.current = self.current, None
        if link is not None:
            self._others = {other for other in self._others if other.waits} | {link}
            link.retire()

    def _ask(self, link: Link) -> None:
        if link is self.current and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._asked(link))

    async def _asked(self, link: Link) -> None:
        if await link.asked() != _DEADLINE_EXCEEDED or link is not self.current:
            return
        self._suspects.add(link)
        self._leave()
        if link.waits:
            await self.link().asked()  # what answers there disproves the silent one, see `_heard`

    def _heard(self, link: Link) -> None:
        """An answer: what is silent beside it is given up, and it is itself above suspicion."""
        self._suspects.discard(link)
        if self._suspects and link is self.current:
            suspects = list(self._suspects)
            self._suspects.clear()
            for suspect in suspects:
                suspect.give_up()

    async def close(self) -> None:
        links = {*self._others, *self._suspects} | ({self.current} if self.current is not None else set())
        self.current = None
        self._others.clear()
        self._suspects.clear()
        if self._asking is not None:
            self._asking.cancel()
        for link in links:
            await link.close()


class ChannelMethod:
    """One method, see `transport.grpc.status.UnaryMethod`."""

    def __init__(self, channel: GrpcChannel, path: str) -> None:
        self._channel = channel
        self._path = path

    def call(
        self,
        data: bytes,
        until: float,
        metadata: tuple[tuple[str, str], ...],
        *,
        trailing: bool = False,
        recording: Recording | None = None,
    ) -> Coroutine[Any, Any, tuple[bytes, Metadata]]:
        channel = self._channel
        return (channel.current or channel.link()).call(self._path, data, until, metadata, trailing=trailing)


def _channel_to(target: Target) -> Any:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", target.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", LONGEST_CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", 500),
        ("grpc.keepalive_time_ms", LEAST_KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", round(UNACKNOWLEDGED_SECONDS * 1000)),  # becomes TCP_USER_TIMEOUT too
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if target.authority:
        options.append(("grpc.default_authority", target.authority))
        if target.tls_ca is not None:
            options.append(("grpc.ssl_target_name_override", target.authority.rpartition(":")[0].strip("[]")))
    if target.tls_ca is None:
        return aio.insecure_channel(target.grpc, options)
    tls_of(target)  # gRPC says nothing about files that it cannot use, so ssl reads them first
    ca, key, cert = (file.read_bytes() if file else None for file in (target.tls_ca, target.tls_key, target.tls_cert))
    return aio.secure_channel(target.grpc, grpc.ssl_channel_credentials(ca, key, cert), options)
