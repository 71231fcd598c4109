"""Every REST error is ``{"error": text, "code": NAME}`` with content type exactly ``application/json``.

kserve's client drops the text when the type has a charset; tritonclient takes nothing but a string under ``error``.
"""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING

from crossover.protocol.codecs.json.text import dumps
from crossover.protocol.errors import Code, InferenceError, code_from_http
from crossover.transport.http1.messages import Reply
from crossover.transport.http1.reply_head import refusal_reply

if TYPE_CHECKING:
    from crossover.transport.http1.messages import Fields, RefusalError

log = logging.getLogger("crossover.rest")

JSON_TYPE = (b"content-type", b"application/json")
ACCEPTED_CODINGS = (b"accept-encoding", b"gzip, deflate")
_KEY_REFUSED = frozenset({Code.UNAUTHENTICATED, Code.INSUFFICIENT_SCOPE})
_RETRY_SECONDS = 1.0
"""When to try again where nobody knows."""
_SPREAD = 0.25
"""Share by which what is known is drawn out, so that those who were refused together do not come back together."""


class HttpError(InferenceError):
    """An error that needs headers of its own (405 with Allow)."""

    def __init__(self, code: Code, message: str, headers: Fields) -> None:
        super().__init__(code, message)
        self.headers = headers


def too_large(limit: int) -> InferenceError:
    return InferenceError(
        Code.TOO_LARGE, f"the message is larger than the limit of {limit} bytes; setting MAX_MESSAGE_BYTES raises it"
    )


def no_memory() -> InferenceError:
    return InferenceError(
        Code.OVERLOADED, "the requests in flight hold all the memory that MAX_IN_FLIGHT_BYTES allows; try again later"
    )


def json_reply(document: object, status: int = 200) -> Reply:
    return Reply(status, [JSON_TYPE], [dumps(document)])


def error_reply(error: InferenceError, **beside: object) -> Reply:
    """The reply for `error`; `beside` are further keys of the object."""
    status = error.code.status
    reply = json_reply({"error": error.message, "code": error.code.name, **beside}, status.http)
    if status.retryable:
        reply.headers.append((b"retry-after", b"%d" % retry_seconds(error)))
    if error.code is Code.UNSUPPORTED_MEDIA_TYPE:
        reply.headers.append(ACCEPTED_CODINGS)
    if isinstance(error, HttpError):
        reply.headers.extend(error.headers)
    return reply


def retry_seconds(error: InferenceError) -> int:
    """Whole seconds for ``Retry-After`` (RFC 9110 10.2.3): what the error knows, drawn out by up to a quarter."""
    if error.retry_after is None:
        return math.ceil(_RETRY_SECONDS)
    return max(1, math.ceil(error.retry_after * random.uniform(1.0, 1.0 + _SPREAD)))


def refused(refusal: RefusalError) -> tuple[Reply, Code]:
    """The reply for a body that is not what its head promises, and the code that it counts as."""
    return refusal_reply(refusal.status, refusal.message), code_from_http(refusal.status)


def as_seen_here(error: InferenceError) -> InferenceError:
    """The same for callers of a gateway: a key that the service behind it refuses is the gateway's own, not theirs."""
    if error.code not in _KEY_REFUSED:
        return error
    return InferenceError(Code.UNAVAILABLE, "the model server does not take this service's key (UPSTREAM_API_KEY_FILE)")


def as_inference_error(error: Exception, request_id: str = "") -> InferenceError:
    """What the caller may know of any exception; the rest goes to the log."""
    if isinstance(error, InferenceError):
        return error
    log.error("a request failed inside the service", exc_info=error, extra={"request_id": request_id})
    return InferenceError(Code.INTERNAL, "the service failed inside; its log has the reason")
