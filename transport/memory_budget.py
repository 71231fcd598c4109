"""`MemoryBudget`: the memory that all requests in flight of a process may hold together, whatever wire they came over."""

from __future__ import annotations

import threading

_SHORT = 0.5


class MemoryBudget:
    """Counts bytes of messages that are received, waited for or not yet sent. Any thread may use it."""

    __slots__ = ("limit", "lock", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.lock = threading.Lock()

    @property
    def is_short(self) -> bool:
        """Whether so little is free that what is held for nothing should go."""
        return self.used > _SHORT * self.limit

    def reserve(self, size: int) -> bool:
        """Set `size` bytes aside; False, and nothing done, where they are not free.

        What comes when nothing else is held is always taken, so that one message of any size that is allowed fits.
        """
        with self.lock:
            if self.used and self.used + size > self.limit:
                return False
            self.used += size
            return True

    def hold(self, size: int) -> None:
        """Count bytes that are there already, whether they fit or not: what comes next finds less room."""
        with self.lock:
            self.used += size

    def release(self, size: int) -> None:
        with self.lock:
            self.used -= size


class Reservation:
    """What one request holds of a budget; it grows as bytes come, and all of it is given back at once.

    A thread may still be at work on a request that has ended: a reservation that was closed does not grow.
    """

    __slots__ = ("_budget", "_closed", "size")

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._closed = False
        self.size = 0

    def grow(self, size: int) -> bool:
        """False, and nothing done, where `size` more bytes are not free; a request that is alone is not refused."""
        budget = self._budget
        with budget.lock:
            if self._closed or (budget.used > self.size and budget.used + size > budget.limit):
                return False
            budget.used += size
            self.size += size
            return True

    def shrink(self, size: int) -> None:
        """Give some of it back."""
        with self._budget.lock:
            self._budget.used -= size
            self.size -= size

    def close(self) -> None:
        """Give everything back; calling it again does nothing."""
        with self._budget.lock:
            self._closed = True
            self._budget.used -= self.size
            self.size = 0
