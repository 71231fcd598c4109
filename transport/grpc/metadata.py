"""gRPC's metadata and timeouts as header fields (gRPC over HTTP/2, PROTOCOL-HTTP2.md)."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Mapping

from crossover.protocol import deadline
from crossover.protocol.bounded_cache import BoundedCache

Metadata = tuple[tuple[str, "str | bytes"], ...]

_RESERVED = frozenset(
    (
        "grpc-status", "grpc-message", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "te", "content-type",
        "content-length",
    )
)  # fmt: skip
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_NO_KEY = ""
_keys: BoundedCache[bytes, str] = BoundedCache()


class BadTimeoutError(Exception):
    """A `grpc-timeout` that is none; the text says what would be one."""


def metadata_in(fields: Mapping[bytes, bytes]) -> Metadata:
    """The metadata among the fields; keys that end in -bin have bytes."""
    found: list[tuple[str, str | bytes]] = []
    for name, value in fields.items():
        key = _keys.get(name)
        if key is None:
            key = _key_of(name)
        if key:
            found.append((key, _binary(value) if key.endswith("-bin") else value.decode("latin-1")))
    return tuple(found)


def text_of(fields: Mapping[bytes, bytes]) -> list[tuple[str, str]]:
    """All fields as text, HTTP's and gRPC's own too."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields.items()]


def _key_of(name: bytes) -> str:
    """The key that a field's name is; `_NO_KEY` for what is gRPC's or HTTP's own."""
    key = name.decode("latin-1")
    if key in _RESERVED or key.startswith(":"):
        key = _NO_KEY
    _keys.put(name, key, len(name))
    return key


def metadata_out(metadata: Metadata) -> tuple[tuple[str, str], ...]:
    """Metadata as header fields: bytes become base64 without padding."""
    return tuple(
        (key, value if isinstance(value, str) else base64.b64encode(value).decode("ascii").rstrip("="))
        for key, value in metadata
    )


def _binary(value: bytes) -> bytes:
    """The first of the values that a repeated -bin key has, separated by commas."""
    value = value.split(b",", 1)[0].strip()
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        return b""


def timeout_text(until: float) -> str:
    """The time that remains as `grpc-timeout`: at most eight digits and a unit."""
    left = max(0.0, until - time.monotonic())
    for unit, scale in (("u", 1e6), ("m", 1e3), ("S", 1.0)):
        if left * scale < 1e8:
            return f"{int(left * scale) or 1}{unit}"
    return "99999999S"


def deadline_of(text: bytes | None) -> float:
    """The deadline that a `grpc-timeout` asks for, never where there is none; BadTimeoutError when it is not one."""
    if text is None:
        return deadline.NEVER
    digits, unit = text[:-1], _UNITS.get(chr(text[-1])) if text else None
    if unit is None or not digits.isdigit() or len(digits) > 8:
        shown = text[:40].decode("latin-1")
        raise BadTimeoutError(f"grpc-timeout is '{shown}'; it takes at most 8 digits and one of H, M, S, m, u, n")
    return deadline.after(int(digits) * unit)
