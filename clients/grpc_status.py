"""What the end of a gRPC call means to our caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.protocol.errors import Code, InferenceError, lost_connection
from crossover.protocol.grpc_errors import DETAILS_KEY, error_from_status
from crossover.transport.grpc.status import CANCELLED, INTERNAL, UNKNOWN

if TYPE_CHECKING:
    from crossover.transport.grpc.status import Status

_NOT_SENT = ("failed to connect to all addresses", "DNS resolution failed", "errors resolving")
"""How grpcio's core begins the text of a call that never had a connection; it has no other way to tell."""

_LOST = ("Internal error from Core", "Stream removed")
"""How grpcio tells of a stream whose connection ended while it was written to, with a status that means something else."""

_STOPPED = "CANCELLED"
"""What a grpcio server says of calls that meet the moment of its stop; who gives a call up here is not told of it."""


def error_of(status: Status, target: str) -> InferenceError:
    """What a failed call means: our code where the service told it, else the nearest one."""
    if status.code in (INTERNAL, UNKNOWN) and not status.trailing and status.details.startswith(_LOST):
        return lost_connection(f"the model server at {target} can't be reached: the connection was closed")
    details = next((value for key, value in status.trailing if key == DETAILS_KEY and isinstance(value, bytes)), None)
    if status.code == CANCELLED and details is None and status.details == _STOPPED:
        return lost_connection(f"the model server at {target} ended the call: it is stopping")
    error = error_from_status(status.code, status.details, details, target)
    if error.code is Code.UNAVAILABLE and details is None:
        error.unprocessed = status.unprocessed or status.details.startswith(_NOT_SENT)
        error.connection_lost = not error.unprocessed
    return error


def unreadable(error: InferenceError, target: str) -> InferenceError:
    """A reply that breaks the protocol is not its caller's fault."""
    return InferenceError(Code.UNKNOWN, f"the reply of {target} cannot be read: {error.message}")
