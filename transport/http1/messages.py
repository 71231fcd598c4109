"""Messages of HTTP/1.1 as the server's handlers see them: the head of a request, and a reply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from crossover.transport.http1.exchange import Exchange

Buffer: TypeAlias = bytes | bytearray | memoryview
Fields: TypeAlias = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class RequestHead:
    """Request line and fields, checked (RFC 9112 3 to 6). Clients repeat theirs, so one object may stand for many requests:
    only what follows from the head itself is noted on it.
    """

    method: str
    target: bytes
    """As it was sent, in origin, absolute or asterisk form."""
    path: bytes
    """Of the target, still percent-encoded; `*` for the asterisk form."""
    query: bytes
    version: str
    """`1.1`, or `1.0`."""
    fields: Fields
    """Lower-case names, in the order in which they came."""
    by_name: dict[str, str]
    """The fields' values; those of repeated ones joined by commas (RFC 9110 5.3)."""
    authority: str
    """Host and port that the request is for: the target's in absolute form, else Host's; empty for HTTP/1.0 without one."""
    length: int
    """Bytes of the body; `CHUNKED` when only its end will tell."""
    keep_alive: bool
    """Whether the client wants the connection to stay (RFC 9112 9.3)."""
    expects_continue: bool
    """It waits for `100 Continue` before it sends the body (RFC 9110 10.1.1)."""
    repeats: bool = False
    """Whether each of its lines has come before, so that it is worth remembering."""
    route: Any = None
    """What the application found for it."""
    passes: bool = False
    """Whether the gate lets every request with this head pass; found by the first one."""
    allowed: bool = False
    """Whether the application takes the method and the names in the path; found once for all requests with this head."""


CHUNKED = -1


@dataclass(slots=True)
class Reply:
    """A complete HTTP reply; `parts` are sent one after the other."""

    status: int
    headers: Fields
    parts: list[Buffer] = field(default_factory=list)


Gate: TypeAlias = Callable[["Exchange"], Reply | None]
"""Looks at a request's head before its body is read: None lets it in, a reply refuses it. What it adds to the exchange's
`added` fields goes with whatever reply follows."""


class RefusalError(Exception):
    """The connection itself refuses a request: a status, and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class BodyTooLargeError(Exception):
    """A body has more bytes than its handler takes."""


class NoMemoryError(Exception):
    """The bodies in flight hold all the memory that they may."""


class ClientGoneError(Exception):
    """The client closed the connection; there is nobody to answer."""
