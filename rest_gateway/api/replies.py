"""Representations with their validators: 200 with ETag, 304 when the caller's copy is still good."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response

from crossover.rest_gateway.api.conditions import check_match, is_current, tag_of
from crossover.rest_gateway.api.negotiation import JSON
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

REVALIDATE = "private, no-cache"
"""A copy may be kept, but is asked for again before each use: the answer is often 304."""


async def representation(
    request: Request,
    body: bytes,
    etag: str | None = None,
    cache_control: str = REVALIDATE,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to GET or HEAD: 412, 304 or 200; without `etag`, the tag is the body's hash."""
    tag = etag if etag is not None else await off_loop(len(body), tag_of, body)
    fields = {"ETag": tag, "Cache-Control": cache_control, **(headers or {})}
    check_match(request.headers.get("if-match"), tag)
    if is_current(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=fields)
    return Response(body, headers=fields, media_type=JSON)
