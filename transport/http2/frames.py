"""HTTP/2 as unary gRPC calls need it: frames and header blocks, without I/O (RFC 9113, RFC 7541).

Header blocks go through `hpack`. Both sides of a connection repeat themselves, and a block that adds nothing to the
table means the same until another one does: such blocks are made and read once.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from hpack import Decoder, Encoder, HPACKError
from hpack.hpack import decode_integer, encode_integer

from crossover.protocol.errors import PortableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from crossover.protocol.tensors import Buffer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = (
    0x0, 0x1, 0x3, 0x6, 0x7, 0x8, 0x9,
)  # fmt: skip
ENHANCE_YOUR_CALM, INADEQUATE_SECURITY = 0xB, 0xC

DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
LARGEST_FRAME = (1 << 24) - 1
LARGEST_WINDOW = LAST_STREAM = (1 << 31) - 1
LARGEST_FIELDS = 64 << 10
"""Bytes of a header list that are accepted, and of a frame that is no DATA."""

_HEAD = struct.Struct(">BHBBL")
_SETTING = struct.Struct(">HL")
_NUMBER = struct.Struct(">L")
_PIECE = 4096
"""Pieces of a message from so many bytes on are views of what was received."""

_MOST_KEPT = 256
"""Blocks that are remembered: no peer fills our memory with them."""

Frame = tuple[int, int, int, "Buffer"]
"""Kind, flags, stream, payload."""
Fields = dict[bytes, bytes]
"""Header fields; of repeated ones the last."""


class Http2Error(PortableError):
    """The peer broke the protocol; `code` is what a GOAWAY says."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return head(kind, flags, stream, len(payload)) + payload


def head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """The nine bytes before a payload of `size` bytes."""
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream)


def number(value: int) -> bytes:
    """The payload of RST_STREAM and WINDOW_UPDATE."""
    return _NUMBER.pack(value)


def number_in(payload: Buffer, at: int = 0) -> int:
    """32 bits of a payload; FRAME_SIZE_ERROR when it is too short."""
    if len(payload) < at + 4:
        raise Http2Error(FRAME_SIZE_ERROR, "a frame is too short")
    found: int = _NUMBER.unpack_from(payload, at)[0]
    return found


def settings(values: dict[int, int]) -> bytes:
    """The payload of SETTINGS."""
    return b"".join([_SETTING.pack(*pair) for pair in values.items()])


def settings_in(payload: Buffer) -> dict[int, int]:
    """What a SETTINGS frame says; FRAME_SIZE_ERROR when it is cut, and refused where a value may not be (6.5.2)."""
    if len(payload) % _SETTING.size:
        raise Http2Error(FRAME_SIZE_ERROR, "a SETTINGS frame is cut")
    found = dict(_SETTING.iter_unpack(payload))
    if found.get(INITIAL_WINDOW_SIZE, 0) > LARGEST_WINDOW:
        raise Http2Error(FLOW_CONTROL_ERROR, "an initial window is too large")
    if not DEFAULT_FRAME <= found.get(MAX_FRAME_SIZE, DEFAULT_FRAME) <= LARGEST_FRAME:
        raise Http2Error(PROTOCOL_ERROR, "a frame size is out of range")
    return found


