"""Triton's text format (protobuf's TextFormat), and its JSON, with fields that our ModelConfig does not know.

protobuf's own parser passes over an unknown field only where its value has a colon or braces; a list of messages without a
colon (`new_field [ { ... } ]`) is a syntax error to it, which blames the file. So unknown fields are found first, by walking
the text along the message's descriptor, and blanked. Where the C++ parser, which Triton uses, reads more than Python's, the text
is put into the form that both read: a sign that stands apart from its number (`dims: [ - 1 ]`), escapes (of a question mark, with a
capital X, pairs of surrogates), booleans and enums in octal or hexadecimal, comments in any encoding. What is left is parsed
strictly, and errors keep their line.
"""

from __future__ import annotations

import contextlib
import re
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from google.protobuf import text_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?P<word>(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+[fF]?|[A-Za-z0-9_.+]+)|(?P<mark>.)""",
    re.DOTALL,
)
_CLOSING = {"{": "}", "<": ">", "[": "]"}
_MOST_DEPTH = 64
_ESCAPE = re.compile(
    r"\\(?:(?P<octal>[0-7]{1,3})|[xX](?P<hex>[0-9A-Fa-f]{1,2})|u(?P<short>[0-9A-Fa-f]{4})|U(?P<long>[0-9A-Fa-f]{8})"
    r"""|(?P<plain>[abfnrtv\\?'"])|(?P<wrong>.))""",
    re.DOTALL,
)
_PLAIN = dict(zip("abfnrtv\\?'\"", "\a\b\f\n\r\t\v\\?'\"", strict=True))
_OTHER_BASE = re.compile(r"0(?:[0-7]+|[xX][0-9A-Fa-f]+)")
_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
_LAST_CODE_POINT = 0x10FFFF


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


class _StructureError(Exception):
    """The text is not what the walk expects; protobuf's parser says what is wrong with it."""


def parse(text: str, message: Message) -> list[str]:
    """Fill `message`; the paths of fields that it does not know, in order. text_format.ParseError where it does not fit.

    Bytes that are not UTF-8 stand in `text` as lone surrogates (`surrogateescape`); comments may hold them.
    """
    walk = _Walk(text)
    with contextlib.suppress(_StructureError):
        walk.fields(cast("Descriptor", message.DESCRIPTOR), "", "")
    edited = _edited(text, [*walk.edits, *_texts(text, walk.tokens)])
    text_format.Parse(re.sub(r"[\ud800-\udfff]", "?", edited), message)
    return list(dict.fromkeys(walk.unknown))


def _edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    """The text with each edit's place taken by its replacement; in one pass, whatever their number."""
    pieces: list[str] = []
    at = 0
    for start, end, replacement in sorted(edits):
        if start >= at:  # else it lies within an unknown field
            pieces += (text[at:start], replacement)
            at = end
    return "".join((*pieces, text[at:]))


def _texts(text: str, tokens: list[_Token]) -> Iterator[tuple[int, int, str]]:
    """Each text that holds an escape, with octal ones only; ParseError for a wrong escape, or what is not UTF-8."""
    for kind, group in groupby(tokens, lambda token: token.kind):
        if kind != "text":
            continue
        parts: list[bytes] = []
        for token in group:
            parts.append(_content(text, token))
            if "\\" in token.text:
                yield token.start, token.end, '"' + "".join(map(_octal, parts[-1])) + '"'
        try:
            b"".join(parts).decode()
        except UnicodeDecodeError:
            raise _wrong(text, token.start, "the text is not UTF-8") from None


def _content(text: str, token: _Token) -> bytes:
    """What a text means, as the C++ parser reads it: escapes of an octal number may be bytes of one character."""

    def meaning(match: re.Match[str]) -> str:
        if match["plain"]:
            return _PLAIN[match["plain"]]
        if match["octal"] or match["hex"]:
            byte = int(match["octal"], 8) & 0xFF if match["octal"] else int(match["hex"], 16)
            return bytes([byte]).decode("ascii", "surrogateescape")
        point = int(match["short"] or match["long"] or "ffffffff", 16)
        if match["wrong"] or point > _LAST_CODE_POINT:
            raise _wrong(text, token.start + 1 + match.start(), f"'{match[0]}' is no escape of the text format")
        return chr(point)

    plain = _ESCAPE.sub(meaning, token.text[1:-1])
    try:
        return _PAIR.sub(_joined, plain).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _wrong(text, token.start, "the text is not UTF-8") from None


def _joined(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _octal(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\{byte:03o}"


def _wrong(text: str, at: int, why: str) -> text_format.ParseError:
    line = text.count("\n", 0, at) + 1
    return text_format.ParseError(why, line, at - text.rfind("\n", 0, at))


def take_unknown(document: dict[str, Any], message: Message) -> list[str]:
    """Take out of a configuration in JSON what the message does not know; the paths of that, in order."""
    unknown: list[str] = []
    _take(document, cast("Descriptor", message.DESCRIPTOR), "", unknown)
    return list(dict.fromkeys(unknown))


def _take(document: dict[str, Any], descriptor: Descriptor, path: str, unknown: list[str]) -> None:
    fields = {name: field for field in descriptor.fields for name in (field.name, field.json_name)}
    for name in [name for name in document if name not in fields]:
        unknown.append(f"{path}{name[:60]}")
        del document[name]
    for name, value in document.items():
        if (message := fields[name].message_type) is None:
            continue
        if not message.GetOptions().map_entry:
            inner = value if isinstance(value, list) else [value]
        elif (message := message.fields_by_name["value"].message_type) is not None and isinstance(value, dict):
            inner = list(value.values())
        else:
            continue
        for item in inner:
            if isinstance(item, dict):
                _take(item, message, f"{path}{name}.", unknown)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


class _Walk:
    """One pass over the tokens."""

    def __init__(self, text: str) -> None:
        self.tokens = [
            _Token(str(match.lastgroup), match[0], match.start(), match.end())
            for match in _TOKEN.finditer(text)
            if match.lastgroup != "skip"
        ]
        self._text = text
        self._at = 0
        self._depth = 0
        self.unknown: list[str] = []
        self.edits = [
            (sign.start, number.start, _blank(text[sign.start : number.start]) + "-")
            for sign, number in pairwise(self.tokens)
            if sign.text == "-" and number.kind == "word" and number.start > sign.end
        ]
        """Begin, end and replacement of what is to be written otherwise."""

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
            end = self.tokens[self._at - 1].end
            self.edits.append((name.start, end, _blank(self._text[name.start : end])))
        elif field.message_type is not None:
            self._messages(field.message_type, f"{path}{name.text}.")
        else:
            if (token := self._peek()) is not None and field.cpp_type in (field.CPPTYPE_BOOL, field.CPPTYPE_ENUM):
                self._in_decimals(token)
            self._skip_value()

    def _in_decimals(self, token: _Token) -> None:
        if _OTHER_BASE.fullmatch(token.text):
            number = int(token.text, 16 if token.text[1] in "xX" else 8)
            self.edits.append((token.start, token.end, str(number)))

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
        return self.tokens[self._at] if self._at < len(self.tokens) else None

    def _next(self) -> _Token:
        token = self._peek()
        if token is None:
            raise _StructureError
        self._at += 1
        return token
