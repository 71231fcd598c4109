"""Errors under ``/api`` as problem details (RFC 9457), with our code and gRPC's status name beside HTTP's.

`code` is the name in `protocol.errors`; the same failure on the gRPC wire carries it in `ErrorInfo.reason`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.endpoints.rest.errors import as_seen_here
from crossover.protocol.errors import Code, InferenceError, PortableError
from crossover.transport.http1.reply_head import PHRASES

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
"""`Retry-After` of what may work later."""
GRPC_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
"""Names of gRPC's status codes by number (google.rpc.Code)."""

_CONTENT_CODES = frozenset({Code.INVALID_ARGUMENT, Code.NOT_CARRIED, Code.OUT_OF_RANGE})
"""What OIP answers with 400 because a tensor does not fit; under /api such a body is well-formed JSON, so it is 422."""


class Problem(PortableError):  # noqa: N818 - the name RFC 9457 gives it
    """An answer of 4xx or 5xx with one sentence and, where they help, headers and further members."""

    def __init__(
        self,
        status: int,
        code: Code,
        detail: str,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})
        if code.status.retryable:
            self.headers.setdefault("Retry-After", str(RETRY_SECONDS))


def of_error(error: InferenceError) -> Problem:
    """The problem for a model's or codec's error: the error table's status, 422 for tensors that do not fit."""
    error = as_seen_here(error)
    return Problem(422 if error.code in _CONTENT_CODES else error.code.status.http, error.code, error.message)


def unprocessable(detail: str, pointer: str | None = None) -> Problem:
    """422: JSON that means nothing here; `pointer` (RFC 6901) says where in the body."""
    return Problem(422, Code.INVALID_ARGUMENT, detail, members={"pointer": pointer} if pointer is not None else None)


def bad_request(detail: str) -> Problem:
    """400: broken JSON, a header or a query parameter that cannot be read."""
    return Problem(400, Code.INVALID_ARGUMENT, detail)


def not_found(detail: str) -> Problem:
    return Problem(404, Code.NOT_FOUND, detail)


def internal() -> Problem:
    return Problem(500, Code.INTERNAL, "the gateway failed inside; its log has the reason")


def document(problem: Problem, instance: str | None = None) -> dict[str, Any]:
    """The problem as a JSON object; `instance` is the path that was asked for."""
    members: dict[str, Any] = {
        "type": "about:blank",
        "title": _title(problem.status),
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code.name,
        "grpc_status": GRPC_NAMES[problem.code.status.grpc],
        **problem.members,
    }
    if instance is not None:
        members["instance"] = instance
    return members


def identified(document: dict[str, Any], identity: str) -> dict[str, Any]:
    """The document with the id of its request, by which the log is searched."""
    return {**document, "request_id": identity} if identity else document


def _title(status: int) -> str:
    return PHRASES.get(status, "Error")