class FrameReader:
    """Cuts what is received into frames; the payload of a DATA frame is handed out in the pieces in which it comes."""

    def __init__(self) -> None:
        self.data_bytes = 0
        """Bytes of DATA frames so far, padding included: what flow control counts."""
        self.padding = 0
        """Bytes of the last padded DATA frame that were padding, its length included."""
        self._rest = b""
        self._left = 0
        """Bytes of the DATA frame under way that are still to come, ..."""
        self._flags = self._stream = 0
        """... its flags and its stream."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames, and pieces of DATA, that `data` completes. The last piece of a DATA frame has its END_STREAM."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end = 0, len(data)
        while at < end:
            if self._left:
                piece = min(self._left, end - at)
                self._left -= piece
                yield DATA, 0 if self._left else self._flags, self._stream, _cut(data, at, at + piece)
                at += piece
                continue
            if end - at < 9:
                break
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            size = high << 16 | low
            stream &= LAST_STREAM
            if kind == DATA and not flags & PADDED:
                self._left, self._flags, self._stream = size, flags & END_STREAM, stream
                self.data_bytes += size
                at += 9
                if not size:
                    yield DATA, self._flags, stream, b""
                continue
            if size > LARGEST_FIELDS:
                raise Http2Error(FRAME_SIZE_ERROR, f"a frame of {size} bytes is too large")
            if end - at < 9 + size:
                break
            payload = data[at + 9 : at + 9 + size]
            at += 9 + size
            if kind <= HEADERS:
                payload = unpadded(kind, flags, payload)
            if kind == DATA:
                self.data_bytes += size
                self.padding = size - len(payload)
            yield kind, flags, stream, payload
        self._rest = data[at:]


def _cut(data: bytes, start: int, stop: int) -> Buffer:
    return data[start:stop] if stop - start < _PIECE else memoryview(data)[start:stop]


def unpadded(kind: int, flags: int, payload: bytes) -> bytes:
    """The payload of DATA or HEADERS without its padding and its priority."""
    start = stop = 0
    if flags & PADDED:
        if not payload:
            raise Http2Error(FRAME_SIZE_ERROR, "a padded frame is empty")
        start, stop = 1, payload[0]
    if kind == HEADERS and flags & WITH_PRIORITY:
        start += 5
    if start + stop > len(payload):
        raise Http2Error(PROTOCOL_ERROR, "a frame is all padding")
    return payload[start : len(payload) - stop]


def _leaves_table(block: bytes) -> bool:
    """Whether reading the block leaves the table as it is: it has indexed fields (RFC 7541, 6.1) and literals that do
    not enter the table (6.2.2, 6.2.3) alone.
    """
    at = 0
    while at < len(block):
        first = block[at]
        if first & 0x80:
            at += decode_integer(block[at:], 7)[1]
        elif first & 0x60:
            return False
        else:
            named, used = decode_integer(block[at:], 4)
            at += used
            for _ in range(1 if named else 2):
                size, used = decode_integer(block[at:], 7)
                at += used + size
    return True


class HeaderWriter:
    """Header blocks of what a connection sends."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._kept: dict[Sequence[tuple[str, str]], bytes] = {}

    def limit(self, table_bytes: int) -> None:
        """The peer's table has so many bytes; more than 4096 are not used."""
        self._encoder.header_table_size = min(table_bytes, 4096)
        self._kept.clear()

    def block(self, repeated: tuple[tuple[str, str], ...], own: Iterable[tuple[str, str]] = ()) -> bytes:
        """A block with the fields that requests repeat, and this request's own, which never enter the table."""
        kept = self._kept.get(repeated)
        if kept is None:
            kept = self._encoder.encode(repeated, huffman=False)
            if _leaves_table(kept):
                self._kept[repeated] = kept
            else:
                self._kept.clear()
        return kept + b"".join([literal(name, value) for name, value in own])


def literal(name: str, value: str) -> bytes:
    """A field that stays out of the table (RFC 7541, 6.2.2)."""
    return b"\0" + _text(name) + _text(value)


def _text(text: str) -> bytes:
    data = text.encode("ascii", "replace")
    return (bytes((len(data),)) if len(data) < 127 else bytes(encode_integer(len(data), 7))) + data


class HeaderReader:
    """Reads the header blocks that a connection receives."""

    def __init__(self) -> None:
        self._decoder = Decoder(LARGEST_FIELDS)
        self._kept: dict[bytes, Fields] = {}

    def fields(self, block: bytes) -> Fields:
        """The fields of a block, not to be changed; COMPRESSION_ERROR when it cannot be read."""
        kept = self._kept.get(block)
        if kept is not None:
            return kept
        split = _indexed(block)
        if 0 < split < len(block) and (own := _literals(block, split)) is not None:
            return {**self.fields(block[:split]), **own}
        try:
            found: Fields = {bytes(name): bytes(value) for name, value in self._decoder.decode(block, raw=True)}
        except HPACKError:
            raise Http2Error(COMPRESSION_ERROR, "a header block cannot be read") from None
        if not _leaves_table(block) or len(self._kept) == _MOST_KEPT:
            self._kept.clear()
        else:
            self._kept[block] = found
        return found


def _indexed(block: bytes) -> int:
    """Where the fields end that are one byte each: an index below 127 (RFC 7541, 6.1)."""
    for at, byte in enumerate(block):
        if not 0x80 < byte < 0xFF:
            return at
    return len(block)


def _literals(block: bytes, at: int) -> Fields | None:
    """The fields from `at` on where all are literals with a name and as plain as `literal` writes them; else None."""
    found: Fields = {}
    while at < len(block):
        if block[at]:
            return None
        texts = []
        at += 1
        for _ in range(2):
            if at >= len(block) or block[at] >= 127:
                return None
            texts.append(block[at + 1 : at + 1 + block[at]])
            at += 1 + block[at]
        found[texts[0]] = texts[1]
    return found if at == len(block) else None
