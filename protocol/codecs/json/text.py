"""JSON text to values and back, as the Open Inference Protocol's real clients write and read it.

orjson does the work. Standard JSON has no NaN and no infinity, but tritonclient sends the bare literals ``NaN``,
``Infinity`` and ``-Infinity``; orjson refuses them, so texts that hold them go through the standard library.
"""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any, cast

import orjson

from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.limits import MAX_BYTES_ELEMENTS
from crossover.protocol.native import jsonchecks, jsontensors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crossover.protocol.tensors import Buffer

MAX_DEPTH = 100
"""Deepest nesting of arrays and objects that is read (Triton's limit too)."""

Fragment = orjson.Fragment


SURVEYED_FROM = 64 << 10
"""Shorter texts become a few megabytes at most, whatever is in them."""
EXPANSION, EXPANSION_FLOOR = 16, 16 << 20
"""A text may become so many times its size in Python objects, beyond the floor: ``[],`` is three bytes and a list of 56."""
_OBJECT_COSTS = (24, 64, 64, 100, 56)
"""Bytes of memory for each comma, list, object, colon and string of a text: an element, an entry, what holds them."""
_MOST = {
    "values": 8 << 20,
    "lists": 1 << 20,
    "objects": 128 << 10,
    "names": 128 << 10,
    "strings": MAX_BYTES_ELEMENTS + (128 << 10),
}
"""The most of each that a text of any size may hold, in the survey's order. Python makes them under the interpreter's lock,
during which the process serves no other request: 0.1 s for the most of one kind. Elements of tensors that the native part
reads are not counted."""
_MOST_CONTAINERS = {**_MOST, "values": sys.maxsize, "strings": sys.maxsize}


def loads(text: Buffer) -> Any:
    """The value that UTF-8 JSON text means; INVALID_ARGUMENT with the position when it is not JSON.

    TOO_LARGE, before anything is made, for a text of so many small values that its objects would be many times its size.
    """
    check_objects(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        whole = bytes(text)
        if not (b"NaN" in whole or b"Infinity" in whole):
            raise refusal(error) from None
    try:
        return loads_with_literals(whole)
    except json.JSONDecodeError as error:
        raise refusal(error) from None


def check_objects(text: Buffer) -> None:
    """TOO_LARGE for a text that would become too many objects, however they are made."""
    if len(text) < SURVEYED_FROM:
        return
    counts = survey(text)
    check_counts(counts, _MOST)
    if expansion(counts) > EXPANSION * len(text) + EXPANSION_FLOOR:
        raise InferenceError(
            Code.TOO_LARGE,
            f"the JSON text of {len(text)} bytes holds so many small values that it would take more than "
            f"{EXPANSION} times its size in memory; send fewer values or binary data",
        )


def check_containers(text: Buffer) -> None:
    """TOO_LARGE for a text of too many containers, of which numbers and strings in lists do not become objects."""
    check_counts(survey(text), _MOST_CONTAINERS)


def check_counts(counts: Iterable[int], most: dict[str, int]) -> None:
    """TOO_LARGE for a text with more of something than `most` says, in the survey's order."""
    for (what, limit), count in zip(most.items(), counts, strict=True):
        if count > limit:
            raise InferenceError(
                Code.TOO_LARGE,
                f"the JSON text holds {count} {what}; it takes {limit} at most: send less or binary data",
            )


def survey(text: Buffer, start: int = 0, end: int | None = None) -> tuple[int, int, int, int, int]:
    """Commas, lists, objects, colons and strings of text[start:end]; without the native part, those in strings count too."""
    end = len(text) if end is None else end
    if jsontensors is not None:
        return jsontensors.survey(text, start, end)
    part = bytes(memoryview(text)[start:end])
    return part.count(b","), part.count(b"["), part.count(b"{"), part.count(b":"), part.count(b'"') // 2


def expansion(counts: Iterable[int]) -> int:
    """About how many bytes of memory the objects of a surveyed text take."""
    return sum(count * cost for count, cost in zip(counts, _OBJECT_COSTS, strict=True))


def loads_object(text: Buffer, what: str = "the body") -> dict[str, Any]:
    """Like `loads`, for a text whose top must be an object."""
    if not len(text):
        raise invalid(f"{what} is empty; it takes a JSON object")
    return object_of(loads(text), what)


def object_of(value: object, what: str = "the body") -> dict[str, Any]:
    """A text's value, which must be an object."""
    if type(value) is not dict:
        raise invalid(f"{what} is {kind_of(value)}; it takes a JSON object")
    return value


def dumps(value: object) -> bytes:
    """Compact UTF-8 JSON; numpy arrays are written as nested arrays with the shortest digits that read back equal."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=True).encode()


def check_depth(value: object, levels: int) -> None:
    """INVALID_ARGUMENT when `value` nests deeper than `levels`; for parts that are not otherwise read."""
    level: list[Any] = [value]
    for room in range(levels, -1, -1):
        if any(isinstance(part, Unread) and part.depth > room for part in level):
            break
        level = [part for part in level if type(part) in _CONTAINERS]
        if not level:
            return
        level = [child for parent in level for child in _children(parent)]
    raise too_deep()


class Unread:
    """A container of JSON text that is still text; the text is known to be JSON."""

    __slots__ = ("_end", "_start", "_text")
    kind = "an object"

    def __init__(self, text: Buffer, start: int, end: int) -> None:
        self._text = text
        self._start, self._end = start, end

    @property
    def depth(self) -> int:
        """How deep it nests, itself included."""
        assert jsonchecks is not None
        return cast("int", jsonchecks.depth(self._text, self._start, self._end))


def kind_of(value: object) -> str:
    """JSON's name for the type of `value`, for error texts."""
    return value.kind if isinstance(value, Unread) else _KINDS.get(type(value), "something else")


_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer", float: "a number",
          type(None): "null"}  # fmt: skip


