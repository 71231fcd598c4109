"""What a client of an HTTP/1.1 port may make it hold, and for how long it may let it wait."""

from __future__ import annotations

from dataclasses import dataclass

from crossover.transport.connection_age import ENDLESS, ConnectionAge

MAX_HEAD_BYTES = 64 << 10
"""Request line and fields together; more is 431 (RFC 6585 5)."""
MAX_FIELDS = 100
"""Header fields of a request, and of its trailer section."""
MAX_TARGET_BYTES = 16 << 10
"""The request target; more is 414 (RFC 9110 15.5.15)."""
MAX_TRAILER_BYTES = 16 << 10
"""The trailer section of a chunked body; it is read and dropped (RFC 9110 6.5.1)."""
MAX_CHUNK_LINE_BYTES = 4 << 10
"""One chunk's size and extensions."""
MAX_EXTENSION_BYTES = 64 << 10
"""Chunk extensions of a whole body; they are read and dropped (RFC 9112 7.1.1)."""

LOOKAHEAD_BYTES = 64 << 10
"""What is read ahead of the request that is being answered; then reading pauses."""
UNREAD_BODY_BYTES = 64 << 10
"""A body that its handler does not want is read and dropped up to this declared size; a larger one ends the connection."""
STREAMED_BYTES = 64 << 10
"""What is read ahead of a handler that takes its body in pieces."""
LINGER_BYTES = 256 << 20
LINGER_SECONDS = 10.0
LINGER_IDLE_SECONDS = 2.0
"""What is read and dropped after a refusal, in all, in time, and without a byte, so that the client gets to read the
refusal (RFC 9112 9.6)."""
MIN_BODY_RATE = 500.0
"""Bytes a second below which a body has made no progress, however regularly they drip."""
HALF_CLOSED_SECONDS = 1.0
"""How long a client that has closed its sending side is taken for one that still reads, before it is asked."""
STALLED_SECONDS = 1.0
"""How long a client may read nothing of its reply while unread replies take the memory that others need."""
DRAIN_IDLE_SECONDS = 1.0
"""How long a connection may be without a request while the service drains."""


@dataclass(frozen=True, slots=True)
class Http1Limits:
    """The bounds that an operator may set."""

    head_seconds: float = 20.0
    """From a connection's start, or the first byte of a further request, to the end of its head; then 408."""
    body_seconds: float = 30.0
    """Without progress of a body; then 408."""
    write_seconds: float = 60.0
    """Without progress of a reply; then the connection is aborted."""
    keep_alive_seconds: float = 75.0
    """Between two requests."""
    age: ConnectionAge = ENDLESS
    """After which a connection ends with its next reply; a request is never cut off, so the grace is not needed."""
    max_connections: int = 10_000
    """Of one listener; further ones are answered 503 and closed."""
