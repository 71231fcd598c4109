"""Reading request bodies: size, content type, JSON, in the order in which a caller can mend them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from crossover.endpoints.rest.body import read_body
from crossover.protocol.codecs.json.elements import put_back, split
from crossover.protocol.codecs.json.text import MAX_DEPTH, check_objects, kind_of
from crossover.protocol.limits import HEAVY_BYTES, is_heavy
from crossover.rest_gateway.api.negotiation import JSON, check_content_type
from crossover.rest_gateway.api.problems import bad_request, unprocessable
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request


async def read_document(
    request: Request, limit: int, media_types: Sequence[str] = (JSON,), hint: str = "Accept-Post"
) -> tuple[bytes, dict[str, Any]]:
    """The body and the JSON object in it: 415 for another type, 413 over `limit` bytes or objects, 400 for broken JSON."""
    check_content_type(request.headers.get("content-type"), media_types, hint)
    body = await read_body(request.receive, request.headers, limit)
    return body, await off_loop(len(body), parse_object, body)


def parse_object(body: bytes) -> dict[str, Any]:
    """The object in standard JSON text (no bare NaN): 413 for too many objects, 400 when it is not JSON, 422 when it is none."""
    if not body:
        raise bad_request("the body is empty; it takes a JSON object")
    value = parse(body)
    if type(value) is not dict:
        raise unprocessable(f"the body is {kind_of(value)}; it takes a JSON object", "")
    return value


def parse(text: bytes) -> Any:
    """The value of standard JSON text: 413 for too many objects, 400 when it is not JSON.

    In a long one each ``data`` is left as text (`UnreadArray`) where that can be: the native part reads it without the
    interpreter's lock, and no object is made for each of its elements.
    """
    if is_heavy(len(text)):
        skeleton, elements = split(text)
        if elements is not None and len(skeleton) < HEAVY_BYTES:
            try:
                value = orjson.loads(skeleton)
            except orjson.JSONDecodeError:
                pass  # the whole text says where it is wrong
            else:
                if put_back(value, elements):
                    return value
    return standard(text)


def standard(text: bytes) -> Any:
    """The same, with all elements as objects."""
    check_objects(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise bad_request(_refusal(error)) from None


def _refusal(error: orjson.JSONDecodeError) -> str:
    if "ecursion" in error.msg:
        return f"the JSON text nests deeper than {MAX_DEPTH} levels"
    return f"the body is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
