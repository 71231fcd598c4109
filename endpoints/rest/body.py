"""Reading the body of an ASGI application's request within a limit, before anything of it is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.endpoints.rest.compression import decompress, request_coding
from crossover.endpoints.rest.errors import too_large
from crossover.transport.http1.messages import BodyTooLargeError, ClientGoneError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crossover.transport.http1.asgi import Receive
    from crossover.transport.http1.messages import Buffer


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The whole body without its content coding.

    TOO_LARGE from ``Content-Length`` before a byte is read, and again while counting what comes, and again while
    decompressing; UNSUPPORTED_MEDIA_TYPE for an unknown ``Content-Encoding``; ClientGoneError.
    """
    length = headers.get("content-length")
    if length is not None and length.isdigit() and int(length[:20]) > limit:
        raise too_large(limit)
    coding = request_coding(headers.get("content-encoding"))
    try:
        body = await collect(receive, limit)
        return bytes(body) if coding is None or not body else await decompress(body, coding, limit, lambda _: True)
    except BodyTooLargeError:
        raise too_large(limit) from None


async def collect(receive: Receive, limit: int) -> Buffer:
    """The whole body of an ASGI request; BodyTooLargeError beyond `limit` bytes, ClientGoneError."""
    message = await _next(receive)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False) and len(body) <= limit:
        return body
    chunks, size = [body], len(body)
    while message.get("more_body", False) and size <= limit:
        message = await _next(receive)
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
    if size > limit:
        raise BodyTooLargeError
    return b"".join(chunks)


async def _next(receive: Receive) -> dict[str, Any]:
    message: dict[str, Any] = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message