_CONTAINERS = frozenset({dict, list})


def _children(value: object) -> Any:
    if type(value) is dict:
        return value.values()
    return value if type(value) is list else ()


def loads_with_literals(text: bytes) -> Any:
    """The value of a text that may have bare literals; JSONDecodeError where its grammar is broken, otherwise INVALID_ARGUMENT."""
    try:
        value = json.loads(text.decode(), parse_float=_finite, parse_int=_integer)
        if b"\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise too_deep() from None
    except UnicodeError:
        raise not_unicode() from None
    return value


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise invalid(f"the number {digits[:40]} is beyond what 64-bit floats hold")
    return value


def _integer(digits: str) -> int | float:
    """As orjson reads it: an integer beyond 64 bits is a float."""
    value = int(digits) if len(digits) <= _MOST_INTEGER_DIGITS else None
    return value if value is not None and -(2**63) <= value < 2**64 else _finite(digits)


_MOST_INTEGER_DIGITS = 20


def is_too_deep(error: json.JSONDecodeError) -> bool:
    """Whether that is what orjson says; with many containers in few bytes it runs out of the memory that it allows itself."""
    return any(words in error.msg for words in ("depth limit", "ecursion", "allocate memory"))


def refusal(error: json.JSONDecodeError) -> InferenceError:
    """INVALID_ARGUMENT that says what is wrong with the text where."""
    if is_too_deep(error):
        return too_deep()
    if "not valid UTF-8" in error.msg:
        return invalid(
            "the JSON text is not UTF-8; where binary data follows it, header Inference-Header-Content-Length says where it begins"
        )
    return invalid(f"the JSON text is not valid: {error.msg} (line {error.lineno}, column {error.colno})")


def not_unicode() -> InferenceError:
    return invalid("the JSON text holds characters that are not valid UTF-8 or half of a surrogate pair")


def too_deep() -> InferenceError:
    return invalid(f"the JSON text nests deeper than {MAX_DEPTH} levels")
