"""Long JSON text, read as far as it is needed: no long text is given to an ordinary parser whole.

orjson holds the interpreter while it reads, and what it has made is freed under the interpreter's lock too: 16 MiB keep
every other request waiting for a quarter of a second. So the native part checks the grammar of a long text, without the
lock, and says where its parts lie. Parts of `PIECE_BYTES` go to orjson one after the other; a long array stays text
(`UnreadArray`) until a tensor is read from it, or its elements are asked for.

Without the native part the whole text is read at once, which means the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

import orjson

from crossover.protocol.codecs.json import values
from crossover.protocol.codecs.json.elements import KINDS, Elements, put_back, read_tensor, split
from crossover.protocol.codecs.json.text import (
    MAX_DEPTH,
    SURVEYED_FROM,
    Unread,
    check_containers,
    check_counts,
    loads,
    loads_object,
    loads_with_literals,
    not_unicode,
    object_of,
    refusal,
    survey,
    too_deep,
)
from crossover.protocol.errors import InferenceError
from crossover.protocol.limits import HEAVY_BYTES, MAX_BYTES_ELEMENTS, MAX_TENSORS
from crossover.protocol.native import jsonchecks, jsontensors

if TYPE_CHECKING:
    from crossover.protocol.datatypes import Datatype
    from crossover.protocol.tensors import Buffer, Shape, Tensor

NoNumber = Callable[[str, object], InferenceError]

LONG_BYTES = HEAVY_BYTES
"""Texts from this size on are long. A shorter one takes orjson a few milliseconds, whatever is in it."""
PIECE_BYTES = 64 << 10
"""A part that orjson reads at once: a millisecond or two."""
_MOST_LISTED = MAX_TENSORS
"""Arrays of more elements stay text wherever they are: nothing in a message has more but data and rows."""
_MOST_LEVELS = 8
"""Objects in objects that are read; no message nests so deeply where somebody looks."""
_MOST_MADE = {
    "values": 1 << 20,
    "lists": 128 << 10,
    "objects": 128 << 10,
    "names": 128 << 10,
    "strings": MAX_BYTES_ELEMENTS + (128 << 10),
}
"""The most of each that becomes objects, in the survey's order: to free them takes a hundredth of a second."""
_MOST_IN_CONTROL = dict.fromkeys(_MOST_MADE, 16 << 10)
"""The most of each in a control-plane body: it has as many parameters as a message may have, and a shape or two."""
_TOO_DEEP, _HALF_PAIR, _NOT_UTF8 = 2, 3, 4
"""Verdicts of the native check beside a broken grammar."""


def is_long(text: Buffer) -> bool:
    """Whether a text is to be read in parts."""
    return jsonchecks is not None and jsontensors is not None and len(text) >= LONG_BYTES


def read_object(text: Buffer, *, any_key: bool = False, what: str = "the body") -> dict[str, Any]:
    """The object in a text of any length; INVALID_ARGUMENT where there is none, TOO_LARGE for too many objects.

    In a long one arrays under ``data``, or with `any_key` under every key, may be an `UnreadArray`, and so may any array of
    more than a thousand elements.
    """
    if not is_long(text):
        return loads_object(text, what)
    try:
        return object_of(read(text, literals=True, any_key=any_key), what)
    except json.JSONDecodeError as error:
        raise refusal(error) from None


def read_control(text: Buffer) -> dict[str, Any]:
    """The object in a control-plane body, empty for an empty body; only a file's text may be large in it.

    TOO_LARGE, before anything is made, for more values than any such body has.
    """
    if not len(text):
        return {}
    if len(text) >= SURVEYED_FROM:
        check_counts(survey(text), _MOST_IN_CONTROL)
    return read_object(text)


def read(text: Buffer, *, literals: bool, any_key: bool = False) -> Any:
    """The value of a long text, with NaN, Infinity and -Infinity as values where `literals` says so.

    JSONDecodeError with the position where the text is no JSON, or INVALID_ARGUMENT, as for the text read whole.
    """
    assert jsonchecks is not None
    check_containers(text)
    verdict, says_literals, *place = jsonchecks.check(text, literals)
    if not verdict:
        _, _, start, end, *_ = place
        return _Reading(any_key).value(text, start, end, "")
    if verdict == _TOO_DEEP:
        raise json.JSONDecodeError("depth limit exceeded", "", 0)
    if verdict == _HALF_PAIR and says_literals:
        raise not_unicode()
    parse = loads_with_literals if says_literals else orjson.loads
    if verdict == _NOT_UTF8:
        parse(b'"\xff"')
    raise _fault(text, parse, *place)


