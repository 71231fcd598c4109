"""How a gRPC reply begins and ends, as HTTP/2 brings it.

Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md, http-grpc-status-mapping.md, statuscodes.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from crossover.transport.grpc.messages import (
    CANCELLED,
    INTERNAL,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    UNKNOWN,
    metadata_in,
)  # fmt: skip
from crossover.transport.grpc.status import CallFailedError, Status
from crossover.transport.http2 import frames as http2

if TYPE_CHECKING:
    from crossover.transport.http2.frames import Fields

_OF_HTTP = {400: INTERNAL, 401: 16, 403: PERMISSION_DENIED, 404: UNIMPLEMENTED, 429: 14, 502: 14, 503: 14, 504: 14}
_OF_RESET = {
    http2.REFUSED_STREAM: UNAVAILABLE, http2.CANCEL: CANCELLED, http2.ENHANCE_YOUR_CALM: RESOURCE_EXHAUSTED,
    http2.INADEQUATE_SECURITY: PERMISSION_DENIED,
}  # fmt: skip


def check_begins(fields: Fields) -> None:
    """The first header fields of a reply; CallFailedError unless gRPC speaks."""
    if fields.get(b":status") != b"200":
        raise CallFailedError(_ended_by_http(fields))
    if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
        raise _failed(UNKNOWN, "what answers there does not speak gRPC")


def ended_by(fields: Fields) -> Status:
    """What the last header fields of a reply say."""
    status = fields.get(b"grpc-status", b"")
    if not status.isdigit():
        if fields.get(b":status", b"200") != b"200":
            return _ended_by_http(fields)
        return Status(UNKNOWN, "the reply ended without a gRPC status", metadata_in(fields))
    return Status(int(status), unquote(fields.get(b"grpc-message", b"").decode("latin-1")), metadata_in(fields))


def _ended_by_http(fields: Fields) -> Status:
    """A reply that gRPC did not make, by its HTTP status."""
    status = fields.get(b":status", b"").decode("latin-1")
    return Status(
        _OF_HTTP.get(int(status), UNKNOWN) if status.isdigit() else UNKNOWN, f"the reply has HTTP status {status}"
    )


def reset_by(code: int) -> Status:
    """What a RST_STREAM with this code says."""
    return Status(_OF_RESET.get(code, INTERNAL), f"the stream was reset (HTTP/2 error {code})")


def _failed(code: int, text: str) -> CallFailedError:
    return CallFailedError(Status(code, text))
