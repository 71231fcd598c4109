"""The one error table: what went wrong, and the status each wire gives it.

Both wires read this table in both directions, so what the model server means is what the REST caller sees. A code
travels by its own name beside the status (``"code"`` in a JSON error body, ``ErrorInfo.reason`` in gRPC's status
details), because several codes share one status: gRPC says RESOURCE_EXHAUSTED both for a message over the limit
(HTTP 413) and for a full queue (HTTP 429). Where a peer sends only a status, the first code with it in this table is
taken. Numbers: google.rpc.Code, RFC 9110.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


@dataclass(frozen=True, slots=True)
class WireStatus:
    """One row of the table."""

    grpc: int
    """google.rpc.Code number."""
    http: int
    """HTTP status code."""
    retryable: bool = False
    """True when the same call may succeed later without being changed, and was not carried out."""


class Code(Enum):
    """What went wrong. Members with the same status stand after the one that the bare status means."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    """The request is malformed or does not fit the model."""
    NOT_CARRIED = "NOT_CARRIED"
    """The datatype or value is legal, but this wire or codec has no form for it."""
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    """The system's state forbids the operation until somebody changes it."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """A value lies outside its valid range."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """No valid credentials."""
    PERMISSION_DENIED = "PERMISSION_DENIED"
    """Known caller, forbidden operation."""
    INSUFFICIENT_SCOPE = "INSUFFICIENT_SCOPE"
    """The caller's key does not allow the operation."""
    MISDIRECTED = "MISDIRECTED"
    """The request is for a host that this service does not answer for."""
    NOT_FOUND = "NOT_FOUND"
    """No such model, version, route or resource."""
    UNIMPLEMENTED = "UNIMPLEMENTED"
    """The operation is not supported here."""
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    """The route exists, but not with this HTTP method."""
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    """The body's type or content coding is not one that is read here."""
    ALREADY_EXISTS = "ALREADY_EXISTS"
    """The thing to create is there."""
    ABORTED = "ABORTED"
    """A conflict with another operation."""
    OVERLOADED = "OVERLOADED"
    """The queue is full or a limit on calls is reached."""
    TOO_LARGE = "TOO_LARGE"
    """The message is over the size limit."""
    CANCELLED = "CANCELLED"
    """The caller went away."""
    INTERNAL = "INTERNAL"
    """Our own failure; the text discloses nothing of the implementation."""
    UNKNOWN = "UNKNOWN"
    """The peer failed without saying how."""
    DATA_LOSS = "DATA_LOSS"
    """Data was lost or corrupted."""
    UNAVAILABLE = "UNAVAILABLE"
    """The service or the model is not there now."""
    WORKER_LOST = "WORKER_LOST"
    """The request ended the process that ran it; it is not sent to another."""
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    """The caller's time was over before the answer."""

    @property
    def status(self) -> WireStatus:
        return TABLE[self]


TABLE: dict[Code, WireStatus] = {
    Code.INVALID_ARGUMENT: WireStatus(3, 400),
    Code.NOT_CARRIED: WireStatus(3, 400),
    Code.FAILED_PRECONDITION: WireStatus(9, 400),
    Code.OUT_OF_RANGE: WireStatus(11, 400),
    Code.UNAUTHENTICATED: WireStatus(16, 401),
    Code.PERMISSION_DENIED: WireStatus(7, 403),
    Code.INSUFFICIENT_SCOPE: WireStatus(7, 403),
    Code.MISDIRECTED: WireStatus(7, 421),
    Code.NOT_FOUND: WireStatus(5, 404),
    Code.UNIMPLEMENTED: WireStatus(12, 501),
    Code.METHOD_NOT_ALLOWED: WireStatus(12, 405),
    Code.UNSUPPORTED_MEDIA_TYPE: WireStatus(12, 415),
    Code.ALREADY_EXISTS: WireStatus(6, 409),
    Code.ABORTED: WireStatus(10, 409),
    Code.OVERLOADED: WireStatus(8, 429, retryable=True),
    Code.TOO_LARGE: WireStatus(8, 413),
    Code.CANCELLED: WireStatus(1, 499),
    Code.INTERNAL: WireStatus(13, 500),
    Code.UNKNOWN: WireStatus(2, 500),
    Code.DATA_LOSS: WireStatus(15, 500),
    Code.UNAVAILABLE: WireStatus(14, 503, retryable=True),
    Code.WORKER_LOST: WireStatus(14, 503),
    Code.DEADLINE_EXCEEDED: WireStatus(4, 504),
}

