"""Deadlines of one event loop without a timer for each.

Nearly all calls end long before their deadline, and setting and cancelling a timer of the event loop costs more than they
can spare. A new entry therefore only stands in an ordered dictionary; one tick looks at the entries that are older than
`YOUNG_SECONDS`, and gives the few that are still there a timer of their own. A deadline nearer than that has one at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from crossover.protocol import deadline

if TYPE_CHECKING:
    from collections.abc import Callable

YOUNG_SECONDS = 0.02


class Deadline:
    """One entry: `expired` is called once at the deadline, unless `cancel` comes first."""

    __slots__ = ("_expired", "_handle", "_queue", "came", "when")

    def __init__(self, queue: DeadlineQueue, when: float, expired: Callable[[], object]) -> None:
        self.when = when
        """On the monotonic clock in seconds."""
        self.came = 0.0
        """The loop's time when it was made."""
        self._queue = queue
        self._expired = expired
        self._handle: asyncio.TimerHandle | None = None

    def cancel(self) -> None:
        """Forget the entry; calling it again does nothing."""
        if self._handle is None:
            self._queue.young.pop(self, None)
        else:
            self._handle.cancel()
            self._handle = None

    def start_timer(self) -> None:
        self._handle = self._queue.loop.call_later(max(0.0, deadline.remaining(self.when)), self._expired)


class DeadlineQueue:
    """The deadlines of an event loop; `deadline_queue` gives it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.young: dict[Deadline, None] = {}
        """Entries without a timer, oldest first."""
        self._ticking = False

    def call_at(self, when: float, expired: Callable[[], object]) -> Deadline:
        """Call `expired` at `when` (monotonic seconds); `NEVER` is never called."""
        entry = Deadline(self, when, expired)
        if when == deadline.NEVER:
            return entry
        now = entry.came = self.loop.time()  # uvloop's is that of the turn's beginning; what is near is measured anew
        if when - now < YOUNG_SECONDS:
            entry.start_timer()
            return entry
        self.young[entry] = None
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(YOUNG_SECONDS, self._tick)
        return entry

    def _tick(self) -> None:
        """Give timers to entries that are no longer young, and come back when the next one is not."""
        now = self.loop.time()
        for entry in list(self.young):
            if now - entry.came < YOUNG_SECONDS:
                self.loop.call_later(entry.came + YOUNG_SECONDS - now, self._tick)
                return
            del self.young[entry]
            entry.start_timer()
        self._ticking = False


_QUEUES: WeakKeyDictionary[asyncio.AbstractEventLoop, DeadlineQueue] = WeakKeyDictionary()


def deadline_queue(loop: asyncio.AbstractEventLoop) -> DeadlineQueue:
    """The queue of an event loop."""
    queue = _QUEUES.get(loop)
    if queue is None:
        queue = _QUEUES[loop] = DeadlineQueue(loop)
    return queue
