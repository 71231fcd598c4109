"""What the end of a gRPC call means to our caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.grpc_errors import DETAILS_KEY, error_from_status

if TYPE_CHECKING:
    from crossover.transport.grpc.status import Status

_NOT_SENT = ("failed to connect to all addresses", "DNS resolution failed")
"""How grpcio's core begins the text of a call that never had a connection; it has no other way to tell."""


def error_of(status: Status, target: str) -> InferenceError:
    """What a failed call means: our code where the service told it, else the nearest one."""
    details = next((value for key, value in status.trailing if key == DETAILS_KEY and isinstance(value, bytes)), None)
    error = error_from_status(status.code, status.details, details, target)
    if error.code is Code.UNAVAILABLE and details is None:
        error.unseen = status.unseen or status.details.startswith(_NOT_SENT)
        error.lost = not error.unseen
    return error


def unreadable(error: InferenceError, target: str) -> InferenceError:
    """A reply that breaks the protocol is not its caller's fault."""
    return InferenceError(Code.UNKNOWN, f"the reply of {target} cannot be read: {error.message}")
