"""Reading request bodies: size, content type, JSON, in the order in which a caller can mend them."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from crossover.endpoints.rest.body import read_body
from crossover.protocol.codecs.json.elements import put_back, split
from crossover.protocol.codecs.json.text import MAX_DEPTH, check_objects, is_too_deep, kind_of
from crossover.protocol.codecs.json.unread import UnreadArray, is_long, read, unread_arrays
from crossover.rest_gateway.api.negotiation import JSON, check_content_type
from crossover.rest_gateway.api.problems import bad_request, unprocessable
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

    In a long one a long array stays text (`UnreadArray`) until a tensor is read from it.
    """
    try:
        if is_long(text):
            return _with_unread_data(text) or read(text, literals=False)
        check_objects(text)
        return orjson.loads(text)
    except json.JSONDecodeError as error:
        raise bad_request(_refusal(error)) from None


def _with_unread_data(text: bytes) -> Any:
    """The value of a long text whose long arrays are all data of its inputs; None for any other text.

    Only they will be read, and where one cannot be, the whole text is checked.
    """
    skeleton, elements = split(text)
    if elements is None or is_long(skeleton):
        return None
    try:
        value = orjson.loads(skeleton)
    except json.JSONDecodeError:
        return None
    arrays = unread_arrays(elements, check=partial(_check, text))
    if put_back(value, arrays) and sum(type(data) is UnreadArray for data in _data(value)) == len(arrays):
        return value
    return None


def _data(value: Any) -> Iterator[Any]:
    """What stands under `data` in the inputs of a body or of its requests, or in a list of tensors."""
    for order in _objects(value, "requests") or [value]:
        for tensor in _objects(order, "inputs"):
            yield tensor.get("data")


def _objects(value: Any, key: str) -> list[dict[str, Any]]:
    """The objects in the list under `key`, or in the value where it is a list itself."""
    items = value.get(key) if type(value) is dict else value
    return [item for item in items if type(item) is dict] if type(items) is list else []


def _check(text: bytes) -> None:
    try:
        read(text, literals=False)
    except json.JSONDecodeError as error:
        raise bad_request(_refusal(error)) from None


def _refusal(error: json.JSONDecodeError) -> str:
    if is_too_deep(error):
        return f"the JSON text nests deeper than {MAX_DEPTH} levels"
    return f"the body is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})"
