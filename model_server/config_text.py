"""Triton's text format (protobuf's TextFormat), and its JSON, with fields that our ModelConfig does not know.

protobuf's own parser passes over an unknown field only where its value has a colon or braces; a list of messages without a
colon (`new_field [ { ... } ]`) is a syntax error to it, which blames the file. So unknown fields are found first, by walking
the text along the message's descriptor, and blanked. A sign may stand apart from its number (`dims: [ - 1 ]`) in the C++
parser, which Triton uses, and is moved to it. What is left is parsed strictly, and errors keep their line.
"""

from __future__ import annotations

import contextlib
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from google.protobuf import text_format

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?P<word>(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+[fF]?|[A-Za-z0-9_.+]+)|(?P<mark>.)""",
    re.DOTALL,
)
_CLOSING = {"{": "}", "<": ">", "[": "]"}
_MOST_DEPTH = 64


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


class _StructureError(Exception):
    """The text is not what the walk expects; protobuf's parser says what is wrong with it."""


def parse(text: str, message: Message) -> list[str]:
    """Fill `message`; the paths of fields that it does not know, in order. text_format.ParseError where it does not fit."""
    walk = _Walk(text)
    with contextlib.suppress(_StructureError):
        walk.fields(cast("Descriptor", message.DESCRIPTOR), "", "")
    text_format.Parse(_edited(text, walk.spans, walk.signs), message)
    return list(dict.fromkeys(walk.unknown))


def _edited(text: str, spans: list[tuple[int, int]], signs: list[tuple[int, int]]) -> str:
    """The text with blanks for unknown fields, and each sign moved to its number; in one pass, whatever their number."""
    edits = [(start, end, "") for start, end in spans] + [(start, end, "-") for start, end in signs]
    pieces: list[str] = []
    at = 0
    for start, end, last in sorted(edits):
        if start >= at:  # else a sign within an unknown field
            pieces += (text[at:start], _blank(text[start : end - len(last)]), last)
            at = end
    return "".join((*pieces, text[at:]))


def take_unknown(given: dict[str, Any], message: Message) -> list[str]:
    """Take out of a configuration in JSON what the message does not know; the paths of that, in order."""
    unknown: list[str] = []
    _take(given, cast("Descriptor", message.DESCRIPTOR), "", unknown)
    return list(dict.fromkeys(unknown))


def _take(given: dict[str, Any], descriptor: Descriptor, path: str, unknown: list[str]) -> None:
    fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    for name in [name for name in given if name not in fields]:
        unknown.append(f"{path}{name[:60]}")
        del given[name]
    for name, value in given.items():
        if (message := fields[name].message_type) is None:
            continue
        if not message.GetOptions().map_entry:
            inner = value if isinstance(value, list) else [value]
        elif (message := message.fields_by_name["value"].message_type) is not None and isinstance(value, dict):
            inner = list(value.values())
        else:
            continue
        for one in inner:
            if isinstance(one, dict):
                _take(one, message, f"{path}{name}.", unknown)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


class _Walk:
    """One pass over the tokens."""

    def __init__(self, text: str) -> None:
        self._tokens = [
            _Token(str(found.lastgroup), found[0], found.start(), found.end())
            for found in _TOKEN.finditer(text)
            if found.lastgroup != "skip"
        ]
        self._at = 0
        self._depth = 0
        self.unknown: list[str] = []
        self.spans: list[tuple[int, int]] = []
        """Of unknown fields."""
        self.signs = [
            (sign.start, number.start)
            for sign, number in pairwise(self._tokens)
            if sign.text == "-" and number.kind == "word" and number.start > sign.end and text[number.start - 1] != "\n"
        ]
        """From a sign that stands apart to its number."""

    def fields(self, descriptor: Descriptor, path: str, closing: str) -> None:
        """The fields of one message up to `closing`, or to the end of the text."""
        while (token := self._peek()) is not None:
            if token.text in (";", ","):
                self._at += 1
            elif token.text == closing and token.kind == "mark":
                self._at += 1
                return
            else:
                self._field(descriptor, path)
        if closing:
            raise _StructureError

    def _field(self, descriptor: Descriptor, path: str) -> None:
        name = self._next()
        if name.kind != "word":
            raise _StructureError
        field = descriptor.fields_by_name.get(name.text)
        if (token := self._peek()) is not None and token.text == ":":
            self._at += 1
        if field is None:
            self._skip_value()
            if (token := self._peek()) is not None and token.text in (";", ","):
                self._at += 1
            self.unknown.append(f"{path}{name.text}")
            self.spans.append((name.start, self._tokens[self._at - 1].end))
        elif field.message_type is not None:
            self._messages(field.message_type, f"{path}{name.text}.")
        else:
            self._skip_value()

    def _messages(self, descriptor: Descriptor, path: str) -> None:
        """One message, or a list of them."""
        opening = self._next()
        if opening.text == "[":
            while (token := self._next()).text != "]":
                if token.text != ",":
                    self._message(token, descriptor, path)
        else:
            self._message(opening, descriptor, path)

    def _message(self, opening: _Token, descriptor: Descriptor, path: str) -> None:
        if opening.text not in ("{", "<"):
            raise _StructureError
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise _StructureError
        self.fields(descriptor, path, _CLOSING[opening.text])
        self._depth -= 1

    def _skip_value(self) -> None:
        token = self._next()
        if token.text in _CLOSING and token.kind == "mark":
            open_marks = [token.text]
            while open_marks:
                token = self._next()
                if token.kind == "mark" and token.text in _CLOSING:
                    open_marks.append(token.text)
                elif token.kind == "mark" and token.text == _CLOSING[open_marks[-1]]:
                    open_marks.pop()
            return
        if token.text == "-":
            token = self._next()
        if token.kind == "mark":
            raise _StructureError
        while token.kind == "text" and (following := self._peek()) is not None and following.kind == "text":
            self._at += 1  # adjacent strings are one

    def _peek(self) -> _Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> _Token:
        token = self._peek()
        if token is None:
            raise _StructureError
        self._at += 1
        return token
