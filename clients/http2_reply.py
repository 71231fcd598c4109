"""A gRPC reply as HTTP/2 brings it: one message in pieces, and how the call ended.

Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md, http-grpc-status-mapping.md, statuscodes.md).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING
from urllib.parse import unquote

from clients.grpc_status import CallFailedError, Ended, Metadata
from protocol import http2

if TYPE_CHECKING:
    from protocol.http2 import Fields
    from protocol.tensors import Buffer

PREFIX_BYTES = 5
"""Before every message: a byte that is 1 when it is compressed, and its length."""
CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = (
    1, 2, 4, 7, 8, 12, 13, 14,
)  # fmt: skip
_OF_HTTP = {400: INTERNAL, 401: 16, 403: PERMISSION_DENIED, 404: UNIMPLEMENTED, 429: 14, 502: 14, 503: 14, 504: 14}
_OF_RESET = {
    http2.REFUSED_STREAM: UNAVAILABLE, http2.CANCEL: CANCELLED, http2.ENHANCE_YOUR_CALM: RESOURCE_EXHAUSTED,
    http2.INADEQUATE_SECURITY: PERMISSION_DENIED,
}  # fmt: skip
_NOT_METADATA = {"grpc-status", "grpc-message", "content-type"}


def prefixed(size: int) -> bytes:
    """What stands before a message of `size` bytes that is not compressed."""
    return b"\0" + size.to_bytes(4, "big")


class Message:
    """The one message of a unary reply, as its pieces come."""

    __slots__ = ("_limit", "_pieces", "_size", "_whole")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[Buffer] = []
        self._size = 0
        self._whole = PREFIX_BYTES
        """Bytes of the message with its prefix, as far as is known."""

    def add(self, piece: Buffer) -> None:
        """One more piece; CallFailedError when this cannot become one message within the limit."""
        known = self._size >= PREFIX_BYTES
        self._pieces.append(piece)
        self._size += len(piece)
        if not known and self._size >= PREFIX_BYTES:
            self._begin()
        if self._size > self._whole and self._size > PREFIX_BYTES:
            raise _failed(INTERNAL, "the reply has more than one message")

    def _begin(self) -> None:
        start = bytes(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))[:PREFIX_BYTES]
        size = int.from_bytes(start[1:], "big")
        if start[0]:
            raise _failed(INTERNAL, "the reply is compressed, which was not asked for")
        if size > self._limit:
            raise _failed(RESOURCE_EXHAUSTED, f"Received message larger than max ({size} vs. {self._limit})")
        self._whole = PREFIX_BYTES + size

    @property
    def is_whole(self) -> bool:
        return self._size == self._whole and self._size >= PREFIX_BYTES

    def content(self) -> Buffer:
        """The message without its prefix."""
        if len(self._pieces) == 1:
            return self._pieces[0][PREFIX_BYTES:]
        return memoryview(b"".join(self._pieces))[PREFIX_BYTES:]


def check_begins(fields: Fields) -> None:
    """The first header fields of a reply; CallFailedError unless gRPC speaks."""
    if fields.get(b":status") != b"200":
        raise CallFailedError(_ended_by_http(fields))
    if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
        raise _failed(UNKNOWN, "what answers there does not speak gRPC")


def ended_by(fields: Fields) -> Ended:
    """What the last header fields of a reply say."""
    status = fields.get(b"grpc-status", b"")
    if not status.isdigit():
        if fields.get(b":status", b"200") != b"200":
            return _ended_by_http(fields)
        return Ended(UNKNOWN, "the reply ended without a gRPC status", metadata_in(fields))
    return Ended(int(status), unquote(fields.get(b"grpc-message", b"").decode("latin-1")), metadata_in(fields))


def _ended_by_http(fields: Fields) -> Ended:
    """A reply that gRPC did not make, by its HTTP status."""
    status = fields.get(b":status", b"").decode("latin-1")
    return Ended(
        _OF_HTTP.get(int(status), UNKNOWN) if status.isdigit() else UNKNOWN, f"the reply has HTTP status {status}"
    )


def reset_by(code: int) -> Ended:
    """What a RST_STREAM with this code says."""
    return Ended(_OF_RESET.get(code, INTERNAL), f"the stream was reset (HTTP/2 error {code})")


def metadata_in(fields: Fields) -> Metadata:
    """The metadata among the fields; keys that end in -bin have bytes."""
    found: list[tuple[str, str | bytes]] = []
    for name, value in fields.items():
        key = name.decode("latin-1")
        if key.endswith("-bin"):
            found.append((key, _binary(value)))
        elif key not in _NOT_METADATA and not key.startswith(":"):
            found.append((key, value.decode("latin-1")))
    return tuple(found)


def _binary(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        return b""


def _failed(code: int, text: str) -> CallFailedError:
    return CallFailedError(Ended(code, text))
