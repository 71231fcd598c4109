"""A lean gRPC client: unary calls to one address over HTTP/2, connected at the first call and again after a loss.

It carries what grpcio's channel carries for a third of the CPU or less, because it does less: one address, one
connection, one event loop, no retries but of requests that nobody has looked at, no proxies, no load balancing, no
compression.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from crossover.protocol import deadline
from crossover.protocol.wires import unix_path
from crossover.transport.grpc import status
from crossover.transport.grpc.client_connection import ClientConnection, RefusedError, UnsentError
from crossover.transport.grpc.metadata import Metadata, metadata_in
from crossover.transport.grpc.status import CallFailedError, Status
from crossover.transport.resending import MOST_ATTEMPTS

if TYPE_CHECKING:
    from crossover.protocol.recording import Recording
    from crossover.transport.http2.frames import Buffer

RENEW_SECONDS = 0.02
MOST_CONNECTIONS = 10
"""How many connections a call may find ended before it begins: they end while a service behind a balancer leaves."""
CONNECT_SECONDS = 5.0
_SCHEMES = ("dns:///", "dns:", "ipv4:", "ipv6:", "passthrough:///")
_DEFAULT_PORT = 443
_CLOSED = Status(status.CANCELLED, "the client was closed")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gRPC target is."""

    host: str
    port: int
    unix: str = ""
    authority: str = "localhost"
    server_name: str | None = None
    """What the certificate is for, where that is not the host."""

    @staticmethod
    def of(target: str) -> Address:
        """host:port, [IPv6]:port, unix:PATH, with gRPC's own schemes too; ValueError, one sentence, for anything else."""
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
            raise ValueError(f"'{target[:200]}' is not a gRPC address such as 127.0.0.1:8001")
        return Address(host, port or _DEFAULT_PORT, authority=parts.netloc)


