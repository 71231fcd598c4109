"""Chunked bodies without I/O (RFC 9112 7.1): bytes in, the body's bytes and its end out.

Extensions and trailers are read and dropped: a trailer field that counted as a header would decide about a request that has
been let in already (RFC 9110 6.5.1). Both are bounded, and so is the work in one turn.
"""

from __future__ import annotations

import re

from crossover.transport.http1.limits import (
    MAX_CHUNK_LINE_BYTES,
    MAX_EXTENSION_BYTES,
    MAX_FIELDS,
    MAX_TRAILER_BYTES,
)
from crossover.transport.http1.messages import RefusalError

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})([ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?)")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


def _malformed(what: str) -> RefusalError:
    return RefusalError(400, f"the chunked body is malformed: {what}")


class ChunkedBody:
    """A chunked body that is being received."""

    __slots__ = ("_extensions", "_fields", "_left", "_state", "_trailers")

    def __init__(self) -> None:
        self._state = _SIZE
        self._left = 0
        self._extensions = self._fields = self._trailers = 0

    @property
    def announced(self) -> int:
        """Bytes that the current chunk's size says are still to come."""
        return self._left

    @property
    def is_whole(self) -> bool:
        return self._state == _DONE

    def read(self, raw: bytearray, at: int, stop: int, into: bytearray, most_chunks: int) -> tuple[int, int]:
        """Take bytes from `raw`, those of the body into `into`: where it stopped, and how many chunks and lines it took.

        A line that is not whole is left where it is. RefusalError for what is no chunked body.
        """
        lines = 0
        view = memoryview(raw)
        try:
            while at < stop and self._state != _DONE and lines < most_chunks:
                if self._state == _DATA:
                    taken = min(self._left, stop - at)
                    into += view[at : at + taken]
                    at += taken
                    self._left -= taken
                    if not self._left:
                        self._state = _DATA_END
                    continue
                end = raw.find(b"\n", at, stop)
                if end < 0:
                    self._check_part(raw, at, stop)
                    break
                self._line(bytes(view[at : end + 1]))
                at = end + 1
                lines += 1
        finally:
            view.release()
        return at, lines

    def _check_part(self, raw: bytearray, at: int, stop: int) -> None:
        """What has come of a line."""
        size = stop - at
        if self._state == _DATA_END and raw[at : min(stop, at + 2)] != b"\r":
            raise _malformed("a chunk is longer than its size")
        if self._state == _SIZE and not _SIZE_LINE.fullmatch(bytes(raw[at : min(stop, at + 16)]).rstrip(b"\r")):
            raise _malformed("a chunk's size is not a hexadecimal number")
        if self._state == _SIZE and size > MAX_CHUNK_LINE_BYTES:
            raise _malformed(f"a chunk's size and extensions have more than {MAX_CHUNK_LINE_BYTES} bytes")
        if self._state == _TRAILERS and self._trailers + size > MAX_TRAILER_BYTES:
            raise self._trailers_too_large()

    def _line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise _malformed("a line ends in LF without CR")
        text = line[:-2]
        if self._state == _SIZE:
            self._size_line(text)
        elif self._state == _DATA_END:
            if text:
                raise _malformed("a chunk is longer than its size")
            self._state = _SIZE
        elif text:
            self._trailer(text)
        else:
            self._state = _DONE

    def _size_line(self, text: bytes) -> None:
        found = _SIZE_LINE.fullmatch(text)
        if found is None:
            raise _malformed("a chunk's size is not a hexadecimal number")
        self._extensions += len(found[2])
        if len(text) > MAX_CHUNK_LINE_BYTES or self._extensions > MAX_EXTENSION_BYTES:
            raise _malformed(f"its chunk extensions have more than {MAX_EXTENSION_BYTES} bytes")
        self._left = int(found[1], 16)
        self._state = _DATA if self._left else _TRAILERS

    def _trailer(self, text: bytes) -> None:
        self._trailers += len(text) + 2
        self._fields += 1
        if self._trailers > MAX_TRAILER_BYTES or self._fields > MAX_FIELDS:
            raise self._trailers_too_large()
        if not _TRAILER.fullmatch(text):
            raise _malformed("a trailer field is not one")

    def _trailers_too_large(self) -> RefusalError:
        return RefusalError(431, f"the trailer section has more than {MAX_TRAILER_BYTES} bytes or {MAX_FIELDS} fields")
