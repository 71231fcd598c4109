"""gRPC's messages as they stand in DATA: a prefix of five bytes, perhaps compressed (gRPC over HTTP/2, PROTOCOL-HTTP2.md)."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

from crossover.protocol.errors import PortableError
from crossover.transport.grpc.status import INTERNAL, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED
from crossover.transport.http1.receive_buffer import SMALLEST, LargeBody
from crossover.transport.http2.frames import Buffer

PREFIX_BYTES = 5
"""Before every message: a byte that is 1 when it is compressed, and its length."""
ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Message encodings beside identity, and how zlib calls their formats."""
INLINE_BYTES = 4096
"""Decompressing more leaves the event loop for a thread: it makes up to a thousand times as many bytes."""

MOST_DECODED_BYTES = 64 << 10
"""Of a request for health or reflection: names."""


class BadMessageError(PortableError):
    """What came can be no message within the limit; `code` is gRPC's status number, `size` the bytes that were announced."""

    def __init__(self, code: int, text: str, size: int = 0) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.size = size


def prefixed(size: int) -> bytes:
    """What stands before a message of `size` bytes that is not compressed."""
    return b"\0" + size.to_bytes(4, "big")


def whole_message(piece: Buffer, limit: int) -> Buffer | None:
    """The message that `piece` is, prefix and all; None where it is anything but one whole message that is not compressed."""
    if len(piece) < PREFIX_BYTES or piece[0]:
        return None
    size = int.from_bytes(piece[1:PREFIX_BYTES], "big")
    return piece[PREFIX_BYTES:] if size <= limit and len(piece) == PREFIX_BYTES + size else None


@final
@dataclass(frozen=True, slots=True)
class Compressed:
    """A message as it came; whoever takes it decompresses it."""

    data: Buffer
    encoding: str
    limit: int
    """Bytes that it may have when it is decompressed."""

    def __len__(self) -> int:
        return len(self.data)

    async def read(self) -> bytes:
        """The message; BadMessageError when it is broken or too large."""
        if len(self.data) <= INLINE_BYTES:
            return decompressed(self.data, self.encoding, self.limit)
        return await asyncio.to_thread(decompressed, self.data, self.encoding, self.limit)


Message = Buffer | Compressed


class MessageReader:
    """Cuts what comes on one stream into messages of at most `limit` bytes; BadMessageError when that cannot be."""

    __slots__ = ("_compressed", "_encoding", "_large", "_limit", "_pieces", "_whole", "held")

    def __init__(self, limit: int, encoding: str = "identity") -> None:
        self._limit = limit
        self._encoding = encoding
        self._pieces: list[Buffer] = []
        self._large: LargeBody | None = None
        """The memory of a large message under way, which takes the place of the pieces."""
        self._whole = PREFIX_BYTES
        """Bytes of the message under way with its prefix, as far as is known."""
        self._compressed = False
        self.held = 0
        """Bytes of the message under way that have come."""

    @property
    def missing(self) -> int:
        """Bytes that the message under way still lacks; 0 between messages."""
        return self._whole - self.held if self.held else 0

    def feed(self, piece: Buffer) -> list[Message]:
        """The messages that the piece completes."""
        if not self.held and (message := whole_message(piece, self._limit)) is not None:
            return [message]
        messages: list[Message] = []
        at = 0
        while at < len(piece):  # what is left is not cut off: of bytes that would copy it for each message
            taken = piece[at : at + self._whole - self.held]
            at += len(taken)
            self._keep(taken)
            if self.held == PREFIX_BYTES == self._whole:
                self._begin()
            if self.held == self._whole:
                messages.append(self._end())
        return messages

    def _keep(self, piece: Buffer) -> None:
        self.held += len(piece)
        if self._large is None:
            self._pieces.append(piece)
        else:
            self._large.rest[: len(piece)] = piece
            self._large.filled += len(piece)

    def _begin(self) -> None:
        """The prefix is there."""
        prefix = b"".join(self._pieces)
        self._pieces.clear()
        size = int.from_bytes(prefix[1:], "big")
        self._compressed = bool(prefix[0])
        if prefix[0] > 1:
            raise BadMessageError(
                INTERNAL, f"a message's first byte is {prefix[0]}; it is 0, or 1 when it is compressed"
            )
        if self._compressed and self._encoding == "identity":
            raise BadMessageError(INTERNAL, "a message is compressed, but grpc-encoding does not say how")
        if self._compressed and self._encoding not in ENCODINGS:
            known = ", ".join(("identity", *ENCODINGS))
            raise BadMessageError(UNIMPLEMENTED, f"grpc-encoding '{self._encoding[:40]}' is not read here; {known} are")
        if size > self._limit:
            raise BadMessageError(
                RESOURCE_EXHAUSTED, f"Received message larger than max ({size} vs. {self._limit})", size
            )
        self._whole = PREFIX_BYTES + size
        if size >= SMALLEST:
            # contents stand last in OIP's messages: with an aligned end, numbers of 4 and 8 bytes are aligned too
            self._large = LargeBody(size, boundary=size)

    def _end(self) -> Message:
        message: Buffer = self._large.memory.toreadonly() if self._large is not None else b"".join(self._pieces)
        self._large = None
        self._pieces.clear()
        self.held, self._whole = 0, PREFIX_BYTES
        return Compressed(message, self._encoding, self._limit) if self._compressed else message


def decoded(parse: Callable[[bytes], Any] | None, message: Buffer) -> Any:
    """What a method's handler takes for a message, which has little to say; BadMessageError when it can't be decoded.

    Handlers of tensors take the bytes themselves: `parse` is None.
    """
    if parse is None:
        return message
    if len(message) > MOST_DECODED_BYTES:
        text = f"the message has {len(message)} bytes; a request of this method takes {MOST_DECODED_BYTES} at most"
        raise BadMessageError(RESOURCE_EXHAUSTED, text, len(message))
    try:
        return parse(bytes(message))
    except Exception:  # noqa: BLE001 - protobuf raises several kinds for one cause
        raise BadMessageError(
            INVALID_ARGUMENT, "the message can't be decoded as protobuf of the method's request"
        ) from None


def decompressed(message: Buffer, encoding: str, limit: int) -> bytes:
    """A gzip or deflate message; BadMessageError when it is broken or would be larger than `limit`."""
    reader = zlib.decompressobj(ENCODINGS[encoding])
    try:
        data = reader.decompress(message, limit + 1)
    except zlib.error:
        raise BadMessageError(INTERNAL, f"a message is not {encoding}, as it says") from None
    size = len(data)
    if size > limit:
        del data  # the error's traceback would keep it for as long as anybody looks at the error
        raise BadMessageError(RESOURCE_EXHAUSTED, f"Received message larger than max ({limit}) when decompressed", size)
    if not reader.eof:
        raise BadMessageError(INTERNAL, f"a message in {encoding} ends too early")
    if reader.unused_data:
        raise BadMessageError(
            INTERNAL, f"a message has {len(reader.unused_data)} bytes after the end of its {encoding}"
        )
    return data
