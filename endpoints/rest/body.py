"""Reading a request's body within the limit, before anything of it is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.endpoints.rest.compression import decompress, request_coding
from crossover.protocol.errors import Code, InferenceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crossover.endpoints.rest.types import Receive


class ClientGoneError(Exception):
    """The client closed the connection; there is nobody to answer."""


def too_large(limit: int) -> InferenceError:
    return InferenceError(
        Code.TOO_LARGE, f"the message is larger than the limit of {limit} bytes; setting MAX_MESSAGE_BYTES raises it"
    )


async def read_body(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    """The whole body without its content coding.

    TOO_LARGE from ``Content-Length`` before a byte is read, and again while counting what comes, and again while
    decompressing; UNSUPPORTED_MEDIA_TYPE for an unknown ``Content-Encoding``. The content type is not looked at:
    tritonclient sends none.
    """
    length = headers.get("content-length")
    if length is not None and length.isdigit() and int(length[:20]) > limit:
        raise too_large(limit)
    coding = request_coding(headers.get("content-encoding"))
    body = await _collect(receive, limit)
    return body if coding is None or not body else await decompress(body, coding, limit, too_large(limit))


async def _collect(receive: Receive, limit: int) -> bytes:
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
        raise too_large(limit)
    return b"".join(chunks)


def with_bytes(receive: Receive) -> Receive:
    """`receive` for an application that knows bodies as ASGI has them, as bytes."""

    async def received() -> dict[str, Any]:
        message = await receive()
        if isinstance(message.get("body"), memoryview):
            message["body"] = bytes(message["body"])
        return message

    return received


async def _next(receive: Receive) -> dict[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message
