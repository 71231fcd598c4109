"""A cache that a caller cannot make grow: bounded in entries, in bytes, and each entry in bytes."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MOST_ENTRIES = 256
MOST_ENTRY_BYTES = 4096
MOST_BYTES = 256 << 10


class BoundedCache(Generic[K, V]):
    """`get` is a dictionary's; `put` drops the oldest entries to stay within the bounds.

    It drops by age and not by use, since keeping the order of use would cost every hit. An entry that is still in use (a
    client's header fields, a model's message heads) is put back at the next miss.
    """

    __slots__ = ("_bytes", "_most_bytes", "_most_entries", "_most_entry_bytes", "_sizes", "_values", "get")

    def __init__(
        self,
        most_entries: int = MOST_ENTRIES,
        most_entry_bytes: int = MOST_ENTRY_BYTES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._values: dict[K, V] = {}
        self._sizes: dict[K, int] = {}
        self._bytes = 0
        self._most_entries = most_entries
        self._most_entry_bytes = most_entry_bytes
        self._most_bytes = most_bytes
        self.get = self._values.get
        """The value of a key; None when it is not here."""

    def __len__(self) -> int:
        return len(self._values)

    def put(self, key: K, value: V, size: int) -> None:
        """Keep `value`, which stands for `size` bytes that a peer sent; a larger one than an entry may have is not kept."""
        if size > self._most_entry_bytes:
            return
        self._drop(key)
        while self._values and (len(self._values) >= self._most_entries or self._bytes + size > self._most_bytes):
            self._drop(next(iter(self._values)))
        self._values[key], self._sizes[key] = value, size
        self._bytes += size

    def clear(self) -> None:
        self._values.clear()
        self._sizes.clear()
        self._bytes = 0

    def _drop(self, key: K) -> None:
        self._values.pop(key, None)  # another thread may have been here first
        self._bytes -= self._sizes.pop(key, 0)
