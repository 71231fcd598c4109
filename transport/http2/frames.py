"""HTTP/2 frames: written from numbers, and cut from bytes as they come (RFC 9113, section 4 and 6).

What can be said of a frame by itself is checked here, as soon as its nine bytes are there: its size (4.2), and padding
that is longer than its payload (6.1, 6.2). What depends on streams is `transport/http2/connection.py`'s.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from crossover.protocol.errors import PortableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, WITH_PRIORITY = 0x4, 0x8, 0x20
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
(
    NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, HTTP_1_1_REQUIRED,
) = range(14)  # fmt: skip

DEFAULT_WINDOW = 65_535
DEFAULT_FRAME = 16_384
LARGEST_FRAME = (1 << 24) - 1
LARGEST_WINDOW = LAST_STREAM = (1 << 31) - 1
LARGEST_FIELDS = 64 << 10
"""Bytes of a header list that are accepted (SETTINGS_MAX_HEADER_LIST_SIZE); a larger one costs its stream alone."""
LARGEST_BLOCK = 4 * LARGEST_FIELDS
"""Bytes of a header block that are still read, for the compression state's sake; a larger one costs the connection."""
FRAMES_AT_ONCE = 2_000
"""Frames that are read before others have their turn: `FrameReader.behind` says that there are more."""

