"""The little of protobuf's encoding that is done by hand, for tensors that the library would copy several times.

Source: protobuf's encoding guide (varints, length-delimited fields, packed fields).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from crossover.protocol.errors import invalid
from crossover.protocol.tensors import Buffer

MOST_FIELDS = 5_000
"""Fields of a message that is cut, and of its tensors; more would hold up the event loop. With as many inputs, outputs and
parameters as a message takes it has some 4,100.
"""
LENGTH_DELIMITED = 2
_FIXED_SIZES = {1: 8, 5: 4}
_GROUP, _GROUP_END = 3, 4
"""Groups are deprecated and not in our messages; an unknown field may be one."""
_MOST_GROUPS = 100
"""Groups within groups, as many as the library reads."""


def key(field: int) -> bytes:
    """The tag before a length-delimited field with a number below 16."""
    return bytes([field << 3 | LENGTH_DELIMITED])


def varint(value: int) -> bytes:
    """The base-128 form of an unsigned integer."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def delimited(tag: bytes, parts: Sequence[Buffer]) -> list[Buffer]:
    """One length-delimited field around `parts`."""
    return [tag, varint(sum(map(len, parts))), *parts]


class Octets(Protocol):
    """Anything that gives its bytes one by one as integers."""

    def __getitem__(self, index: int, /) -> int: ...


def read_varint(view: Octets, at: int) -> tuple[int, int]:
    """The integer at `at` and where it ends; IndexError or ValueError when there is none."""
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError


def cut(view: memoryview, field: int, most: int = MOST_FIELDS) -> tuple[list[memoryview], list[Buffer]]:
    """The top-level fields of a message: every other one with its tag, and the contents of each `field`.

    All are views. IndexError or ValueError when the bytes are not a message, INVALID_ARGUMENT for more than `most` fields.
    """
    rest: list[memoryview] = []
    contents: list[Buffer] = []
    field_tag = field << 3 | LENGTH_DELIMITED
    at, end = 0, len(view)
    while at < end:
        start = at
        tag, at = read_varint(view, at)
        content = at
        wire = tag & 7
        if wire == LENGTH_DELIMITED:
            size, content = read_varint(view, at)
            at = content + size
        else:
            at = _field_end(view, at, end, tag)
        if at > end:
            raise ValueError
        if tag == field_tag:
            contents.append(view[content:at])
        else:
            rest.append(view[start:at])
        if len(rest) + len(contents) > most:
            raise invalid(f"the message has more than {MOST_FIELDS} fields; it takes that many at most")
    return rest, contents


def first(view: memoryview, field: int) -> memoryview | None:
    """The contents of the first such field of a message that may be broken or have too many of them; None without one."""
    with suppress(IndexError, ValueError):
        at = 0
        for _ in range(MOST_FIELDS):
            tag, at = read_varint(view, at)
            if tag & 7 == LENGTH_DELIMITED:
                size, at = read_varint(view, at)
                if tag >> 3 == field:
                    return view[at : at + size]
                at += size
            else:
                at = _field_end(view, at, len(view), tag)
    return None


def _field_end(view: memoryview, at: int, end: int, tag: int) -> int:
    """Where a field that is not length-delimited ends, its tag read; beyond `end` for an invalid one."""
    open_groups: list[int] = []
    while True:
        wire = tag & 7
        if wire == 0:
            at = read_varint(view, at)[1]
        elif wire == LENGTH_DELIMITED:
            size, at = read_varint(view, at)
            at += size
        elif wire == _GROUP:
            open_groups.append(tag)
        elif wire == _GROUP_END and open_groups and open_groups[-1] == tag - 1:
            open_groups.pop()
        else:
            at += _FIXED_SIZES.get(wire, end)
        if not open_groups or at > end or len(open_groups) > _MOST_GROUPS:
            return at if len(open_groups) <= _MOST_GROUPS else end + 1
        tag, at = read_varint(view, at)


def content_of(field: memoryview) -> memoryview:
    """The content of a length-delimited field with a number below 16."""
    return field[read_varint(field, 1)[1] :]
