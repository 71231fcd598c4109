"""Packed varints of whole tensors, by array operations: protobuf's library makes a Python integer of each number.

Source: protobuf's encoding guide (varints; negative numbers are 64-bit two's complement, so they take ten bytes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crossover.protocol.tensors import Buffer

_CONTINUED = 0x80
"""A byte of a varint that is less than this is the last one of its number."""
_MOST_BYTES = 10
_BATCH = 1 << 18
"""Numbers, or bytes, at a time: temporary arrays stay at a few megabytes."""


def count(packed: NDArray[np.uint8]) -> int:
    """How many numbers there are."""
    return int(np.count_nonzero(packed < _CONTINUED))


def encode(numbers: NDArray[Any]) -> list[Buffer]:
    """The numbers as varints, in parts."""
    return [_encoded(numbers[at : at + _BATCH]) for at in range(0, len(numbers), _BATCH)]


def _encoded(numbers: NDArray[Any]) -> Buffer:
    remaining = numbers.astype(np.int64).view(np.uint64) if numbers.dtype.kind == "i" else numbers.astype(np.uint64)
    if not remaining.size or remaining.max() < _CONTINUED:
        return remaining.astype(np.uint8).data
    sizes = np.ones(remaining.shape, np.int64)
    for shift in range(7, 7 * _MOST_BYTES, 7):
        longer = remaining >= np.uint64(1 << shift) if shift < 64 else np.zeros(remaining.shape, bool)
        if not longer.any():
            break
        sizes += longer
    ends = sizes.cumsum()
    octets = np.empty(int(ends[-1]), np.uint8)
    at, rest = ends - sizes, sizes
    while remaining.size:
        octets[at] = (remaining & np.uint64(0x7F)).astype(np.uint8) | np.where(
            rest > 1, np.uint8(_CONTINUED), np.uint8(0)
        )
        more = rest > 1
        remaining, at, rest = remaining[more] >> np.uint64(7), at[more] + 1, rest[more] - 1
    return octets.data


def decode(packed: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """The numbers of a field of that type; 32-bit ones are the low half, as in protobuf. None when the bytes are not varints."""
    parts: list[NDArray[Any]] = []
    at = 0
    while at < len(packed):
        window = packed[at : at + _BATCH]
        ends = np.flatnonzero(window < _CONTINUED)
        if not ends.size:
            return None
        complete = window[: int(ends[-1]) + 1]
        wide = _decoded(complete, ends)
        if wide is None:
            return None
        parts.append(wide.astype(f"u{dtype.itemsize}").view(dtype))
        at += len(complete)
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _decoded(packed: NDArray[np.uint8], ends: NDArray[np.int64]) -> NDArray[np.uint64] | None:
    if len(ends) == len(packed):
        return packed.astype(np.uint64)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    longest = int(sizes.max())
    if longest > _MOST_BYTES:
        return None
    values = np.zeros(len(ends), np.uint64)
    for index in range(longest):
        has = sizes > index
        byte = packed[starts[has] + index].astype(np.uint64) & np.uint64(0x7F)
        values[has] |= byte << np.uint64(7 * index)
    return values
