"""`TimeLimit`: asyncio.timeout_at by the event loop's deadline queue, which costs a quick call no timer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crossover.protocol import deadline
from crossover.transport.deadline_queue import Deadline, deadline_queue

if TYPE_CHECKING:
    from types import TracebackType


class TimeLimit:
    """`with TimeLimit(deadline): await ...` raises TimeoutError when the deadline passes, as asyncio.timeout_at does."""

    __slots__ = ("_cancels", "_entry", "_task", "_until", "passed")

    def __init__(self, until: float) -> None:
        self._until = until
        self._entry: Deadline | None = None
        self.passed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancels = task, task.cancelling()
        self._stand_in_queue()

    def limit(self, until: float) -> None:
        """Bring the deadline nearer."""
        if until < self._until:
            self._leave_queue()
            self._until = until
            self._stand_in_queue()

    def _stand_in_queue(self) -> None:
        if self._until != deadline.NEVER:
            self._entry = deadline_queue(self._task.get_loop()).call_at(self._until, self._expired)

    def _leave_queue(self) -> None:
        if self._entry is not None:
            self._entry.cancel()
            self._entry = None

    def _expired(self) -> None:
        self.passed = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._leave_queue()
        if self.passed and self._task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
            raise TimeoutError from error
