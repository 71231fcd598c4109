"""`TimeLimit`: asyncio.timeout_at by the event loop's deadline queue, which costs a quick call no timer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crossover.transport.deadline_queue import Entry, deadline_queue

if TYPE_CHECKING:
    from types import TracebackType


class TimeLimit(Entry):
    """`with TimeLimit(deadline): await ...` raises TimeoutError when the deadline passes, as asyncio.timeout_at does."""

    __slots__ = ("_cancels", "_task", "passed")

    def __init__(self, until: float) -> None:
        super().__init__(until)
        self.passed = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancels = task, task.cancelling()
        self.enter(deadline_queue(task.get_loop()))

    def limit(self, until: float) -> None:
        """Bring the deadline nearer."""
        if until < self.when:
            self.cancel()
            self.when = until
            self.enter(deadline_queue(self._task.get_loop()))

    def expired(self) -> None:
        self.passed = True
        self._task.cancel()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.cancel()
        if self.passed and self._task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
            raise TimeoutError from error
