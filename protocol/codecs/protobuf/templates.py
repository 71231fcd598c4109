"""A cache of templates: messages without the bytes of the one tensor at their end.

A caller's requests for one model differ in those bytes alone, and so do the replies. So the library parses or encodes a
template once; a message that begins with the same bytes and has the same length is the same message around other elements.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.codecs.protobuf.wire import varint
from crossover.protocol.tensors import Buffer

VIEWED_FROM = 32 * 1024
"""Bytes of a message from which on its tensor is a view; a copy of less costs nothing and is well aligned."""
_FIRST = 32
T = TypeVar("T")


class DecodedTemplates(Generic[T]):
    """Messages that were parsed, by the length and the first bytes of the whole message.

    The first bytes hold the model's name, so that models in turn do not push each other out.
    """

    def __init__(self, raw_key: bytes) -> None:
        self._raw_key = raw_key
        self._cache: BoundedCache[tuple[int, bytes], tuple[bytes, T]] = BoundedCache()

    def find(self, data: Buffer) -> tuple[T, Buffer] | None:
        """The parsed message that began like `data`, and the tensor's bytes in `data`."""
        entry = self._cache.get((len(data), bytes(data[:_FIRST])))
        if entry is None:
            return None
        head, message = entry
        size = len(head)
        if data[:size] != head:
            return None
        return message, data[size:] if len(data) < VIEWED_FROM else memoryview(data)[size:]

    def learn(self, data: Buffer, raw_size: int, message: T) -> None:
        """Keep the parsed `message`, unless the `raw_size` bytes of the one tensor are not the last of `data`."""
        at = len(data) - raw_size
        before = self._raw_key + varint(raw_size)
        if raw_size and data[at - len(before) : at] == before:
            self._cache.put((len(data), bytes(data[:_FIRST])), (bytes(data[:at]), message), at)

    def __len__(self) -> int:
        return len(self._cache)


class EncodedTemplates:
    """The bytes before the tensor's in encoded messages, by everything that these bytes depend on."""

    def __init__(self) -> None:
        self._cache: BoundedCache[tuple[object, ...], bytes] = BoundedCache()
        self.get = self._cache.get

    def keep(self, key: tuple[object, ...], message: bytes, raw_size: int) -> bytes:
        """Keep the bytes before the last `raw_size` ones of `message`, and return them."""
        head = message[: len(message) - raw_size]
        self._cache.put(key, head, len(head))
        return head

    def __len__(self) -> int:
        return len(self._cache)
