"""How a gRPC call ends when it goes wrong: by the one table, with details, and with nothing of our insides."""

from __future__ import annotations

import logging
from typing import Any

import grpc

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.grpc_errors import DETAILS_KEY, details_of

log = logging.getLogger("crossover.grpc")

STATUS_CODES = {status.value[0]: status for status in grpc.StatusCode}


def as_inference_error(error: Exception) -> InferenceError:
    """What the caller may know of any exception; the rest goes to the log."""
    if isinstance(error, InferenceError):
        return error
    log.error("a call failed inside the service", exc_info=error)
    return InferenceError(Code.INTERNAL, "the service failed inside; its log has the reason")


async def abort(rpc: Any, error: InferenceError) -> None:
    """End the call with the error's status, its text and its details; never returns."""
    await rpc.abort(STATUS_CODES[error.code.status.grpc], error.message, trailing_of(error))


def trailing_of(error: InferenceError) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata that tells our code."""
    return ((DETAILS_KEY, details_of(error)),)


def too_large(size: int, limit: int, what: str) -> InferenceError:
    """The refusal of a message; `what` is request or reply."""
    return InferenceError(
        Code.TOO_LARGE, f"the {what} message has {size} bytes; the limit is {limit} (MAX_MESSAGE_BYTES)"
    )
