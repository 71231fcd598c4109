"""Errors as gRPC carries them: status, text, and a google.rpc.Status with one ErrorInfo in the trailers.

The ErrorInfo names our code, because RESOURCE_EXHAUSTED alone does not tell a full queue from a large message. Both
sides of the wire read this file. Source: google/rpc/error_details.proto, AIP-193.
"""

from __future__ import annotations

from google.rpc import error_details_pb2, status_pb2

from protocol.errors import Code, InferenceError, code_from_grpc

DETAILS_KEY = "grpc-status-details-bin"
DOMAIN = "crossover"


def details_of(error: InferenceError) -> bytes:
    """The bytes of the `grpc-status-details-bin` trailer."""
    status = status_pb2.Status(code=error.code.status.grpc, message=error.message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=error.code.name, domain=DOMAIN))
    return status.SerializeToString()


def reason_in(details: bytes | None) -> str | None:
    """The code's name in a `grpc-status-details-bin` trailer; None when it is absent, foreign or broken."""
    if not details:
        return None
    info = error_details_pb2.ErrorInfo()
    try:
        for detail in status_pb2.Status.FromString(details).details:
            if detail.Unpack(info):
                return info.reason
    except Exception:  # noqa: BLE001 - a peer's broken trailer must not hide its status
        return None
    return None


def error_from_status(number: int, text: str, details: bytes | None, target: str) -> InferenceError:
    """What a failed call means to our caller."""
    if number == 14 and not details:
        return InferenceError(Code.UNAVAILABLE, f"the model server at {target} can't be reached: {_plain(text)}")
    if number == 8 and "larger than max" in text:
        return InferenceError(Code.TOO_LARGE, f"a message exceeds MAX_MESSAGE_BYTES: {_plain(text)}")
    return InferenceError(code_from_grpc(number, reason_in(details)), text or "the call failed without a reason")


def _plain(text: str) -> str:
    """GRPC's own sentence without the lists of nested causes that it appends."""
    return text.split(";", 1)[0].split(" {", 1)[0][:200]
