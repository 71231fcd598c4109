"""Ends a request when its deadline passes or its client goes away, without a second task for every request.

One timer is armed at the start. A request that is answered within a few milliseconds, nearly all of them, pays for that
timer alone; only for a slower one is the connection watched.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from endpoints.rest.body import ClientGoneError
from protocol.deadline import NEVER, exceeded, remaining

if TYPE_CHECKING:
    from endpoints.rest.types import Receive
    from protocol.errors import InferenceError

_WATCH_AFTER = 0.02
_LONGEST_TIMER = 3600.0


class Guard:
    """Cancels the task that made it; `reason` then says why, None means that somebody else cancelled."""

    __slots__ = ("_body_read", "_deadline", "_loop", "_receive", "_task", "_timer", "_watcher", "reason")

    def __init__(self, receive: Receive, deadline: float) -> None:
        self.reason: InferenceError | ClientGoneError | None = None
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._receive = receive
        self._deadline = deadline
        self._body_read = False
        self._watcher: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._until(_WATCH_AFTER), self._look)

    def body_read(self) -> None:
        """From now on nobody else reads from the connection, so that it may be watched."""
        self._body_read = True

    def limit(self, deadline: float) -> None:
        """Bring the deadline nearer."""
        if deadline < self._deadline:
            self._deadline = deadline
            if remaining(deadline) < _WATCH_AFTER:
                self._timer.cancel()
                self._look()

    def close(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _until(self, longest: float) -> float:
        return longest if self._deadline == NEVER else max(0.0, min(longest, remaining(self._deadline)))

    def _look(self) -> None:
        if self._deadline != NEVER and remaining(self._deadline) <= 0:
            self._stop(exceeded("before the answer was ready"))
            return
        if self._body_read and self._watcher is None:
            self._watcher = self._loop.create_task(self._watch())
        longest = _LONGEST_TIMER if self._body_read else _WATCH_AFTER * 5
        self._timer = self._loop.call_later(self._until(longest), self._look)

    async def _watch(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._stop(ClientGoneError())

    def _stop(self, reason: InferenceError | ClientGoneError) -> None:
        if self.reason is None:
            self.reason = reason
            self._task.cancel()
