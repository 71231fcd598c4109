"""Ends a request when its deadline passes or its client goes away, without a task or a timer for every request.

Guards stand in the line of transport/time_limit.py. A request that is answered within a few milliseconds, nearly all of
them, pays for standing in line alone; only for a slower one is the connection watched. One with a deadline nearer than
that has a timer of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crossover.endpoints.rest.body import ClientGoneError
from crossover.protocol.deadline import NEVER, after, exceeded, remaining
from crossover.transport.deadline_queue import YOUNG_SECONDS, deadline_queue

if TYPE_CHECKING:
    from crossover.endpoints.rest.types import Receive
    from crossover.protocol.errors import InferenceError

_LONGEST_TIMER = 3600.0
_WATCH_AFTER = 2 * YOUNG_SECONDS


class Guard:
    """Cancels the task that made it; `reason` then says why, None means that somebody else cancelled."""

    __slots__ = ("_body_read", "_deadline", "_queue", "_receive", "_task", "_timer", "_watcher", "reason")

    def __init__(self, receive: Receive, deadline: float) -> None:
        self.reason: InferenceError | ClientGoneError | None = None
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._receive = receive
        self._deadline = deadline
        self._body_read = False
        self._watcher: asyncio.Task[None] | None = None
        self._queue = deadline_queue(task.get_loop())
        self._timer = self._queue.call_at(min(deadline, after(_WATCH_AFTER)), self.look)

    def body_read(self) -> None:
        """From now on nobody else reads from the connection, so that it may be watched."""
        self._body_read = True

    def limit(self, deadline: float) -> None:
        """Bring the deadline nearer."""
        if deadline < self._deadline:
            self._deadline = deadline
            self._look_after(min(_WATCH_AFTER, remaining(deadline)))

    def close(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _until(self, longest: float) -> float:
        return longest if self._deadline == NEVER else max(0.0, min(longest, remaining(self._deadline)))

    def _look_after(self, seconds: float) -> None:
        self._timer.cancel()
        self._timer = self._queue.call_at(after(seconds), self.look)

    def look(self) -> None:
        """End the request if its time is over; watch the connection from now on, and look again in time."""
        if self._deadline != NEVER and remaining(self._deadline) <= 0:
            self._stop(exceeded("before the answer was ready"))
            return
        if self._body_read and self._watcher is None:
            self._watcher = self._task.get_loop().create_task(self._watch())
        longest = _LONGEST_TIMER if self._body_read else YOUNG_SECONDS * 5
        self._look_after(self._until(longest))

    async def _watch(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._stop(ClientGoneError())

    def _stop(self, reason: InferenceError | ClientGoneError) -> None:
        if self.reason is None:
            self.reason = reason
            self._task.cancel()
