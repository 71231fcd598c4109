"""Every REST error is ``{"error": text, "code": NAME}`` with content type exactly ``application/json``.

kserve's client drops the text when the type has a charset; tritonclient takes nothing but a string under ``error``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from crossover.protocol.codecs.json.text import dumps
from crossover.protocol.errors import Code, InferenceError

log = logging.getLogger("crossover.rest")

Headers = list[tuple[bytes, bytes]]
JSON_TYPE = (b"content-type", b"application/json")
RETRY_AFTER = (b"retry-after", b"1")
ACCEPTED_CODINGS = (b"accept-encoding", b"gzip, deflate")


class HttpError(InferenceError):
    """An error that needs headers of its own (405 with Allow)."""

    def __init__(self, code: Code, message: str, headers: Headers) -> None:
        super().__init__(code, message)
        self.headers = headers


@dataclass(slots=True)
class Reply:
    """A complete HTTP reply; `parts` are sent one after the other."""

    status: int
    headers: Headers
    parts: list[bytes | bytearray | memoryview] = field(default_factory=list)


def json_reply(document: object, status: int = 200) -> Reply:
    return Reply(status, [JSON_TYPE], [dumps(document)])


def error_reply(error: InferenceError, **beside: object) -> Reply:
    """The reply for `error`; `beside` are further keys of the object."""
    status = error.code.status
    reply = json_reply({"error": error.message, "code": error.code.name, **beside}, status.http)
    if status.retryable:
        reply.headers.append(RETRY_AFTER)
    if error.code is Code.UNSUPPORTED_MEDIA_TYPE:
        reply.headers.append(ACCEPTED_CODINGS)
    if isinstance(error, HttpError):
        reply.headers.extend(error.headers)
    return reply


def as_inference_error(error: Exception) -> InferenceError:
    """What the caller may know of any exception; the rest goes to the log."""
    if isinstance(error, InferenceError):
        return error
    log.error("a request failed inside the service", exc_info=error)
    return InferenceError(Code.INTERNAL, "the service failed inside; its log has the reason")
