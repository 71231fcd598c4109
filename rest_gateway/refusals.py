"""What the door or a connection refuses, in the form of the errors of the API that a path belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from crossover.endpoints.rest.errors import error_reply, retry_seconds
from crossover.protocol.codecs.json.text import dumps
from crossover.protocol.errors import Code, InferenceError
from crossover.rest_gateway.api import problems
from crossover.rest_gateway.api.failures import PREFIX
from crossover.transport.http1.messages import Reply
from crossover.transport.http1.reply_head import refusal_code, refusal_reply

if TYPE_CHECKING:
    from crossover.transport.http1.messages import RefusalError


def refused(path: bytes, error: InferenceError | RefusalError, request_id: str) -> Reply:
    """Problem details under ``/api``, and ``{"error": text}`` elsewhere."""
    text = unquote(path.decode("latin-1"))
    if text != PREFIX and not text.startswith(f"{PREFIX}/"):
        return error_reply(error) if isinstance(error, InferenceError) else refusal_reply(error.status, error.message)
    if isinstance(error, InferenceError):
        status, code, seconds = error.code.status.http, error.code, retry_seconds(error)
    else:
        status, code, seconds = error.status, Code[refusal_code(error.status)], problems.RETRY_SECONDS
    fields = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    if code.status.retryable:
        fields.append((b"retry-after", b"%d" % seconds))
    problem = problems.Problem(status, code, error.message)
    return Reply(status, fields, [dumps(problems.identified(problems.document(problem, text), request_id))])
