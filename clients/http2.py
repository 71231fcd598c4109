"""A lean gRPC client: unary calls over one HTTP/2 connection of our own, opened at the first call and again after a loss.

It carries what `clients/grpc_channel.py` carries by grpcio, for a third of the CPU or less, because it does less: one
address, one connection, one event loop, no retries but of requests that the service has not looked at, no proxies, no
load balancing, no compression.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from crossover.clients.grpc_tls import tls_of
from crossover.clients.http2_connection import Connection, RefusedError
from crossover.protocol import deadline
from crossover.protocol.errors import invalid
from crossover.protocol.version import VERSION
from crossover.protocol.wires import unix_path
from crossover.transport.grpc import messages as grpc
from crossover.transport.grpc.status import CallFailedError, Status

if TYPE_CHECKING:
    from crossover.protocol.tensors import Buffer
    from crossover.protocol.wires import Target
    from crossover.transport.grpc.messages import Metadata

CONNECT_SECONDS = 5.0
_ATTEMPTS = 2
"""A request that was not looked at is sent once more."""
_SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:", "passthrough:///")
_DEFAULT_PORT = 443
_CLOSED = Status(grpc.CANCELLED, "the client was closed")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gRPC target is."""

    host: str
    port: int
    unix: str = ""
    authority: str = "localhost"

    @staticmethod
    def of(target: str) -> Address:
        """host:port, [IPv6]:port, unix:PATH, with gRPC's own schemes too; INVALID_ARGUMENT for anything else."""
        if path := unix_path(target):
            return Address("", 0, path)
        text = target
        for scheme in _SCHEMES:
            text = text.removeprefix(scheme)
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host = None
        if not host or parts.path:
            raise invalid(f"'{target[:200]}' is not a gRPC address such as 127.0.0.1:8001")
        return Address(host, port or _DEFAULT_PORT, authority=parts.netloc)


class Http2Channel:
    """A `UnaryTransport` of unary calls to one address."""

    def __init__(self, target: Target) -> None:
        self._address = Address.of(target.grpc)
        self._target = target
        self._limit = target.max_message_bytes
        self._connection: Connection | None = None
        self._attempt: asyncio.Task[Connection | Status] | None = None

    def method(self, path: str) -> Http2Method:
        return Http2Method(self, path, self._address.authority, "https" if self._target.tls_ca else "http")

    @property
    def current(self) -> Connection | None:
        """The connection on which a call may begin at once."""
        connection = self._connection
        return connection if connection is not None and connection.usable else None

    async def connected(self, until: float) -> Connection:
        """A connection on which a call may begin; all who wait share one attempt to open it."""
        attempt = self._attempt
        if attempt is None or attempt.done():
            attempt = self._attempt = asyncio.create_task(self._connect(tls_of(self._target)))
        try:
            async with asyncio.timeout(deadline.timeout_of(until)):
                found = await asyncio.shield(attempt)
        except TimeoutError:
            raise CallFailedError(Status(grpc.DEADLINE_EXCEEDED, "Deadline Exceeded")) from None
        except asyncio.CancelledError:
            if attempt.cancelled():
                raise CallFailedError(_CLOSED) from None
            raise
        if isinstance(found, Status):
            raise CallFailedError(found)
        return found

    async def _connect(self, tls: ssl.SSLContext | None) -> Connection | Status:
        loop, address = asyncio.get_running_loop(), self._address

        def make() -> Connection:
            return Connection(loop, self._limit, self._forget)

        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if address.unix:
                    _, connection = await loop.create_unix_connection(
                        make, address.unix, ssl=tls, server_hostname=address.authority if tls else None
                    )
                else:
                    _, connection = await loop.create_connection(make, address.host, address.port, ssl=tls)
        except TimeoutError:
            return Status(grpc.UNAVAILABLE, f"no connection within {CONNECT_SECONDS:g} s")
        except ssl.SSLError:
            return Status(grpc.UNAVAILABLE, "the TLS handshake failed")
        except OSError as error:
            return Status(grpc.UNAVAILABLE, _reason(error))
        self._connection = connection
        return connection

    def _forget(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None

    async def close(self) -> None:
        """End the calls under way; a call after this opens another connection."""
        if self._attempt is not None and not self._attempt.done():
            self._attempt.cancel()
            await asyncio.wait([self._attempt])
        if self._connection is not None:
            self._connection.close(_CLOSED)


class Http2Method:
    """One unary method, see `transport.grpc.status.UnaryMethod`."""

    def __init__(self, channel: Http2Channel, path: str, authority: str, scheme: str) -> None:
        self._channel = channel
        self._fixed = (
            (":method", "POST"),
            (":scheme", scheme),
            (":path", path),
            (":authority", authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", f"grpc-python-crossover/{VERSION}"),
            ("grpc-accept-encoding", "identity"),
        )

    async def call(
        self, data: Buffer, until: float, metadata: tuple[tuple[str, str], ...], *, trailing: bool = False
    ) -> tuple[Buffer, Metadata]:
        for _ in range(_ATTEMPTS):
            connection = self._channel.current or await self._channel.connected(until)
            try:
                message, fields = await connection.call(self._fixed, data, until, metadata)
            except RefusedError:
                continue
            return message, grpc.metadata_in(fields) if trailing else ()
        raise CallFailedError(Status(grpc.UNAVAILABLE, "the request was refused"))


def _reason(error: OSError) -> str:
    """In words that `protocol.grpc_errors` knows."""
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "Connection refused"
    if error.errno is not None and error.errno < 0:  # getaddrinfo's own numbers
        return "hostname lookup error"
    return error.strerror or "the host cannot be reached"
