"""The memory in which a large body of known length is received, past the parser and without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

SMALLEST = 64 << 10
"""Bytes of a body from which on that is worth it."""
_ALIGNMENT = 64


class LargeBody:
    """A body of known length that is being received."""

    __slots__ = ("filled", "memory")

    def __init__(self, size: int, first: Any = b"", boundary: int = 0) -> None:
        """Room for `size` bytes, and the `first` ones of them.

        The byte at `boundary` is where memory is well aligned: numbers that begin there are used where they are.
        """
        room = np.empty(size + _ALIGNMENT, np.uint8)
        start = -(room.ctypes.data + boundary) % _ALIGNMENT
        self.memory = memoryview(room.data)[start : start + size]
        self.filled = len(first)
        self.memory[: self.filled] = first

    @property
    def rest(self) -> memoryview:
        """Where the next bytes go."""
        return self.memory[self.filled :]

    @property
    def is_whole(self) -> bool:
        return self.filled == len(self.memory)
