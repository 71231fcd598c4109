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
"""Numbers, or bytes, at a time: what is needed beside them stays a few megabytes."""


def count(packed: NDArray[np.uint8]) -> int:
    """How many numbers there are."""
    return int(np.count_nonzero(packed < _CONTINUED))


def encode(numbers: NDArray[Any]) -> list[Buffer]:
    """The numbers as varints, in parts."""
    return [_encoded(numbers[at : at + _BATCH]) for at in range(0, len(numbers), _BATCH)]


def _encoded(numbers: NDArray[Any]) -> Buffer:
    left = numbers.astype(np.int64).view(np.uint64) if numbers.dtype.kind == "i" else numbers.astype(np.uint64)
    if not left.size or left.max() < _CONTINUED:
        return left.astype(np.uint8).data
    sizes = np.ones(left.shape, np.int64)
    for shift in range(7, 7 * _MOST_BYTES, 7):
        longer = left >= np.uint64(1 << shift) if shift < 64 else np.zeros(left.shape, bool)
        if not longer.any():
            break
        sizes += longer
    ends = sizes.cumsum()
    made = np.empty(int(ends[-1]), np.uint8)
    at, rest = ends - sizes, sizes
    while left.size:
        made[at] = (left & np.uint64(0x7F)).astype(np.uint8) | np.where(rest > 1, np.uint8(_CONTINUED), np.uint8(0))
        more = rest > 1
        left, at, rest = left[more] >> np.uint64(7), at[more] + 1, rest[more] - 1
    return made.data


def decode(packed: NDArray[np.uint8], dtype: np.dtype[Any]) -> NDArray[Any] | None:
    """The numbers of a field of that type, of which 32-bit ones take the low half as protobuf does; None when they are no
    varints.
    """
    parts: list[NDArray[Any]] = []
    at = 0
    while at < len(packed):
        window = packed[at : at + _BATCH]
        ends = np.flatnonzero(window < _CONTINUED)
        if not ends.size:
            return None
        taken = window[: int(ends[-1]) + 1]
        wide = _decoded(taken, ends)
        if wide is None:
            return None
        parts.append(wide.astype(f"u{dtype.itemsize}").view(dtype))
        at += len(taken)
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
