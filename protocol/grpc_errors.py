"""Errors as gRPC carries them: status, text, and a google.rpc.Status with an ErrorInfo in the trailers.

The ErrorInfo names our code, because RESOURCE_EXHAUSTED alone does not tell a full queue from a large message. A
RetryInfo beside it says when to try again, where that is known. Both sides of the wire read this file. Source:
google/rpc/error_details.proto, AIP-193.
"""

from __future__ import annotations

from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError, code_from_grpc

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "crossover"

_DEADLINE_EXCEEDED, _RESOURCE_EXHAUSTED, _UNAVAILABLE = 4, 8, 14
_DEADLINE_EXCEEDED_TEXT = "Deadline Exceeded"
_CAUSES = {
    "Connection refused": "connection refused",
    "http1.x server": "what answers there does not speak gRPC",
    "Expected SETTINGS": "what answers there does not speak gRPC",
    "handshake failed": "the TLS handshake failed",
    "certificate": "the TLS handshake failed",
    "hostname lookup error": "there is no such host",
    "Deadline": "no connection in time",
    "Socket closed": "the connection was closed",
    "Cancelling all calls": "it is stopping",
}
"""Parts of grpcio's texts for a failed connection, and our words for the cause."""


def details_of(error: InferenceError) -> bytes:
    """The bytes of the `grpc-status-details-bin` trailer."""
    status = status_pb2.Status(code=error.code.status.grpc, message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.code.name, domain=DOMAIN))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(error.retry_after * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status.SerializeToString()


def details_in(details: bytes | None) -> tuple[str | None, float | None]:
    """The code's name and the seconds to wait in a `grpc-status-details-bin` trailer.

    Each is None when it is absent, foreign or broken.
    """
    reason, retry_after = None, None
    if not details:
        return reason, retry_after
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if reason is None and detail.Unpack(info):
                reason = info.reason
            elif retry_after is None and detail.Unpack(retry):
                retry_after = max(0.0, retry.retry_delay.ToNanoseconds() / 1e9)
    except Exception:  # noqa: BLE001 - a peer's broken trailer must not hide its status
        return reason, retry_after
    return reason, retry_after


def error_from_status(number: int, text: str, details: bytes | None, target: str) -> InferenceError:
    """The error of a failed call for our caller."""
    if number == _UNAVAILABLE and not details:
        # made by gRPC itself, or by a service that is not ours: ours sends details with it
        return InferenceError(Code.UNAVAILABLE, _unavailable(text, target))
    if number == _DEADLINE_EXCEEDED and text == _DEADLINE_EXCEEDED_TEXT:
        return deadline.exceeded(f"while {target} was working on the call")
    if number == _RESOURCE_EXHAUSTED and "larger than max" in text:
        return InferenceError(Code.TOO_LARGE, f"a message exceeds MAX_MESSAGE_BYTES: {_plain(text)}")
    reason, retry_after = details_in(details)
    return InferenceError(code_from_grpc(number, reason), text or "the call failed without a reason", retry_after)


def _unavailable(text: str, target: str) -> str:
    for theirs, ours in _CAUSES.items():
        if theirs in text:
            return f"the model server at {target} can't be reached: {ours}"
    return f"the model server at {target} is not available: {_plain(text)}"


def _plain(text: str) -> str:
    """gRPC's own sentence without the lists of nested causes that it appends."""
    return text.split(";", 1)[0].split(" {", 1)[0][:200]
