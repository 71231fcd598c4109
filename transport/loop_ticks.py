"""How late an event loop's timers are: one tick for everybody who wants to know.

A loop takes what came on all sockets, works through it, and only then looks at its timers and sockets again. How late a
tick fires tells how long such a turn was, and so how long what has come meanwhile has waited.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from crossover.transport.per_loop import PerLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

TICK_SECONDS = 0.01
IDLE_TICK_SECONDS = 0.1
"""While nobody asks: a process that has nothing to do is not to wake a hundred times a second."""
_QUIET_TICKS = 20
"""So long it goes on quickly after somebody asked: what a request has begun may take some turns."""
Listener: TypeAlias = Callable[[float, float], None]
"""Called at each tick with the time (monotonic) and the seconds by which it was late."""


class LoopTicks:
    """Of one event loop. It ticks while somebody asks, or listens."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.late = 0.0
        """Seconds by which the last two ticks were late at least: one pause is no overload."""
        self.ticking = False
        """Whether it ticks quickly."""
        self._asked = False
        """Whether `late` was asked for since the last tick."""
        self._loop = loop
        self._last_late = 0.0
        self._quiet = 0
        """Ticks since somebody asked last."""
        self._due = 0.0
        self._listeners: list[Listener] = []
        self._timer: asyncio.TimerHandle | None = None

    def ask(self) -> float:
        """`late`, kept up to date while it is asked for."""
        self._asked = True
        if not self.ticking:
            self.start()
        return self.late

    @contextmanager
    def told(self, listener: Listener) -> Iterator[None]:
        """Call `listener` at each tick meanwhile."""
        self._listeners.append(listener)
        if self._timer is None:
            self._wait(IDLE_TICK_SECONDS)
        try:
            yield
        finally:
            self._listeners.remove(listener)
            if not self._listeners and not self.ticking and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def start(self) -> None:
        """Tick quickly from now on."""
        if self._timer is not None:
            self._timer.cancel()
        self.ticking = True
        self._quiet = 0
        self._wait(TICK_SECONDS)

    def _wait(self, seconds: float) -> None:
        self._due = time.monotonic() + seconds
        self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        late = max(0.0, now - self._due)
        self.late, self._last_late = min(late, self._last_late), late
        self._quiet = 0 if self._asked else self._quiet + 1
        self._asked = False
        self.ticking = self._quiet < _QUIET_TICKS and self.ticking
        self._timer = None
        if self.ticking:
            self._wait(TICK_SECONDS)
        elif self._listeners:
            self._wait(IDLE_TICK_SECONDS)
        for listener in self._listeners:
            listener(now, late)


_OF: PerLoop[LoopTicks] = PerLoop(LoopTicks)


def loop_ticks(loop: asyncio.AbstractEventLoop) -> LoopTicks:
    """The ticks of an event loop."""
    return _OF[loop]