def _fault(
    text: Buffer,
    parse: Callable[[bytes], Any],
    opened: bytes,
    is_first: int,
    mark: int,
    left: int,
    right: int,
    stop: int,
) -> json.JSONDecodeError:
    """What a parser says of a short text with the same fault, at the place where the long one has it."""
    assert jsonchecks is not None
    view = memoryview(text)
    before = b"".join(b"[" if byte == _BRACKET else b'{"":' for byte in opened[:-1])
    before += opened[-1:] if is_first else _BEHIND_AN_ITEM[opened[-1:]]
    short = before + bytes(view[mark:left]) + bytes(view[right:stop])
    error = json.JSONDecodeError("it is broken", "", 0)
    at = stop
    try:
        parse(short)
    except json.JSONDecodeError as found:
        error = found
        at = len(short.decode()[: found.pos].encode()) - len(before) + mark
        at += right - left if at >= left else 0
    error.lineno, error.colno = jsonchecks.position(text, at)
    return error


_BRACKET, _BRACE = ord("["), ord("{")
_BEHIND_AN_ITEM = {b"[": b'[""', b"{": b'{"":""', b"": b'""'}


class _Reading:
    """How one text is read, and how many objects that has made so far."""

    def __init__(self, any_key: bool) -> None:
        self._any_key = any_key
        self._made = [0] * len(_MOST_MADE)

    def value(self, text: Buffer, start: int, end: int, key: str, levels: int = _MOST_LEVELS) -> Any:
        """The value of text[start:end], which stands under `key`."""
        if end - start <= PIECE_BYTES:
            return self._parsed(bytes(memoryview(text)[start:end]))
        first = text[start]
        if first == _BRACKET:
            array = UnreadArray(text, start, end, self)
            stays = self._any_key or key == "data" or len(array) > _MOST_LISTED
            return array if stays else list(array)
        if first != _BRACE:
            return self._parsed(bytes(memoryview(text)[start:end]))
        return self._object(text, start, end, levels) if levels else Unread(text, start, end)

    def _object(self, text: Buffer, start: int, end: int, levels: int) -> dict[str, Any]:
        assert jsonchecks is not None
        members: dict[str, Any] = {}
        view = memoryview(text)
        for first, behind, value, _ in jsonchecks.pieces(text, start, end, PIECE_BYTES):
            if behind - first <= PIECE_BYTES:
                members.update(self._parsed(b"".join((b"{", view[first:behind], b"}"))))
            else:
                key = self._parsed(bytes(view[first:value]).rstrip()[:-1])
                members[key] = self.value(text, value, behind, key, levels - 1)
                self._count(_MEMBER)
        return members

    def elements(self, text: Buffer, pieces: list[tuple[int, int, int, int]]) -> Iterator[Any]:
        """The elements of an array, as they are asked for."""
        view = memoryview(text)
        for first, behind, _, _ in pieces:
            if behind - first <= PIECE_BYTES:
                yield from self._parsed(b"".join((b"[", view[first:behind], b"]")))
            else:
                yield self.value(text, first, behind, "")

    def _parsed(self, piece: bytes) -> Any:
        """The value of a short part; its long arrays stay text."""
        skeleton, elements = split(piece, any_key=self._any_key)
        values, lists, *others = survey(skeleton)
        self._count((values, lists - 2 * elements.count if elements else lists, *others))
        value = loads(skeleton)
        if elements is None or put_back(value, unread_arrays(elements, self), any_key=self._any_key):
            return value
        self._count(survey(piece))
        return loads(piece)

    def _count(self, counts: tuple[int, ...]) -> None:
        self._made = [made + more for made, more in zip(self._made, counts, strict=True)]
        check_counts(self._made, _MOST_MADE)


_MEMBER = (0, 0, 0, 1, 1)


