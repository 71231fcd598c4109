"""A small HTTP/1.1 client: a pool of keep-alive connections to one origin.

It does what a call between two services needs (RFC 9112): one request at a time on a connection, lengths and chunks,
TLS, limits on the reply, cancellation that closes the connection. No redirects, cookies, proxies or content codings.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError, invalid, unreached
from crossover.protocol.wires import unix_path
from crossover.transport.http1.client_connection import (
    IDLE_SECONDS,
    ClientConnection,
    HttpReply,
    NoReplyError,
    ReplyLimits,
)
from crossover.transport.resending import may_send_again
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.protocol.tensors import Buffer

__all__ = ["HttpPool", "HttpReply", "Origin"]

CONNECT_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 2.0
"""For a connection of a full pool; never more than half of the time that a call has left."""
_BUFFER_BYTES = 256 << 10
_NEWEST_SHARE = 0.1
"""Of the mean time that calls hold a connection, what the newest call makes up."""


class Origin:
    """Where the requests go, from a base URL such as ``http://host:8000/prefix``, or from ``unix:PATH``."""

    def __init__(self, base_url: str, authority: str = "") -> None:
        """`authority`: host:port that the service is asked under, where that is not its address."""
        self.unix = unix_path(base_url)
        parts = urlsplit("http://localhost" if self.unix else base_url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise invalid(f"'{base_url[:200]}' is not a base URL such as http://127.0.0.1:8000")
        self.url = base_url
        self.secure = parts.scheme == "https"
        self.host = parts.hostname
        self.port = port or (443 if self.secure else 80)
        self.prefix = parts.path.rstrip("/")
        self.authority = authority or parts.netloc.rpartition("@")[2]
        self.server_name = urlsplit(f"//{authority}").hostname if authority and self.secure else None


class WaitingLine:
    """Places for calls, and a waiting line that is bounded in time instead of in length.

    A call that would wait longer than it may, judged by how long others hold their places, is refused when it comes.
    """

    def __init__(self, places: int, what: str) -> None:
        self.places = places
        self._what = what
        self._free = places
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mean = 0.0
        """Seconds that a call holds its place."""

    def take_now(self) -> bool:
        """Take a place if one is free."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def take(self, until: float) -> None:
        """Wait for a place, to be followed by `give_back`; OVERLOADED when it takes too long."""
        deadline.check(until, f"while the call waited for a {self._what}")
        longest = min(LONGEST_WAIT_SECONDS, deadline.remaining(until) / 2)
        if (len(self._waiting) + 1) * self._mean / self.places > longest:
            raise self._refused()
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            with TimeLimit(deadline.after(longest)):
                await place
        except BaseException as error:
            self._leave(place)
            if isinstance(error, TimeoutError):
                raise self._refused() from None
            raise

    def give_back(self, seconds: float) -> None:
        """The place was held for so long."""
        self._mean += _NEWEST_SHARE * (seconds - self._mean)
        self._pass_on()

    def _leave(self, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():
            self._pass_on()  # it was given at the moment when its caller gave up
        elif place in self._waiting:
            self._waiting.remove(place)

    def _pass_on(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _refused(self) -> InferenceError:
        return InferenceError(Code.OVERLOADED, f"no {self._what} is free: all {self.places} are in use")


class HttpPool:
    """At most `connections` connections to one origin, opened on demand; the last one used is used first.

    `max_reply_bytes` bounds a reply's body, and is what a refusal names; `slack_bytes` may come on top of it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        context: ssl.SSLContext | None = None,
        connections: int = 100,
        max_reply_bytes: int = 64 << 20,
        slack_bytes: int = 0,
        authority: str = "",
    ) -> None:
        self.origin = Origin(base_url, authority)
        self._context = (context or ssl.create_default_context()) if self.origin.secure else None
        self._limits = ReplyLimits(max_reply_bytes, slack_bytes)
        self._line = WaitingLine(connections, f"connection to {self.origin.url}")
        self._idle: list[ClientConnection] = []
        """The one used last at the end."""
        self._sweep: asyncio.TimerHandle | None = None
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._closed = False
        self._head = f" HTTP/1.1\r\nhost: {self.origin.authority}\r\n"

    def framed(self, headers: Sequence[tuple[str, str]], size: int) -> list[tuple[str, str]]:
        """All headers of a request with a body of `size` bytes, as `request` sends them."""
        return [("host", self.origin.authority), *headers, ("content-length", str(size))]

    async def request(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        parts: Sequence[Buffer],
        until: float = deadline.NEVER,
    ) -> HttpReply:
        """One exchange. UNAVAILABLE when the service cannot be reached or goes away before it has answered, OVERLOADED
        when no connection becomes free, DEADLINE_EXCEEDED when there is no answer at the deadline `until`, TOO_LARGE and
        UNKNOWN for a reply that is too large or malformed.

        A request that a kept-alive connection closed upon is sent once more where the rule of resending allows it.
        """
        size = sum(map(len, parts))
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        head = f"{method} {self.origin.prefix}{path}{self._head}{lines}content-length: {size}\r\n\r\n".encode(
            "latin-1", "replace"
        )
        line = self._line
        if not line.take_now():
            await line.take(until)
        began = time.monotonic()
        try:
            connection = self._take_idle(began)
            if connection is not None:
                try:
                    return await self._exchange(connection, head, parts, size, until)
                except NoReplyError:
                    self._drop_idle()
                    if not may_send_again(method, processed=True):
                        raise
            return await self._exchange(await self._connect(until), head, parts, size, until)
        finally:
            line.give_back(time.monotonic() - began)

    async def close(self) -> None:
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        self._drop_idle()

    def _take_idle(self, now: float) -> ClientConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.is_fresh(now):
                return connection
            connection.abort()
        return None

    def _keep(self, connection: ClientConnection) -> None:
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._give_up_idle)

    def _give_up_idle(self) -> None:
        """Close what has been idle for too long, and look again while there is something to look at."""
        self._sweep = None
        now = time.monotonic()
        kept = [connection for connection in self._idle if connection.usable and connection.is_fresh(now)]
        for connection in set(self._idle).difference(kept):
            connection.abort()
        self._idle = kept
        if kept:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS / 2, self._give_up_idle)

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort()

    def _suspect(self, silent: ClientConnection) -> None:
        """What has not been heard of since before a call that waits in silence may be as dead: new calls go elsewhere."""
        for connection in self._idle:
            if connection.heard_at <= silent.asked_at:
                connection.abort()
        self._idle = [connection for connection in self._idle if connection.usable]

    async def _exchange(
        self, connection: ClientConnection, head: bytes, parts: Sequence[Buffer], size: int, until: float
    ) -> HttpReply:
        reply = await connection.exchange(head, parts, size, until)
        if connection.usable and not self._closed:
            self._keep(connection)
        else:
            connection.abort()
        return reply

    async def _connect(self, until: float) -> ClientConnection:
        if self._closed:
            raise unreached(f"the client of {self.origin.url} is closed")
        loop, origin = asyncio.get_running_loop(), self.origin

        def make() -> ClientConnection:
            return ClientConnection(origin.url, self._limits, self._buffer, self._suspect)

        try:
            async with asyncio.timeout(max(0.0, min(CONNECT_SECONDS, deadline.remaining(until)))):
                if origin.unix:
                    _, connection = await loop.create_unix_connection(make, origin.unix)
                else:
                    _, connection = await loop.create_connection(
                        make, origin.host, origin.port, ssl=self._context, server_hostname=origin.server_name
                    )
        except TimeoutError:
            deadline.check(until, f"while {origin.url} was being connected to")
            raise unreached(f"{origin.url} did not accept a connection within {CONNECT_SECONDS:g} s") from None
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason
            raise unreached(f"no TLS connection to {origin.url}: {why}") from None
        except OSError as error:
            raise unreached(f"cannot connect to {origin.url}: {_reason(error)}") from None
        except ValueError:  # a name that cannot be one, such as a label of 64 characters
            raise unreached(f"cannot connect to {origin.url}: it is not a host name") from None
        return connection


def _reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return "connection refused"
    return (error.strerror or "the host cannot be reached").lower()