MAX_MESSAGE_CHARS = 1024
"""gRPC sends the text in a trailer; trailers over 8 KiB may be refused by the peer, so texts are cut well below."""


class PortableError(Exception):
    """An exception that `pickle` and `copy` restore as it was, whatever its constructor takes.

    Exception's own `__reduce__` calls the constructor with `args`, which are not the constructor's arguments when a
    subclass passes only its text on.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args), self.__dict__


def _rebuilt(kind: type[PortableError], args: tuple[Any, ...]) -> PortableError:
    """`args` are set by BaseException.__new__; the rest is restored from the instance's dictionary."""
    return kind.__new__(kind, *args)


class InferenceError(PortableError):
    """An error that the other side is to see: a code and one sentence."""

    unprocessed = False
    """True when no service can have processed the request, so that it may be sent elsewhere (transport/resending.py)."""
    connection_lost = False
    """True when the client, and not the service, reports the error: the connection ended before the answer."""

    def __init__(self, code: Code, message: str, retry_after: float | None = None) -> None:
        text = message if len(message) <= MAX_MESSAGE_CHARS else message[: MAX_MESSAGE_CHARS - 1] + "…"
        super().__init__(text)
        self.code = code
        self.message = text
        self.retry_after = retry_after
        """Seconds after which the same call may succeed, where that is known."""

    def __repr__(self) -> str:
        return f"InferenceError({self.code.name}, {self.message!r})"


def unreached(message: str) -> InferenceError:
    """UNAVAILABLE for a request that no service can have processed."""
    error = InferenceError(Code.UNAVAILABLE, message)
    error.unprocessed = True
    return error


def lost_connection(message: str) -> InferenceError:
    """UNAVAILABLE for a request whose connection ended before the answer."""
    error = InferenceError(Code.UNAVAILABLE, message)
    error.connection_lost = True
    return error


def invalid(message: str) -> InferenceError:
    """The commonest error: the request itself is wrong."""
    return InferenceError(Code.INVALID_ARGUMENT, message)


def _first_by(field: str) -> dict[int, Code]:
    codes: dict[int, Code] = {}
    for code, status in TABLE.items():
        codes.setdefault(getattr(status, field), code)
    return codes


_BY_GRPC = _first_by("grpc")
_BY_HTTP = _first_by("http") | {502: Code.UNAVAILABLE, 408: Code.DEADLINE_EXCEEDED, 422: Code.INVALID_ARGUMENT}


def _named(reason: str | None) -> Code | None:
    return Code.__members__.get(reason) if reason else None


def code_from_grpc(number: int, reason: str | None = None) -> Code:
    """The code behind a gRPC status number; `reason` is the name our own services send beside it."""
    named = _named(reason)
    if named is not None and named.status.grpc == number:
        return named
    return _BY_GRPC.get(number, Code.UNKNOWN)


def code_from_http(status: int, reason: str | None = None) -> Code:
    """The code behind an HTTP status; `reason` is the name our own services send beside it."""
    named = _named(reason)
    if named is not None and named.status.http == status:
        return named
    if status in _BY_HTTP:
        return _BY_HTTP[status]
    return Code.INVALID_ARGUMENT if 400 <= status < 500 else Code.UNKNOWN
