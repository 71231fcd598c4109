"""Time limits without a timer for each: nearly all calls end long before theirs, and setting and cancelling a timer costs
more than they can spare.

Whoever has a limit stands in line. One timer of the event loop looks at those who have waited for a while; the few that
are still there then get a timer of their own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from protocol import deadline

if TYPE_CHECKING:
    from types import TracebackType

WATCH_AFTER = 0.02
"""Seconds in line after which somebody is looked at; a nearer deadline needs a timer at once."""


class Waiting(Protocol):
    """Somebody in line."""

    def look(self) -> None:
        """It has waited; from now on it sees to its time itself."""


class Line:
    """Those of one event loop that nobody has looked at yet, oldest first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Waiting, float] = {}
        self._ticking = False

    def join(self, one: Waiting) -> None:
        self._waiting[one] = self._loop.time()
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(WATCH_AFTER, self._tick)

    def leave(self, one: Waiting) -> None:
        self._waiting.pop(one, None)

    def _tick(self) -> None:
        """Look at those who have waited long enough, and come back when the next one has."""
        now = self._loop.time()
        for one, since in list(self._waiting.items()):
            if now - since < WATCH_AFTER:
                self._loop.call_later(since + WATCH_AFTER - now, self._tick)
                return
            del self._waiting[one]
            one.look()
        self._ticking = False


_LINES: WeakKeyDictionary[asyncio.AbstractEventLoop, Line] = WeakKeyDictionary()


def line_of(loop: asyncio.AbstractEventLoop) -> Line:
    """The line of an event loop."""
    line = _LINES.get(loop)
    if line is None:
        line = _LINES[loop] = Line(loop)
    return line


class TimeLimit:
    """`with TimeLimit(deadline): await ...` raises TimeoutError when the deadline passes, as asyncio.timeout_at does."""

    __slots__ = ("_cancels", "_line", "_loop", "_task", "_timer", "_until", "passed")

    def __init__(self, until: float) -> None:
        self._until = until
        self._timer: asyncio.TimerHandle | None = None
        self.passed = False

    def __enter__(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task, self._cancels = task, task.cancelling()
        self._line = line_of(loop)
        if self._until == deadline.NEVER:
            return
        if deadline.remaining(self._until) < WATCH_AFTER:
            self._set_timer()
        else:
            self._line.join(self)

    def limit(self, until: float) -> None:
        """Bring the deadline nearer."""
        if until < self._until:
            self._line.leave(self)
            if self._timer is not None:
                self._timer.cancel()
            self._until = until
            self._set_timer()

    def look(self) -> None:
        if deadline.remaining(self._until) > 0:
            self._set_timer()
        else:
            self.passed = True
            self._task.cancel()

    def _set_timer(self) -> None:
        self._timer = self._loop.call_later(max(0.0, deadline.remaining(self._until)), self.look)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._line.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        if self.passed and self._task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
            raise TimeoutError from error
