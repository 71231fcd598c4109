"""The short way of an infer request: from the parser to its handler and back, past ASGI.

ASGI has a scope, wrappers and two messages each way for every request, which together cost more than a small model's
answer. A small request that came whole, and asks for nothing about its connection, needs none of it; all others go the
long way, through the same handlers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio

    from crossover.endpoints.rest.errors import Headers, Reply
    from crossover.endpoints.rest.routes import Route

RawHeaders = list[tuple[bytes, bytes]]

LARGEST_BODY = 64 << 10
"""Bytes of a body on the short way; from here on bodies are received in place (receiving.py)."""
_LONG_WAY = frozenset({b"connection", b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"})
_MOST_KEPT = 256
"""Sets of header fields that are remembered: clients repeat theirs."""


class App(Protocol):
    """An application that answers past ASGI what `short_way` gives a route for."""

    def short_way(self, url: bytes) -> Route | None: ...

    async def answer(self, asked: Direct) -> Reply | None: ...


@dataclass(frozen=True, slots=True)
class Fields:
    """A request's header fields."""

    by_name: dict[str, str]
    length: int
    """Of the body; -1 when the request has to go the long way."""


class _Nothing:
    """What uvicorn sets when something has come: nobody waits for it here."""

    def set(self) -> None: ...


class Direct:
    """One request; it stands where uvicorn's protocol has a RequestResponseCycle."""

    __slots__ = (
        "begun", "body", "disconnected", "fields", "keep_alive", "more_body", "response_complete", "route", "task",
    )  # fmt: skip
    message_event = _Nothing()

    def __init__(self, route: Route, fields: dict[str, str]) -> None:
        self.route = route
        self.fields = fields
        self.body = bytearray()
        self.more_body = self.keep_alive = True
        self.response_complete = False
        self.begun = self.disconnected = False
        """The client has gone."""
        self.task: asyncio.Task[None] | None = None

    def lose(self) -> None:
        """The client has gone: nobody waits for the answer."""
        if self.task is not None and not self.response_complete:
            self.task.cancel()


_KEPT: dict[tuple[tuple[bytes, bytes], ...], Fields] = {}


def fields_of(headers: RawHeaders) -> Fields:
    """The header fields of a request, decoded once for as long as they repeat themselves."""
    key = tuple(headers)
    found = _KEPT.get(key)
    if found is None:
        found = _decoded(headers)
        if len(_KEPT) == _MOST_KEPT:
            _KEPT.clear()
        _KEPT[key] = found
    return found


def _decoded(headers: RawHeaders) -> Fields:
    by_name = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    lengths = [value for name, value in headers if name == b"content-length"]
    plain = len(lengths) == 1 and lengths[0].isdigit() and not any(name in _LONG_WAY for name, _ in headers)
    return Fields(by_name, int(lengths[0][:20]) if plain else -1)


class Heads:
    """Heads of replies, which repeat themselves for as long as the date does."""

    def __init__(self) -> None:
        self._default: Any = None
        self._kept: dict[tuple[Any, ...], bytes] = {}

    def head(self, status: bytes, default: Headers, headers: Headers, length: int, keep_alive: bool) -> bytes:
        """Status line and header fields; `default` are those of every reply, the same object until they change."""
        if default is not self._default or len(self._kept) > _MOST_KEPT:
            self._default = default
            self._kept.clear()
        key = (status, length, keep_alive, *headers)
        found = self._kept.get(key)
        if found is None:
            lines = [b"%b: %b\r\n" % field for field in (*default, *headers)]
            end = b"" if keep_alive else b"connection: close\r\n"
            found = self._kept[key] = b"%b%bcontent-length: %d\r\n%b\r\n" % (status, b"".join(lines), length, end)
        return found
