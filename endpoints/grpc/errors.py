"""How a gRPC call ends when it goes wrong: by the one table, with details, and with nothing of our insides."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import grpc

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.grpc_errors import DETAILS_KEY, details_of

if TYPE_CHECKING:
    from crossover.transport.grpc.metadata import Metadata

log = logging.getLogger("crossover.grpc")

STATUS_CODES = {status.value[0]: status for status in grpc.StatusCode}


def as_inference_error(error: Exception, request_id: str = "") -> InferenceError:
    """What the caller may know of any exception; the rest goes to the log."""
    if isinstance(error, InferenceError):
        return error
    log.error("a call failed inside the service", exc_info=error, extra={"request_id": request_id})
    return InferenceError(Code.INTERNAL, "the service failed inside; its log has the reason")


async def abort(rpc: Any, error: InferenceError, more: Metadata = ()) -> None:
    """End the call with the error's status, its text, its details and `more` trailing metadata; never returns."""
    await rpc.abort(STATUS_CODES[error.code.status.grpc], error.message, (*trailing_of(error), *more))


def trailing_of(error: InferenceError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that tells our code."""
    return ((DETAILS_KEY, details_of(error)),)


def too_large(size: int, limit: int, what: str) -> InferenceError:
    """The refusal of a message; `what` is request or reply."""
    return InferenceError(
        Code.TOO_LARGE, f"the {what} message has {size} bytes; the limit is {limit} (MAX_MESSAGE_BYTES)"
    )