class Channel:
    """Calls to one address. `tls` is asked at each connecting, None where there is none."""

    def __init__(
        self,
        address: Address,
        *,
        limit: int,
        user_agent: str,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """`limit`: bytes of the largest reply."""
        self._address = address
        self._limit = limit
        self._user_agent = user_agent
        self._tls = tls
        self._connection: ClientConnection | None = None
        self._others: set[ClientConnection] = set()
        """Those that end, and those that are suspect."""
        self._attempt: asyncio.Task[ClientConnection | Status] | None = None
        self._renewed_at = -math.inf

    def method(self, path: str) -> ChannelMethod:
        """The method at `path`, such as ``/package.Service/Method``."""
        fixed = (
            (":method", "POST"),
            (":scheme", "http" if self._tls is None else "https"),
            (":path", path),
            (":authority", self._address.authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", self._user_agent),
            ("grpc-accept-encoding", "identity"),
        )
        return ChannelMethod(self, fixed)

    @property
    def current(self) -> ClientConnection | None:
        """The connection on which a call may begin at once."""
        connection = self._connection
        return connection if connection is not None and connection.usable else None

    async def connected(self, until: float) -> ClientConnection:
        """A connection on which a call may begin; all who wait share one attempt to open it."""
        attempt = self._attempting()
        try:
            async with asyncio.timeout(deadline.timeout_of(until)):
                found = await asyncio.shield(attempt)
        except TimeoutError:
            raise CallFailedError(Status(status.DEADLINE_EXCEEDED, "Deadline Exceeded")) from None
        except asyncio.CancelledError:
            if attempt.cancelled():
                raise CallFailedError(_CLOSED) from None
            raise
        if isinstance(found, Status):
            raise CallFailedError(found)
        return found

    def _attempting(self) -> asyncio.Task[ClientConnection | Status]:
        """The one attempt to connect that is under way, or a new one."""
        if self._attempt is None or self._attempt.done():
            tls = self._tls() if self._tls is not None else None
            self._attempt = asyncio.create_task(self._connect(tls))
        return self._attempt

    async def _connect(self, tls: ssl.SSLContext | None) -> ClientConnection | Status:
        loop, address = asyncio.get_running_loop(), self._address
        connection = ClientConnection(loop, self._limit, self._changed)
        ended: Status
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if address.unix:
                    await loop.create_unix_connection(
                        lambda: connection.socket,
                        address.unix,
                        ssl=tls,
                        server_hostname=address.authority if tls else None,
                    )
                else:
                    await loop.create_connection(
                        lambda: connection.socket,
                        address.host,
                        address.port,
                        ssl=tls,
                        server_hostname=address.server_name if tls else None,
                    )
        except TimeoutError:
            ended = _unconnected(f"no connection within {CONNECT_SECONDS:g} s")
        except ssl.SSLError:
            ended = _unconnected("the TLS handshake failed")
        except OSError as error:
            ended = _unconnected(_reason(error))
        except ValueError:  # a name that cannot be one, such as a label of 64 characters
            ended = _unconnected("hostname lookup error")
        else:
            self._connection = connection
            return connection
        connection.close(ended)
        return ended

    def _changed(self, connection: ClientConnection) -> None:
        """A connection has been answered for the first time, takes no new calls any more or takes them again, or is over."""
        if connection.is_over:
            self._others.discard(connection)
            if self._connection is connection:
                self._connection = None
        elif not connection.usable:
            self._others.add(connection)
            if self._connection is connection:
                self._connection = None
            if connection.suspect_since is not None:
                self._attempting()  # whether the service answers elsewhere
        elif self._connection is None or not (self._connection is connection or self._connection.has_settled):
            if self._connection is not None:
                self._others.add(self._connection)  # nobody has answered there yet
            self._others.discard(connection)
            self._connection = connection
        elif self._connection is not connection:
            connection.drain()  # it was suspect, and another has taken its place
        elif connection.has_settled:
            for other in [other for other in self._others if other.suspect_since is not None]:
                other.disprove()

    def renew(self) -> None:
        """Let new calls begin on a fresh connection, which a balancer may lead elsewhere."""
        now = time.monotonic()
        if now - self._renewed_at < RENEW_SECONDS:
            return
        self._renewed_at = now
        if self._connection is not None:
            self._connection.drain()

    async def close(self) -> None:
        """End the calls under way; a call after this opens another connection."""
        if self._attempt is not None and not self._attempt.done():
            self._attempt.cancel()
            await asyncio.wait([self._attempt])
        connections = {*self._others} | ({self._connection} if self._connection is not None else set())
        for connection in connections:
            connection.close(_CLOSED)


class ChannelMethod:
    """One unary method."""

    def __init__(self, channel: Channel, fixed: tuple[tuple[str, str], ...]) -> None:
        self._channel = channel
        self._fixed = fixed

    async def call(
        self,
        data: Buffer,
        until: float,
        metadata: tuple[tuple[str, str], ...],
        *,
        trailing: bool = False,
        recording: Recording | None = None,
    ) -> tuple[Buffer, Metadata]:
        """The reply to the message `data`, and its trailing metadata where they are wanted.

        `until` is a deadline (see protocol/deadline.py). CallFailedError for every other status than OK.
        """
        attempts = 0
        for _ in range(MOST_CONNECTIONS):
            connection = self._channel.current or await self._channel.connected(until)
            try:
                message, fields = await connection.call(self._fixed, data, until, metadata, recording)
            except UnsentError:
                continue
            except RefusedError:
                attempts += 1
                if attempts == MOST_ATTEMPTS:
                    break
                continue
            return message, metadata_in(fields) if trailing else ()
        raise CallFailedError(_unconnected("the request was refused"))


def _unconnected(why: str) -> Status:
    return Status(status.UNAVAILABLE, why, unprocessed=True)


def _reason(error: OSError) -> str:
    """In the words of gRPC's core."""
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "Connection refused"
    if error.errno is not None and error.errno < 0:  # getaddrinfo's own numbers
        return "hostname lookup error"
    return error.strerror or "the host cannot be reached"
