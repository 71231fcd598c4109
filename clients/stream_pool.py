"""Which of several long-lived streams takes the next request: one that is free, else a new one, else each in its turn.

On one stream messages go one after the other, each with a wake-up of its own at both ends; on several, those that are
ready together share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

MOST_STREAMS = 32


class Open(Protocol):
    """An open stream."""

    @property
    def broken(self) -> bool:
        """It takes no more requests."""
        ...

    @property
    def waiting(self) -> Sized:
        """The requests under way on it."""
        ...


S = TypeVar("S", bound=Open)


class StreamPool(Generic[S]):
    """At most `most` streams, made by `open_one` when they are first needed."""

    def __init__(self, open_one: Callable[[], S], most: int = MOST_STREAMS) -> None:
        self._open_one = open_one
        self._most = most
        self._streams: list[S] = []
        self._free: dict[S, None] = {}
        """Those with nothing under way, the one that was used last at the end."""
        self._turn = 0

    def take(self) -> S:
        """The stream for one request, to be followed by `give_back`."""
        while self._free:
            stream, _ = self._free.popitem()
            if not stream.broken:
                return stream
        if len(self._streams) == self._most:
            self._streams = [stream for stream in self._streams if not stream.broken]
        if len(self._streams) < self._most:
            stream = self._open_one()
            self._streams.append(stream)
            return stream
        self._turn += 1
        return self._streams[self._turn % self._most]

    def give_back(self, stream: S) -> None:
        """The request is over."""
        if not stream.waiting and not stream.broken:
            self._free[stream] = None

    def all(self) -> list[S]:
        return list(self._streams)

    def emptied(self) -> list[S]:
        """All streams, which are the pool's no more."""
        streams, self._streams, self._free = self._streams, [], {}
        return streams
