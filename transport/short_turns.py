"""Work that becomes due all at once is spread over turns of the event loop, so that whoever else asks is served between.

A hundred tasks that wait for one connection's replies may all go on in the same turn. Each is short, and they come from one
caller; another one's request would wait for all of them.
"""

from __future__ import annotations

import asyncio
import time

from crossover.transport.per_loop import PerLoop

TURN_SECONDS = 0.005
"""So long such work goes on before it lets others have a turn."""


class _Turn:
    """The current turn of one event loop, as far as it is spent on such work."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._began: float | None = None

    def may_go_on(self) -> bool:
        now = time.monotonic()
        if self._began is None:
            self._began = now
            self._loop.call_soon(self._end)
        return now - self._began < TURN_SECONDS

    def _end(self) -> None:
        self._began = None


_OF: PerLoop[_Turn] = PerLoop(_Turn)


async def take_turn() -> None:
    """Go on in this turn of the event loop where little was done in it, else in a later one."""
    turn = _OF[asyncio.get_running_loop()]
    while not turn.may_go_on():  # noqa: ASYNC110 - what is waited for is the loop's next turn itself
        await asyncio.sleep(0)
