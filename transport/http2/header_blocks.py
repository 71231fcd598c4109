"""Header blocks: HPACK in and out (RFC 7541), and which header fields may be (RFC 9113, 8.1 to 8.3).

Tables and Huffman codes are the `hpack` library's. Its decoder is not used: it copies the rest of the block for each
literal, takes integers of any length, and loses the table where a list is too large. Both sides of a connection repeat
themselves, and a block that adds nothing to the table means the same until another one does: such blocks are made and
read once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hpack import Encoder, HPACKError
from hpack.hpack import encode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from crossover.protocol.bounded_cache import BoundedCache
from crossover.transport.http2.frames import COMPRESSION_ERROR, LARGEST_FIELDS, ConnectionFaultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TABLE_BYTES = 4096
"""Of a dynamic table, either way: SETTINGS_HEADER_TABLE_SIZE is left at its default."""
FIELD_BYTES = 32
"""What a field counts beside its name and value (RFC 7541, 4.1; RFC 9113, 6.5.2)."""

REQUEST, RESPONSE, TRAILERS = "request", "response", "trailers"
_INDEXED = re.compile(rb"[\x81-\xfe]*", re.DOTALL)
"""Fields of one byte each: an index from 1 to 126 (RFC 7541, 6.1)."""
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+", re.DOTALL)
_BAD_VALUE = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z", re.DOTALL)
_REQUEST_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
_PSEUDO = _REQUEST_PSEUDO | {b":status"}
_OF_CONNECTIONS = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_BAD_VALUE_TEXT = "a field value has NUL, CR or LF, or blanks around it"
_NONE: dict[bytes, bytes] = {}
_known_names: BoundedCache[bytes, bool] = BoundedCache()
"""Names of regular fields that are well-formed whatever their value, but for what no value may have."""
_name_texts: BoundedCache[str, bytes] = BoundedCache()
_LONGEST_INTEGER = 5
"""Bytes after its prefix: more is an error, not a number (RFC 7541, 5.1)."""


class Fields(dict[bytes, bytes]):
    """The header fields of one block, not to be changed; values of a repeated name are joined by a comma (RFC 9110, 5.3)."""

    __slots__ = ("content_length", "is_too_large", "kind", "malformed", "own", "shared", "size")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__()
        self.kind = TRAILERS
        """By its pseudo-header fields: REQUEST, RESPONSE or, where it has none, TRAILERS."""
        self.malformed = ""
        """What makes the message malformed, where something does (RFC 9113, 8.1.1); the stream's error, not the table's."""
        self.size = 0
        """As SETTINGS_MAX_HEADER_LIST_SIZE counts it."""
        self.is_too_large = False
        """It is above LARGEST_FIELDS, and the fields are not all here."""
        self.shared: Fields = self
        """The fields that other blocks have too: the same object in each, ..."""
        self.own: dict[bytes, bytes] = _NONE
        """... and those of this block alone."""
        self.content_length: int | None = None
        for name, value in pairs:
            self._add(name, value)

    def with_own(self, own: dict[bytes, bytes], size: int) -> Fields:
        """These fields, and then regular ones with other names, which count `size` bytes."""
        found = Fields.__new__(Fields)  # every attribute is set here: requests with a deadline all come this way
        found.update(self)
        found.kind = self.kind
        found.malformed = self.malformed
        found.size = self.size + size
        found.is_too_large = False
        found.shared = self
        found.own = own
        found.content_length = self.content_length
        for name, value in own.items():
            if _known_names.get(name) is None:
                found._add(name, value)
                if not found.malformed:
                    _known_names.put(name, True, len(name))
            else:
                if _BAD_VALUE.search(value) is not None:
                    found.malformed = _BAD_VALUE_TEXT
                found[name] = value
        return found

    def check(self) -> Fields:
        """After the last field: whether the pseudo-header fields are those of a request or a response (8.3)."""
        names = _PSEUDO & self.keys()
        if b":status" in names:
            self.kind = RESPONSE
            status = self[b":status"]
            if len(names) > 1 or len(status) != 3 or not status.isdigit():
                self.malformed = self.malformed or "a response has one :status of three digits"
        elif names:
            self.kind = REQUEST
            self._check_request(names)
        length = self.get(b"content-length")
        if length is not None:
            if not length.isdigit() or len(length) > 18:
                self.malformed = self.malformed or "content-length is no number"
            else:
                self.content_length = int(length)
        return self

    def _check_request(self, names: frozenset[bytes]) -> None:
        if self.get(b":method") == b"CONNECT":  # 8.5
            whole = names == {b":method", b":authority"}
        else:  # 8.3.1
            path = self.get(b":path", b"")
            whole = names >= {b":method", b":scheme", b":path"} and (path[:1] == b"/" or path == b"*")
        if not whole:
            self.malformed = self.malformed or "a request has one :method, :scheme and :path"
        host, authority = self.get(b"host"), self.get(b":authority")
        if host is not None and authority is not None and host.lower() != authority.lower():
            self.malformed = self.malformed or "host and :authority differ"

    def _add(self, name: bytes, value: bytes) -> None:
        if name[:1] == b":":
            if name not in _PSEUDO:
                self.malformed = "a pseudo-header field is unknown"
            elif name in self:
                self.malformed = "a pseudo-header field is repeated"
            elif self and next(reversed(self))[:1] != b":":
                self.malformed = "a pseudo-header field follows a regular one"
        elif _NAME.fullmatch(name) is None:  # 8.2.1
            self.malformed = "a field name is empty, or has characters that may not be"
        elif name in _OF_CONNECTIONS or (name == b"te" and value != b"trailers"):  # 8.2.2
            self.malformed = f"{name.decode()} is a field of HTTP/1.1 connections"
        if _BAD_VALUE.search(value) is not None:  # 8.2.1
            self.malformed = _BAD_VALUE_TEXT
        self[name] = self[name] + b"," + value if name in self else value


class HeaderReader:
    """Reads the header blocks that a connection receives."""

    def __init__(self) -> None:
        self._table = HeaderTable()
        self._kept: BoundedCache[bytes, Fields] = BoundedCache()

    def fields(self, block: bytes) -> Fields:
        """The fields of a block; a connection error of type COMPRESSION_ERROR when it cannot be read (4.3).

        Fields that may not be are reported by the result, as is a list that is too large: the table is in step after
        either.
        """
        kept = self._kept.get(block)
        if kept is not None:
            return kept
        split = _INDEXED.match(block).end()  # type: ignore[union-attr]
        if 0 < split < len(block) and (own := _plain_literals(block, split)) is not None:
            shared = self.fields(block[:split])
            size = len(block) - split + FIELD_BYTES * len(own)
            if shared.size + size <= LARGEST_FIELDS and shared.keys().isdisjoint(own):
                return shared.with_own(own, size)
        return self._decoded(block)

    def _decoded(self, block: bytes) -> Fields:
        table, end = self._table, len(block)
        pairs: list[tuple[bytes, bytes]] = []
        at = size = 0
        changes = False
        try:
            while at < end:
                first = block[at]
                if first & 0x80:
                    if size > LARGEST_FIELDS:  # nobody will see them, and the table stays as it is
                        at = max(at + 1, _INDEXED.match(block, at).end())  # type: ignore[union-attr]
                        continue
                    index, at = _integer(block, at, 0x7F)
                    name, value = table.get_by_index(index)
                elif first & 0x40:
                    name, value, at = self._literal(block, at, 0x3F)
                    table.add(name, value)
                    changes = True
                elif first & 0x20:  # RFC 7541, 4.2 and 6.3
                    limit, at = _integer(block, at, 0x1F)
                    if size or limit > TABLE_BYTES:
                        raise ConnectionFaultError(
                            COMPRESSION_ERROR, "a table size stands where it may not, or is too large"
                        )
                    table.maxsize = limit
                    changes = True
                    continue
                else:
                    name, value, at = self._literal(block, at, 0x0F)
                size += len(name) + len(value) + FIELD_BYTES
                if size <= LARGEST_FIELDS:
                    pairs.append((name, value))
        except (IndexError, HPACKError):
            raise ConnectionFaultError(COMPRESSION_ERROR, "a header block cannot be read") from None
        found = Fields(pairs).check()
        found.size, found.is_too_large = size, size > LARGEST_FIELDS
        if changes:
            self._kept.clear()
        else:
            self._kept.put(block, found, len(block) + size)
        return found

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[bytes, bytes, int]:
        """Name and value of a literal (RFC 7541, 6.2), and where the next field begins."""
        index, at = _integer(block, at, mask)
        if index:
            name: bytes = self._table.get_by_index(index)[0]
        else:
            name, at = _text_in(block, at)
        value, at = _text_in(block, at)
        return name, value, at


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """An integer (RFC 7541, 5.1), and where what follows begins; IndexError when it is cut."""
    value = block[at] & mask
    at += 1
    if value != mask:
        return value, at
    for shift in range(0, 7 * _LONGEST_INTEGER, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ConnectionFaultError(COMPRESSION_ERROR, "an integer in a header block is too long")


def _text_in(block: bytes, at: int) -> tuple[bytes, int]:
    """A string (RFC 7541, 5.2), and where what follows begins; IndexError when it is cut."""
    coded = block[at] & 0x80
    size, at = _integer(block, at, 0x7F)
    end = at + size
    if end > len(block):
        raise IndexError
    text = block[at:end]
    return (bytes(decode_huffman(text)) if coded else text), end


_CHECKED = frozenset((b"host", b"content-length", b"te"))
"""Fields whose value says whether they may be."""


def _plain_literals(block: bytes, at: int) -> dict[bytes, bytes] | None:
    """The fields from `at` on where all are regular ones, and literals as plain as `literal` writes them; else None."""
    found: dict[bytes, bytes] = {}
    end = len(block)
    while at < end:
        if block[at]:
            return None
        middle = at + 2 + block[at + 1] if at + 1 < end else end
        if middle >= end or block[at + 1] >= 127 or block[middle] >= 127:
            return None
        name = block[at + 2 : middle]
        at = middle + 1 + block[middle]
        if name[:1] == b":" or name in _CHECKED or name in found:
            return None
        found[name] = block[middle + 1 : at]
    return found if at == end else None


class HeaderWriter:
    """Header blocks of what a connection sends."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._kept: dict[Sequence[tuple[str, str]], bytes] = {}

    def limit(self, table_bytes: int) -> None:
        """The peer's table has so many bytes; more than 4096 are not used."""
        self._encoder.header_table_size = min(table_bytes, TABLE_BYTES)
        self._kept.clear()

    def block(self, repeated: tuple[tuple[str, str], ...], own: Sequence[tuple[str, str]] = ()) -> bytes:
        """A block with the fields that requests repeat, and this request's own, which never enter the table."""
        kept = self._kept.get(repeated)
        if kept is None:
            kept = self._encoder.encode(repeated, huffman=False)
            if _leaves_table(kept):
                self._kept[repeated] = kept
            else:
                self._kept.clear()
        return kept + b"".join([literal(name, value) for name, value in own]) if own else kept


def _leaves_table(block: bytes) -> bool:
    """Whether reading the block leaves the table as it is: it has indexed fields (RFC 7541, 6.1) and literals that do
    not enter the table (6.2.2, 6.2.3) alone.
    """
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            _, at = _integer(block, at, 0x7F)
        elif first & 0x60:
            return False
        else:
            named, at = _integer(block, at, 0x0F)
            for _ in range(1 if named else 2):
                size, at = _integer(block, at, 0x7F)
                at += size
    return True


def literal(name: str, value: str) -> bytes:
    """A field that stays out of the table (RFC 7541, 6.2.2). Characters that may not be in a value become `?`."""
    if not (value.isascii() and value.isprintable()):
        value = "".join([char if " " <= char <= "~" else "?" for char in value])
    return (_name_texts.get(name) or _name_text(name)) + _text(value.strip(" "))


def _name_text(name: str) -> bytes:
    """How a literal begins that has this name."""
    text = b"\0" + _text(name)
    _name_texts.put(name, text, len(text))
    return text


def _text(text: str) -> bytes:
    data = text.encode("ascii", "replace")
    return (bytes((len(data),)) if len(data) < 127 else bytes(encode_integer(len(data), 7))) + data
