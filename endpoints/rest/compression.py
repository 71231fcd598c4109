"""gzip and deflate (zlib, RFC 1950) of bodies, bounded so that a small body cannot become a huge one.

Only the 200 reply of infer is ever compressed: tritonclient's aiohttp client asks for compression on every call and
reads nothing else compressed. A list of codings with ``br`` in it is what client libraries and browsers send by
default, asked or not, and on loopback or within a data centre compressing costs more than it saves; so a reply is
compressed when the request was, or when the caller names gzip or deflate without ``br``.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.transport.http1.messages import BodyTooLargeError, NoMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.protocol.tensors import Buffer

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_LEVEL = 1
_PIECE_BYTES = 1 << 20
"""What is decompressed between two looks at the memory of all requests."""
_MOST_MEMBERS = 1000
_INLINE_BYTES = 4096
"""Larger work leaves the event loop for a thread; zlib releases the interpreter lock."""
SMALLEST_COMPRESSED = 1024
"""Smaller replies are not worth compressing."""


def request_coding(header: str | None) -> str | None:
    """The coding that ``Content-Encoding`` names, None for none; UNSUPPORTED_MEDIA_TYPE for any other."""
    if header is None:
        return None
    coding = header.strip().lower()
    if coding in ("", "identity"):
        return None
    if coding not in _WINDOW:
        raise InferenceError(
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Encoding '{header[:40]}' is not read here; send gzip, deflate or identity",
        )
    return coding


def reply_coding(accept: str | None, request_coding: str | None) -> str | None:
    """The coding for an infer reply: the caller's by quality value, or None (see the module's text)."""
    if not accept:
        return None
    qualities = _qualities(accept)
    if qualities.get("br", 0) > 0 and request_coding is None:
        return None
    rest = qualities.get("*", 0.0)
    offers = {coding: qualities.get(coding, rest) for coding in ("gzip", "deflate")}
    best = max(offers, key=lambda coding: offers[coding])
    if offers[best] <= 0 or qualities.get("identity", 0.0) > offers[best]:
        return None
    return best if best in qualities or qualities.get("identity") == 0 else None


async def decompress(body: Buffer, coding: str, limit: int, hold: Callable[[int], bool]) -> bytes:
    """The body without its coding; BodyTooLargeError beyond `limit` bytes, INVALID_ARGUMENT when it is broken or short.

    `hold` counts what comes to be; NoMemoryError where it says no.
    """
    if len(body) <= _INLINE_BYTES:
        return _decompress(body, coding, limit, hold)
    return await asyncio.to_thread(_decompress, body, coding, limit, hold)


async def compress(parts: Sequence[Buffer], coding: str) -> bytes:
    """The parts as one compressed body."""
    if sum(map(len, parts)) <= _INLINE_BYTES:
        return _compress(parts, coding)
    return await asyncio.to_thread(_compress, parts, coding)


def _decompress(body: Buffer, coding: str, limit: int, hold: Callable[[int], bool]) -> bytes:
    """All members of a gzip body (RFC 1952 allows several), or the one stream of a deflate body."""
    pieces: list[bytes] = []
    room, members = limit, 0
    rest: Buffer = body
    while True:
        stream = zlib.decompressobj(_WINDOW[coding])
        try:
            while not stream.eof:
                piece = stream.decompress(rest, min(room + 1, _PIECE_BYTES))
                rest = stream.unconsumed_tail
                room -= len(piece)
                if room < 0:
                    raise BodyTooLargeError
                if not hold(len(piece)):
                    raise NoMemoryError
                if not piece and not rest and not stream.eof:
                    raise invalid(f"the {coding} body ends too early")
                pieces.append(piece)
        except zlib.error:
            raise invalid(f"the body is not valid {coding}") from None
        members += 1
        rest = stream.unused_data
        if not rest:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if coding == "deflate" or members > _MOST_MEMBERS:
            raise invalid(f"the {coding} body has {len(rest)} bytes after its end")


def _compress(parts: Sequence[Buffer], coding: str) -> bytes:
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW[coding])
    return b"".join([*(stream.compress(part) for part in parts), stream.flush()])


def _qualities(accept: str) -> dict[str, float]:
    """``Accept-Encoding`` as coding -> quality value (RFC 9110 12.5.3); a value that cannot be read counts as 0."""
    qualities: dict[str, float] = {}
    for item in accept[:1000].split(","):
        coding, _, parameters = item.partition(";")
        if name := coding.strip().lower():
            qualities["gzip" if name == "x-gzip" else name] = _quality(parameters)
    return qualities


def _quality(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
