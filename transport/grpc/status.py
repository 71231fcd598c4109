"""How a gRPC call ends, whichever library made it; what HTTP and HTTP/2 say where gRPC says nothing; and what carries
unary calls as bytes.

Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), http-grpc-status-mapping.md, statuscodes.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote, unquote

from crossover.protocol.errors import PortableError
from crossover.transport.grpc.metadata import Metadata, metadata_in
from crossover.transport.http2 import frames as http2

if TYPE_CHECKING:
    from crossover.protocol.recording import Recording
    from crossover.transport.http2.frames import Buffer
    from crossover.transport.http2.header_blocks import Fields

(
    OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
    RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS,
    UNAUTHENTICATED,
) = range(17)  # fmt: skip

_OF_HTTP = {
    400: INTERNAL, 401: UNAUTHENTICATED, 403: PERMISSION_DENIED, 404: UNIMPLEMENTED, 429: UNAVAILABLE,
    502: UNAVAILABLE, 503: UNAVAILABLE, 504: UNAVAILABLE,
}  # fmt: skip
_OF_RESET = {
    http2.REFUSED_STREAM: UNAVAILABLE, http2.CANCEL: CANCELLED, http2.ENHANCE_YOUR_CALM: RESOURCE_EXHAUSTED,
    http2.INADEQUATE_SECURITY: PERMISSION_DENIED,
}  # fmt: skip
_PLAIN_TEXT = " !#$&'()*+,/:;=?@[]~\"<>^`{|}"
"""What `grpc-message` shows as it is, beside letters, digits and -._ (Percent-Encoded in PROTOCOL-HTTP2.md)."""


@dataclass(frozen=True, slots=True)
class Status:
    """The end of a call."""

    code: int
    """gRPC's status number."""
    details: str
    trailing: Metadata = ()
    unprocessed: bool = False
    """Nobody can have looked at the call (transport/resending.py)."""


class CallFailedError(PortableError):
    """The call ended with another status than OK."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.details)
        self.status = status


def status_fields(code: int, details: str) -> list[tuple[str, str]]:
    """The trailers that say so."""
    fields = [("grpc-status", str(code))]
    if details:
        fields.append(("grpc-message", quote(details, safe=_PLAIN_TEXT)))
    return fields


def status_in(fields: Fields) -> Status:
    """What the last header fields of a reply say."""
    if fields.is_too_large:
        return Status(RESOURCE_EXHAUSTED, f"the reply's header list has {fields.size} bytes, more than are accepted")
    status = fields.get(b"grpc-status", b"")
    if not status.isdigit() or len(status) > 9:
        if fields.get(b":status", b"200") != b"200":
            return status_of_http(fields)
        return Status(UNKNOWN, "the reply ended without a gRPC status", metadata_in(fields))
    return Status(int(status), unquote(fields.get(b"grpc-message", b"").decode("latin-1")), metadata_in(fields))


def status_of_http(fields: Fields) -> Status:
    """A reply that gRPC did not make, by its HTTP status."""
    status = int(fields[b":status"])
    return Status(_OF_HTTP.get(status, UNKNOWN), f"the reply has HTTP status {status}")


def status_of_reset(code: int) -> Status:
    """What a RST_STREAM with this code says."""
    return Status(_OF_RESET.get(code, INTERNAL), f"the stream was reset (HTTP/2 error {code})")


class ClientClosedError(Exception):
    """A call was made after the client had been closed."""


class UnaryMethod(Protocol):
    """One unary method of a service, called with bytes."""

    async def call(
        self,
        data: bytes,
        until: float,
        metadata: tuple[tuple[str, str], ...],
        *,
        trailing: bool = False,
        recording: Recording | None = None,
    ) -> tuple[Buffer, Metadata]:
        """The reply to the message `data`, and its trailing metadata where they are wanted.

        A `recording` gets all header fields and frames, where the transport sees them.

        `until` is a deadline (see protocol/deadline.py). CallFailedError for every other status than OK;
        ClientClosedError when the transport is closed.
        """
        ...


class UnaryTransport(Protocol):
    """What carries unary calls. It opens no connection before the first call."""

    def method(self, path: str) -> UnaryMethod:
        """The method at `path`, such as ``/package.Service/Method``."""
        ...

    def renew(self) -> None:
        """Let new calls begin on a fresh connection, unless that was done a moment ago."""
        ...

    async def close(self) -> None:
        """End the calls under way and close the connection."""
        ...
