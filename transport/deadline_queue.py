"""Deadlines of one event loop without a timer for each.

Nearly all calls end long before their deadline, and setting and cancelling a timer of the event loop costs more than they
can spare. A new entry therefore only stands in an ordered dictionary; one tick looks at the entries that are older than
`YOUNG_SECONDS`, and gives the few that are still there a timer of their own. A deadline nearer than that has one at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crossover.protocol import deadline
from crossover.transport.per_loop import PerLoop

if TYPE_CHECKING:
    from collections.abc import Callable

YOUNG_SECONDS = 0.25
"""Longer than a call takes where many callers share a busy loop: such calls are no fewer than the quick ones."""


class Entry:
    """What stands in a queue until its deadline, unless `cancel` comes first."""

    __slots__ = ("_handle", "_queue", "came", "when")

    def __init__(self, when: float) -> None:
        self.when = when
        """On the monotonic clock in seconds; `NEVER` is never."""
        self.came = 0.0
        """The loop's time when it was entered."""
        self._queue: DeadlineQueue | None = None
        self._handle: asyncio.TimerHandle | None = None

    def expired(self) -> None:
        """The deadline has come; called once."""
        raise NotImplementedError

    def enter(self, queue: DeadlineQueue) -> None:
        """Stand in `queue` from now on."""
        if self.when == deadline.NEVER:
            return
        self._queue = queue
        now = self.came = queue.loop.time()  # uvloop's is that of the turn's beginning; what is near is measured anew
        if self.when - now < YOUNG_SECONDS:
            self.start_timer()
            return
        queue.young[self] = None
        if not queue.ticking:
            queue.start_ticking()

    def cancel(self) -> None:
        """Forget the entry; calling it again does nothing."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        elif self._queue is not None:
            self._queue.young.pop(self, None)

    def start_timer(self) -> None:
        assert self._queue is not None
        self._handle = self._queue.loop.call_later(max(0.0, deadline.remaining(self.when)), self.expired)


class Deadline(Entry):
    """An entry that calls something."""

    __slots__ = ("_callback",)

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        super().__init__(when)
        self._callback = callback

    def expired(self) -> None:
        self._callback()


class DeadlineQueue:
    """The deadlines of an event loop; `deadline_queue` gives it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.young: dict[Entry, None] = {}
        """Entries without a timer, oldest first."""
        self.ticking = False

    def call_at(self, when: float, callback: Callable[[], object]) -> Deadline:
        """Call `callback` at `when` (monotonic seconds); `NEVER` is never called."""
        entry = Deadline(when, callback)
        entry.enter(self)
        return entry

    def start_ticking(self) -> None:
        self.ticking = True
        self.loop.call_later(YOUNG_SECONDS, self._tick)

    def _tick(self) -> None:
        """Give timers to entries that are no longer young, and come back when the next one is not."""
        now = self.loop.time()
        for entry in list(self.young):
            if now - entry.came < YOUNG_SECONDS:
                self.loop.call_later(entry.came + YOUNG_SECONDS - now, self._tick)
                return
            del self.young[entry]
            entry.start_timer()
        self.ticking = False


_OF: PerLoop[DeadlineQueue] = PerLoop(DeadlineQueue)


def deadline_queue(loop: asyncio.AbstractEventLoop) -> DeadlineQueue:
    """The queue of an event loop."""
    return _OF[loop]