class UnreadArray(Unread):
    """An array that is still text. `put_back` puts it in the place of a placeholder."""

    __slots__ = ("_check", "_pieces", "_reading", "is_read")
    kind = "an array"

    def __init__(
        self,
        text: Buffer,
        start: int,
        end: int,
        reading: _Reading | None = None,
        check: Callable[[], Any] | None = None,
    ) -> None:
        """`check` raises where the text is not known to be JSON, and is none."""
        super().__init__(text, start, end)
        self._check = check
        self._reading = reading
        self.is_read = False
        self._pieces: list[tuple[int, int, int, int]] | None = None

    def __len__(self) -> int:
        return sum(count for *_, count in self._cut())

    def __iter__(self) -> Iterator[Any]:
        """Its elements; TOO_LARGE when they are too many."""
        reading = self._reading or _Reading(any_key=False)
        return reading.elements(self._text, self._cut())

    def _cut(self) -> list[tuple[int, int, int, int]]:
        assert jsonchecks is not None
        if self._pieces is None:
            self._pieces = jsonchecks.pieces(self._text, self._start, self._end, PIECE_BYTES)
        return self._pieces

    @property
    def size(self) -> int:
        """Bytes of the text."""
        return self._end - self._start

    @property
    def shape(self) -> Shape:
        """How it nests, by the first array of each depth; of 65 where it nests deeper than 64."""
        assert jsonchecks is not None
        return cast("Shape", jsonchecks.shape(self._text, self._start, self._end))

    @property
    def text(self) -> bytes:
        """The array as it was sent."""
        return bytes(memoryview(self._text)[self._start : self._end])

    @property
    def begins(self) -> str:
        """The first character of its first element; nothing where it is empty."""
        cut = self._cut()
        return chr(self._text[cut[0][2]]) if cut else ""

    def tensor(self, name: str, row: Datatype, shape: Shape, no_number: NoNumber | None = None) -> Tensor:
        """The tensor with these elements; INVALID_ARGUMENT that says which of them is wrong.

        With `no_number`, floats that are no numbers are the strings "NaN", "Infinity" and "-Infinity"; it words another
        string, or null.
        """
        tensor = self.native_tensor(name, row, shape, special=no_number is not None)
        if tensor is None:
            if self._check is not None:
                self._check()
            raise self._refusal(name, row, shape, no_number)
        return tensor

    def native_tensor(self, name: str, row: Datatype, shape: Shape, *, special: bool = False) -> Tensor | None:
        """The tensor with these elements; None where something is wrong."""
        tensor = read_tensor(self._text, self._start, self._end, name, row, shape, special=special)
        self.is_read = self.is_read or tensor is not None
        return tensor

    def _refusal(self, name: str, row: Datatype, shape: Shape, no_number: NoNumber | None) -> InferenceError:
        """Why `tensor` cannot be, in the words of `to_array` for the elements as objects."""
        assert jsonchecks is not None
        kind = KINDS.get(row.name, "" if no_number is None else "f4")
        span = self._text, self._start, self._end
        what, index, start, end = jsonchecks.wrong(*span, kind, shape, no_number is not None)
        if what == "special":
            assert no_number is not None
            return no_number(name, self._value(start, end))
        if no_number is not None and self.depth > MAX_DEPTH:
            return too_deep()
        if not row.json:
            return values.not_carried(name, row)
        if what == "count":
            return values.wrong_count(name, shape, index)
        if what == "type":
            return values.wrong_type(name, row, index, self._value(start, end))
        if what == "range":
            return values.out_of_range(name, row, index, self._value(start, end))
        return values.ragged(name, shape)

    def _value(self, start: int, end: int) -> Any:
        """An element that is wrong; an empty container for a container, of which only the kind is said."""
        first = self._text[start]
        if first in _EMPTY:
            return _EMPTY[first]
        return loads(bytes(memoryview(self._text)[start:end]))


_EMPTY: dict[int, Any] = {_BRACKET: [], _BRACE: {}}


def unread_arrays(
    elements: Elements, reading: _Reading | None = None, check: Callable[[], Any] | None = None
) -> list[UnreadArray]:
    """All arrays that were taken out of a text, each to be read on its own."""
    return [UnreadArray(elements.text, start, end, reading, check) for start, end in elements.spans]
