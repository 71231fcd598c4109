"""Payloads cross to the load generator's process once, not with every slice: megabytes that are copied just before a slice
begins leave nobody's caches as they were.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


class Shared(list[T]):
    """A list that many slices use and nobody changes."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Tells the other side what a number stands for."""

    number: int
    items: list[Any]


class Sender:
    """Makes messages in which numbers stand for what the other side has."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, Shared[Any]]] = {}
        """Number and list by the list's id, which stays its own for as long as it is kept here."""

    def messages(self, thing: Any) -> list[bytes]:
        """What to send, in order: first what the other side lacks."""
        first = len(self._known)
        data = self._pickled(thing)
        new = [found for found in self._known.values() if found[0] >= first]
        return [*(pickle.dumps(Keep(number, list(items))) for number, items in new), data]

    def _pickled(self, thing: Any) -> bytes:
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
        pickler.persistent_id = self._number  # type: ignore[method-assign]
        pickler.dump(thing)
        return buffer.getvalue()

    def _number(self, thing: Any) -> int | None:
        if not isinstance(thing, Shared):
            return None
        return self._known.setdefault(id(thing), (len(self._known), thing))[0]


class Receiver:
    """Reads them."""

    def __init__(self) -> None:
        self._kept: dict[int, list[Any]] = {}

    def read(self, message: bytes) -> Any:
        """What was sent; None when it was something to keep."""
        unpickler = pickle.Unpickler(io.BytesIO(message))  # noqa: S301 - from a process of ours, over a pipe
        unpickler.persistent_load = self._kept.__getitem__  # type: ignore[method-assign]
        thing = unpickler.load()
        if not isinstance(thing, Keep):
            return thing
        self._kept[thing.number] = thing.items
        return None