_HEAD = struct.Struct(">BHBBL")
_SETTING = struct.Struct(">HL")
_NUMBER = struct.Struct(">L")
_PIECE = 4096
"""Pieces of a message from so many bytes on are views of what was received."""
_SIZES = {RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
"""Frames of one size: another is a connection error of type FRAME_SIZE_ERROR (6.4, 6.7, 6.9)."""
_LARGEST = {SETTINGS: DEFAULT_FRAME, GOAWAY: DEFAULT_FRAME}
"""Bytes of a frame that has no such bound of its own and is kept until it is whole."""

Buffer = bytes | bytearray | memoryview
Frame = tuple[int, int, int, Buffer, int]
"""Kind, flags, stream, payload, and bytes of the frame's payload as flow control counts them, padding included."""


class ConnectionFaultError(PortableError):
    """The peer broke the protocol; `code` is what a GOAWAY says (5.4.1)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


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
    """The 32 bits that begin at `at`."""
    found: int = _NUMBER.unpack_from(payload, at)[0]
    return found


def settings(values: dict[int, int]) -> bytes:
    """The payload of SETTINGS."""
    return b"".join([_SETTING.pack(*pair) for pair in values.items()])


def settings_in(payload: Buffer) -> Iterable[tuple[int, int]]:
    """The settings in the order in which they apply (6.5.3); a connection error where a value may not be (6.5.2)."""
    pairs = list(_SETTING.iter_unpack(payload))
    for setting, value in pairs:
        if setting == ENABLE_PUSH and value > 1:
            raise ConnectionFaultError(PROTOCOL_ERROR, "SETTINGS_ENABLE_PUSH is neither 0 nor 1")
        if setting == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ConnectionFaultError(FLOW_CONTROL_ERROR, "SETTINGS_INITIAL_WINDOW_SIZE is above 2^31-1")
        if setting == MAX_FRAME_SIZE and not DEFAULT_FRAME <= value <= LARGEST_FRAME:
            raise ConnectionFaultError(PROTOCOL_ERROR, "SETTINGS_MAX_FRAME_SIZE is not from 2^14 to 2^24-1")
    return pairs


class FrameReader:
    """Cuts what is received into frames; the payload of a DATA frame is handed out in the pieces in which it comes."""

    def __init__(self) -> None:
        self.behind = False
        """More frames have come than were read: `feed(b"")` goes on."""
        self._rest = b""
        self._left = 0
        """Bytes of the DATA frame under way that are still to come, ..."""
        self._flags = self._stream = 0
        """... its flags and its stream, ..."""
        self._padding = 0
        """... the padding that follows, ..."""
        self._extra = 0
        """... and what its padding adds to its size, until a piece has been counted with it."""
        self._skipped = 0
        """Bytes to pass over."""

    @property
    def within_data(self) -> bool:
        """Whether more of the current DATA frame is to come."""
        return self._left > 0

    @property
    def ends_stream(self) -> bool:
        """Whether that frame ends its stream."""
        return self._left > 0 and bool(self._flags & END_STREAM)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames, and pieces of DATA, that `data` completes. The last piece of a DATA frame has its END_STREAM."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end, count = 0, len(data), 0
        self.behind = False
        while at < end:
            if self._skipped:
                passed = min(self._skipped, end - at)
                self._skipped -= passed
                at += passed
                continue
            count += 1
            if count > FRAMES_AT_ONCE:
                self.behind = True
                break
            if self._left:
                piece = min(self._left, end - at)
                self._left -= piece
                extra, self._extra = self._extra, 0
                if not self._left:
                    self._skipped, self._padding = self._padding, 0
                payload = data[at : at + piece] if piece < _PIECE else memoryview(data)[at : at + piece]
                yield DATA, 0 if self._left else self._flags, self._stream, payload, piece + extra
                at += piece
                continue
            if end - at < 9:
                break
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            size = high << 16 | low
            stream &= LAST_STREAM
            if kind == DATA:
                if flags & PADDED:
                    if size and end - at < 10:
                        break
                    self._padding = _padding(data[at + 9] if size else 0, size)
                    self._extra = 1 + self._padding
                    at += 1
                elif 0 < size < _PIECE and size <= end - at - 9:  # what most messages are
                    payload = data[at + 9 : at + 9 + size]
                    at += 9 + size
                    yield DATA, flags & END_STREAM, stream, payload, size
                    continue
                self._left, self._flags, self._stream = size - self._extra, flags & END_STREAM, stream
                at += 9
                if not self._left:
                    self._skipped, self._padding = self._padding, 0
                    extra, self._extra = self._extra, 0
                    yield DATA, self._flags, stream, b"", extra
                continue
            if kind == PRIORITY or kind > CONTINUATION:
                at += 9
                self._skipped = size
                yield kind, flags, stream, b"", size
                continue
            if (kind != HEADERS or size > LARGEST_BLOCK) and (kind != WINDOW_UPDATE or size != _NUMBER.size):
                _check_size(kind, flags, size)
            if end - at < 9 + size:
                break
            payload = data[at + 9 : at + 9 + size]
            at += 9 + size
            yield kind, flags, stream, payload, size
        self._rest = data[at:]


def _padding(length: int, size: int) -> int:
    """The padding's length, when the frame has room for it."""
    if not size:
        raise ConnectionFaultError(FRAME_SIZE_ERROR, "a padded frame is empty")
    if length >= size:  # 6.1, 6.2
        raise ConnectionFaultError(PROTOCOL_ERROR, "the padding is as long as the frame, or longer")
    return length


def _check_size(kind: int, flags: int, size: int) -> None:
    """Raise where a frame can't have `size` bytes (4.2), before they have come."""
    wrong = size != _SIZES.get(kind, size) or (kind == GOAWAY and size < 8)
    if kind == SETTINGS:  # 6.5
        wrong = size % _SETTING.size != 0 or bool(flags & ACK and size)
    if wrong:
        raise ConnectionFaultError(FRAME_SIZE_ERROR, f"a frame of type {kind} has {size} bytes")
    if size > _LARGEST.get(kind, LARGEST_BLOCK + 261):  # padding and priority come on top
        raise ConnectionFaultError(ENHANCE_YOUR_CALM, f"a frame of type {kind} has {size} bytes; nobody needs so many")


def header_block_in(flags: int, payload: Buffer) -> bytes:
    """The piece of a header block in a HEADERS frame, without padding and priority (6.2)."""
    if not flags & (PADDED | WITH_PRIORITY):
        return bytes(payload)
    start = stop = 0
    if flags & PADDED:
        start, stop = 1, _padding(payload[0] if len(payload) else 0, len(payload))
    if flags & WITH_PRIORITY:
        start += 5
        if start > len(payload):
            raise ConnectionFaultError(FRAME_SIZE_ERROR, "a HEADERS frame ends before its priority does")
    if start + stop > len(payload):
        raise ConnectionFaultError(PROTOCOL_ERROR, "the padding is longer than what is left of the frame")
    return bytes(payload[start : len(payload) - stop])
