"""Native reading of JSON elements straight into arrays.

The native reader takes the long arrays of elements out of a text and leaves ``[[0]]``, ``[[1]]``, ... in their places. A
tensor claims its array by that placeholder. Real data may look like a placeholder too, so a decoding counts only when
every array was claimed once and in order. Otherwise `NotNativeError` is raised, and the text is decoded again, in Python
where it is short and by unread.py where it is long, which also words the errors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.native import jsontensors
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from crossover.protocol.datatypes import Datatype
    from crossover.protocol.tensors import Buffer, Shape

SMALLEST_TEXT = 256
"""Shorter texts gain nothing."""
MOST_ARRAYS = 1024
"""Arrays that are taken out of a text; no message has as many tensors, and a text with more is read without the reader."""

KINDS = {row.name: row.dtype.str[1:] for row in DATATYPES.values() if row.json and row.kind != "bytes"}
"""What the reader calls the datatypes that it knows."""


class NotNativeError(Exception):
    """The native reader's result cannot be relied on for this text."""


class Elements:
    """The arrays taken out of one text, to be claimed in order."""

    __slots__ = ("_claimed", "spans", "text")

    def __init__(self, text: Buffer, spans: list[tuple[int, int]]) -> None:
        self.text = text
        self.spans = spans
        self._claimed = 0

    def claim(self, data: Any, name: str, row: Datatype, shape: Shape) -> Tensor | None:
        """The tensor whose elements `data` is the placeholder of; None when it is ordinary data."""
        if not _is_placeholder(data):
            return None
        if data[0][0] != self._claimed or self._claimed == len(self.spans):
            raise NotNativeError
        start, end = self.spans[self._claimed]
        self._claimed += 1
        return self.read(start, end, name, row, shape)

    def all_of(self, tensors: list[tuple[str, Datatype, Shape]]) -> list[Tensor]:
        """The tensors of a text whose skeleton is known to be theirs."""
        spans = zip(self.spans, tensors, strict=True)
        return [self.read(start, end, name, row, shape) for (start, end), (name, row, shape) in spans]

    def read(self, start: int, end: int, name: str, row: Datatype, shape: Shape) -> Tensor:
        """The tensor with the elements of one array; NotNativeError where it is none."""
        tensor = read_tensor(self.text, start, end, name, row, shape)
        if tensor is None:
            raise NotNativeError
        return tensor

    @property
    def count(self) -> int:
        """How many arrays were taken out."""
        return len(self.spans)

    def check_claimed(self) -> None:
        """NotNativeError unless every array that was taken out belongs to a tensor."""
        if self._claimed != len(self.spans):
            raise NotNativeError


def put_back(document: object, arrays: list[Any], *, any_key: bool = False) -> bool:
    """Replace the placeholders in a skeleton's document by what stands for the arrays; False where it is ambiguous which
    they are.

    They stand under ``data``, or with `any_key` under every key, as in `split`.
    """
    unread = arrays[::-1]
    containers = [document]
    while containers:
        container = containers.pop()
        if type(container) is dict:
            for key in container if any_key else ("data",):
                data: Any = container.get(key)
                if _is_placeholder(data):
                    if not unread or data[0][0] != len(arrays) - len(unread):
                        return False
                    container[key] = unread.pop()
            containers.extend(reversed(container.values()))
        elif type(container) is list:
            containers.extend(reversed(container))
    return not unread


def read_tensor(
    text: Buffer, start: int, end: int, name: str, row: Datatype, shape: Shape, *, special: bool = False
) -> Tensor | None:
    """The tensor with the elements of the array text[start:end]; None where they are none of that datatype and shape.

    `special`: floats that are no numbers are the strings "NaN", "Infinity" and "-Infinity", not null or literals.
    """
    assert jsontensors is not None
    if row.kind == "bytes":
        raw = jsontensors.strings(text, start, end, shape)
        return None if raw is None else Tensor(name, row, shape, raw=raw)
    kind = KINDS.get(row.name)
    if kind is None or math.prod(shape) > end - start:
        return None
    array = np.empty(shape, row.dtype)
    return (
        Tensor(name, row, shape, array=array)
        if jsontensors.read(text, start, end, kind, array, shape, special)
        else None
    )


def _is_placeholder(data: Any) -> bool:
    return (
        type(data) is list
        and len(data) == 1
        and type(data[0]) is list
        and len(data[0]) == 1
        and type(data[0][0]) is int
    )


def split(text: Buffer, *, most: int = MOST_ARRAYS, any_key: bool = False) -> tuple[Buffer, Elements | None]:
    """The text without its long arrays of elements, and these; None where there are none, more than `most`, or no reader.

    Arrays are looked for under ``data``, or with `any_key` under every key.
    """
    if jsontensors is None or len(text) < SMALLEST_TEXT:
        return text, None
    skeleton, spans = jsontensors.split(text, most, any_key)
    return (skeleton, Elements(text, spans)) if spans else (text, None)
