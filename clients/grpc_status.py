"""What the end of a gRPC call means to our caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.grpc_errors import DETAILS_KEY, error_from_status

if TYPE_CHECKING:
    from crossover.transport.grpc.status import Status


def error_of(status: Status, target: str) -> InferenceError:
    """What a failed call means: our code where the service told it, else the nearest one."""
    details = next((value for key, value in status.trailing if key == DETAILS_KEY and isinstance(value, bytes)), None)
    return error_from_status(status.code, status.details, details, target)


def unreadable(error: InferenceError, target: str) -> InferenceError:
    """A reply that breaks the protocol is not its caller's fault."""
    return InferenceError(Code.UNKNOWN, f"the reply of {target} cannot be read: {error.message}")
