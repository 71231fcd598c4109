"""Memory that large messages took is given back when a service has been idle for a while.

While messages come, freed memory is kept for the next ones (`process.keep_freed_memory`). A pause of a few seconds ends that:
what was kept for a burst, tens of megabytes after images as JSON, is the system's again, at the price of the page faults of the
next burst, a millisecond or two.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crossover.service import process
from crossover.transport.loop_ticks import loop_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crossover.transport.memory_budget import MemoryBudget

IDLE_SECONDS = 5.0
"""Without a message in flight."""
LARGE_BYTES = 1 << 20
"""Messages in flight that are worth it; smaller ones leave nothing behind."""


class IdleMemory:
    """Watches a budget at the event loop's ticks."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._most = 0
        """The most bytes that were seen in flight since memory was given back last."""
        self._busy_at = math.inf

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Give memory back meanwhile."""
        with loop_ticks(asyncio.get_running_loop()).told(self.look):
            yield

    def look(self, now: float, _late: float) -> None:
        """At a tick."""
        if self._budget.used:
            self._most, self._busy_at = max(self._most, self._budget.used), now
        elif self._most >= LARGE_BYTES and now - self._busy_at >= IDLE_SECONDS:
            self._most = 0
            asyncio.get_running_loop().run_in_executor(None, process.give_memory_back)
