"""What the door refuses, in the form of the errors of the API that a path belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from crossover.endpoints.rest.errors import error_reply, retry_seconds
from crossover.protocol.codecs.json.text import dumps
from crossover.rest_gateway.api import problems
from crossover.rest_gateway.api.routing import PREFIX
from crossover.transport.http1.messages import Reply

if TYPE_CHECKING:
    from crossover.protocol.errors import InferenceError


def refused(path: bytes, error: InferenceError) -> Reply:
    """Problem details under ``/api``, and ``{"error": text}`` elsewhere."""
    text = unquote(path.decode("latin-1"))
    if text != PREFIX and not text.startswith(f"{PREFIX}/"):
        return error_reply(error)
    fields = [(b"content-type", problems.MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    if error.code.status.retryable:
        fields.append((b"retry-after", b"%d" % retry_seconds(error)))
    problem = problems.Problem(error.code.status.http, error.code, error.message)
    return Reply(problem.status, fields, [dumps(problems.document(problem, text))])
