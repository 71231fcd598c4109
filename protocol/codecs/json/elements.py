"""Native reading of JSON elements straight into arrays; Python reads whatever is unusual.

The native reader takes the long arrays of elements out of a text and leaves ``[[0]]``, ``[[1]]``, ... in their places. A
tensor claims its array by that placeholder. Real data may look like a placeholder too, so a decoding counts only when
every array was claimed once and in order. Otherwise `NotNativeError` is raised, and the text is decoded again in Python,
which also words the errors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from crossover.protocol.codecs.json.text import survey
from crossover.protocol.codecs.json.values import not_carried, wrong_count
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import InferenceError
from crossover.protocol.native import jsontensors
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from crossover.protocol.datatypes import Datatype
    from crossover.protocol.tensors import Buffer, Shape

SMALLEST_TEXT = 256
"""Shorter texts gain nothing."""
MOST_ARRAYS = 1024
"""Arrays that are taken out of a text; no message has as many tensors, and a text with more is read without the reader."""

LONG_ARRAY = 1 << 20
"""Bytes of an array from which on its elements are not made only to word an error."""

_KINDS = {row.name: row.dtype.str[1:] for row in DATATYPES.values() if row.json and row.kind != "bytes"}
"""What the reader calls the datatypes that it knows."""


class NotNativeError(Exception):
    """The native reader's result cannot be relied on for this text."""


class Elements:
    """The arrays taken out of one text, to be claimed in order."""

    __slots__ = ("_claimed", "_spans", "_text")

    def __init__(self, text: Buffer, spans: list[tuple[int, int]]) -> None:
        self._text = text
        self._spans = spans
        self._claimed = 0

    def claim(self, data: Any, name: str, row: Datatype, shape: Shape) -> Tensor | None:
        """The tensor whose elements `data` is the placeholder of; None when it is ordinary data."""
        if not _is_placeholder(data):
            return None
        if data[0][0] != self._claimed or self._claimed == len(self._spans):
            raise NotNativeError
        start, end = self._spans[self._claimed]
        self._claimed += 1
        return self.read(start, end, name, row, shape)

    def unread_arrays(self) -> list[UnreadArray]:
        """All arrays, each to be read on its own."""
        return [UnreadArray(self, start, end) for start, end in self._spans]

    def text(self, start: int, end: int) -> bytes:
        return bytes(memoryview(self._text)[start:end])

    def shape(self, start: int, end: int) -> Shape:
        assert jsontensors is not None
        return cast("Shape", jsontensors.shape(self._text, start, end))

    def all_of(self, tensors: list[tuple[str, Datatype, Shape]]) -> list[Tensor]:
        """The tensors of a text whose skeleton is known to be theirs."""
        spans = zip(self._spans, tensors, strict=True)
        return [self.read(start, end, name, row, shape) for (start, end), (name, row, shape) in spans]

    def read(self, start: int, end: int, name: str, row: Datatype, shape: Shape) -> Tensor:
        """The tensor with the elements of one array; NotNativeError where Python has to read them."""
        assert jsontensors is not None
        if row.kind == "bytes":
            raw = jsontensors.strings(self._text, start, end, shape)
            if raw is not None:
                return Tensor(name, row, shape, raw=raw)
        elif (kind := _KINDS.get(row.name)) is not None and math.prod(shape) <= end - start:
            array = np.empty(shape, row.dtype)
            if jsontensors.read(self._text, start, end, kind, array, shape):
                return Tensor(name, row, shape, array=array)
        raise self._refusal(start, end, name, row, shape)

    def _refusal(self, start: int, end: int, name: str, row: Datatype, shape: Shape) -> Exception:
        """Why an array cannot be read; for a long one, as far as that shows without making its elements."""
        if end - start < LONG_ARRAY:
            return NotNativeError()
        if not row.json:
            return not_carried(name, row)
        commas, lists, objects, *_ = survey(self._text, start, end)
        if lists == 1 and not objects and commas + 1 != math.prod(shape):
            return wrong_count(name, shape, commas + 1)
        return NotNativeError()

    @property
    def count(self) -> int:
        """How many arrays were taken out."""
        return len(self._spans)

    def check_claimed(self) -> None:
        """NotNativeError unless every array that was taken out belongs to a tensor."""
        if self._claimed != len(self._spans):
            raise NotNativeError


class UnreadArray:
    """The ``data`` of a tensor that is still text: `put_back` puts it in the place of the placeholder."""

    __slots__ = ("_elements", "_end", "_start")

    def __init__(self, elements: Elements, start: int, end: int) -> None:
        self._elements = elements
        self._start, self._end = start, end

    def tensor(self, name: str, row: Datatype, shape: Shape) -> Tensor:
        """NotNativeError where Python has to read the text."""
        return self._elements.read(self._start, self._end, name, row, shape)

    @property
    def size(self) -> int:
        """Bytes of the text."""
        return self._end - self._start

    @property
    def shape(self) -> Shape:
        """How it nests, by the first list of each depth."""
        return self._elements.shape(self._start, self._end)

    @property
    def text(self) -> bytes:
        """The array as it was sent."""
        return self._elements.text(self._start, self._end)


def put_back(document: object, elements: Elements, *, any_key: bool = False) -> bool:
    """Replace the placeholders in a skeleton's document by the arrays, unread; False where it is ambiguous which they are.

    They stand under ``data``, or with `any_key` under every key, as in `split`.
    """
    unread = elements.unread_arrays()
    unread.reverse()
    containers = [document]
    while containers:
        container = containers.pop()
        if type(container) is dict:
            for key in container if any_key else ("data",):
                data: Any = container.get(key)
                if _is_placeholder(data):
                    if not unread or data[0][0] != elements.count - len(unread):
                        return False
                    container[key] = unread.pop()
            containers.extend(reversed(container.values()))
        elif type(container) is list:
            containers.extend(reversed(container))
    return not unread


def _is_placeholder(data: Any) -> bool:
    return (
        type(data) is list
        and len(data) == 1
        and type(data[0]) is list
        and len(data[0]) == 1
        and type(data[0][0]) is int
    )


def check_worth_reading(text: Buffer, error: Exception) -> None:
    """Raise the error of a long text; a short one is read again with all its elements, to word the error exactly."""
    if isinstance(error, InferenceError) and len(text) >= LONG_ARRAY:
        raise error


def split(text: Buffer, *, most: int = MOST_ARRAYS, any_key: bool = False) -> tuple[Buffer, Elements | None]:
    """The text without its long arrays of elements, and these; None where there are none, more than `most`, or no reader.

    Arrays are looked for under ``data``, or with `any_key` under every key.
    """
    if jsontensors is None or len(text) < SMALLEST_TEXT:
        return text, None
    skeleton, spans = jsontensors.split(text, most, any_key)
    return (skeleton, Elements(text, spans)) if spans else (text, None)
